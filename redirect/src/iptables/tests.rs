//! The twins undo each other, and what comes back from a program is what a plan says.

use proptest::prelude::*;

use crate::compare::{Verdict, compare};
use crate::family::Family;
use crate::found::{Found, FoundRule};
use crate::intent::{DnsCapture, Guard, Inbound, Intent, Method};
use crate::interface::InterfaceName;
use crate::plan::Plan;
use crate::plan::tests::intents::all_intents;
use crate::port::Port;

use super::error::{Obstacle, Unsayable};
use super::place::Table;
use super::saved::{Saved, Whose};
use super::{decode, encode, restore};

/// What iptables-save would say after the script, for as much as the scripts use of it.
fn done(text: &str, before: &str) -> String {
    let mut saved: Vec<(String, Vec<String>, Vec<String>)> = Vec::new();
    for line in before.lines().chain(text.lines()) {
        if let Some(table) = line.strip_prefix('*') {
            if !saved.iter().any(|(name, ..)| name == table) {
                saved.push((table.into(), Vec::new(), Vec::new()));
            }
            let at = saved.iter().position(|(name, ..)| name == table).unwrap();
            let table = saved.remove(at);
            saved.push(table);
            continue;
        }
        let Some((_, chains, rules)) = saved.last_mut() else { continue };
        if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split(' ').next().unwrap().to_owned();
            rules.retain(|rule| !rule.starts_with(&format!("-A {name} ")));
            if !chains.contains(&name) {
                chains.push(name);
            }
        } else if let Some(rule) = line.strip_prefix("-I ") {
            rules.insert(0, format!("-A {}", rule.replacen(" 1 ", " ", 1)));
        } else if let Some(rule) = line.strip_prefix("-D ") {
            let at = rules.iter().position(|found| *found == format!("-A {rule}")).expect("it is there");
            rules.remove(at);
        } else if let Some(name) = line.strip_prefix("-F ") {
            rules.retain(|rule| !rule.starts_with(&format!("-A {name} ")));
        } else if let Some(name) = line.strip_prefix("-X ") {
            chains.retain(|chain| chain != name);
        } else if line.starts_with("-A ") {
            rules.push(line.into());
        }
    }
    let mut text = String::new();
    for (table, chains, rules) in saved {
        let chains: String = chains.iter().map(|chain| format!(":{chain} - [0:0]\n")).collect();
        let rules: String = rules.iter().map(|rule| format!("{rule}\n")).collect();
        text.push_str(&format!("*{table}\n{chains}{rules}COMMIT\n"));
    }
    text
}

fn verdict(plan: &Plan, family: Family, saved: &Saved) -> Verdict {
    let planned = restore::of_family(plan, family).without_routing();
    compare(&planned, &Found { table: saved.found(&planned, family), ..Found::default() })
}

const OTHERS: &str =
    "*nat\n:OUTPUT ACCEPT [0:0]\n:THEIRS - [0:0]\n-A OUTPUT -j THEIRS\n-A THEIRS -p udp -j ACCEPT\nCOMMIT\n";

proptest! {
    #[test]
    fn rules_come_back_as_they_were(intent in all_intents()) {
        for family in [Family::V4, Family::V6] {
            for chain in restore::of_family(&Plan::new(&intent), family).chains() {
                let table = restore::place(chain).unwrap().table;
                for rule in &chain.rules {
                    let words = encode::words(rule, table, family).unwrap();
                    prop_assert!(!words.contains('\n'));
                    // What is left unsaid, the program says.
                    let words = words.replace(" --tproxy-mark", " --on-ip 0.0.0.0 --tproxy-mark");
                    match decode::rule(&words, family) {
                        FoundRule::Ours(found) => prop_assert!(found.does_the_same_as(rule), "{}", words),
                        foreign => prop_assert!(false, "{:?}", foreign),
                    }
                }
            }
        }
    }

    #[test]
    fn a_plan_follows_another_and_leaves_what_is_others(one in all_intents(), other in all_intents()) {
        let (one, other) = (Plan::new(&one), Plan::new(&other));
        for family in [Family::V4, Family::V6] {
            let mut text = OTHERS.to_owned();
            for plan in [&one, &other, &other] {
                let script = match restore::script(plan, family, &Saved::read(&text)) {
                    Ok(script) => script,
                    Err(Unsayable { obstacle, .. }) => {
                        prop_assert_eq!(obstacle, Obstacle::NoSender);
                        continue;
                    }
                };
                text = done(&script.text, &text).replace(" --tproxy-mark", " --on-ip 0.0.0.0 --tproxy-mark");
                let saved = Saved::read(&text);
                if !restore::of_family(plan, family).chains().is_empty() {
                    prop_assert_eq!(verdict(plan, family, &saved), Verdict::Same, "{}", text);
                }
                prop_assert!(text.contains("-A OUTPUT -j THEIRS\n") && text.contains("-A THEIRS -p udp -j ACCEPT\n"));
            }
            let script = restore::removal(Whose::Ours, &Saved::read(&text));
            let left = done(&script.text, &text);
            prop_assert!(!left.contains("INPOD_"), "{}", left);
            prop_assert!(left.contains("-A OUTPUT -j THEIRS\n") && left.contains("-A THEIRS -p udp -j ACCEPT\n"));
        }
    }

    #[test]
    fn no_text_is_too_strange(text: String) {
        let saved = Saved::read(&text);
        let plan = Plan::new(&Intent::ambient());
        let _ = verdict(&plan, Family::V4, &saved);
        let _ = restore::script(&plan, Family::V6, &saved);
        let _ = restore::removal(Whose::Ours, &saved);
    }
}

#[test]
fn what_is_called_late_or_twice_is_elsewhere_and_is_mended() {
    let plan = Plan::new(&Intent::ambient().with_guard(Guard::Off));
    let good = done(&restore::script(&plan, Family::V4, &Saved::default()).unwrap().text, "");
    assert_eq!(verdict(&plan, Family::V4, &Saved::read(&good)), Verdict::Same);
    let jump = "-A OUTPUT -j INPOD_OUTPUT\n";
    for bad in [
        good.replace(jump, ""),
        good.replace(jump, &jump.repeat(2)),
        good.replace(jump, &format!("-A OUTPUT -j ACCEPT\n{jump}")),
    ] {
        let saved = Saved::read(&bad);
        assert_ne!(verdict(&plan, Family::V4, &saved), Verdict::Same, "{bad}");
        let mended = done(&restore::script(&plan, Family::V4, &saved).unwrap().text, &bad);
        assert_eq!(verdict(&plan, Family::V4, &Saved::read(&mended)), Verdict::Same, "{mended}");
    }
}

#[test]
fn a_proxy_whose_answers_nothing_tells_from_others_cannot_be_guarded() {
    let nobody = Intent::sidecar().with_inbound_method(Method::Tproxy);
    for family in [Family::V4, Family::V6] {
        let refused = restore::script(&Plan::new(&nobody), family, &Saved::default()).unwrap_err();
        assert_eq!(refused.obstacle, Obstacle::NoSender, "{refused}");
        let unguarded = Plan::new(&nobody.clone().with_guard(Guard::Off));
        assert!(restore::script(&unguarded, family, &Saved::default()).is_ok());
    }
}

/// What istio-cni 1.28 leaves in a pod for one family, as iptables-save reads it back, by the options of its golden files. Its chains
/// are called as ours, and end with RETURN where its own end with ACCEPT: nothing of others' comes after them.
fn istios(family: Family, dns: bool, ingress: bool, interfaces: &[&str]) -> String {
    let (probe, loopback) = match family {
        Family::V4 => ("169.254.7.127/32", "127.0.0.1/32"),
        Family::V6 => ("fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128", "::1/128"),
    };
    let not_proxy = "-m mark ! --mark 0x539/0xfff";
    let mut prerouting: Vec<String> = Vec::new();
    for name in interfaces {
        prerouting.push(format!("-i {name} -p tcp {not_proxy} -j REDIRECT --to-ports 15001"));
    }
    if !ingress {
        prerouting.push(format!("-s {probe} -p tcp -m tcp -j RETURN"));
        prerouting.push(format!(
            "! -d {loopback} -p tcp -m tcp ! --dport 15008 {not_proxy} -j REDIRECT --to-ports 15006"
        ));
    }
    let mut output = vec![format!("-d {probe} -p tcp -m tcp -j RETURN")];
    if dns {
        output.push(format!("! -o lo -p udp {not_proxy} -m udp --dport 53 -j REDIRECT --to-ports 15053"));
        output.push(format!(
            "! -d {loopback} -p tcp -m tcp --dport 53 {not_proxy} -j REDIRECT --to-ports 15053"
        ));
    }
    output.push("-p tcp -m mark --mark 0x111/0xfff -j RETURN".into());
    output.push(format!("! -d {loopback} -o lo -j RETURN"));
    output.push(format!("! -d {loopback} -p tcp {not_proxy} -j REDIRECT --to-ports 15001"));
    let mangle = (
        vec!["-m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff".to_owned()],
        vec![RESTORES.to_owned()],
    );
    let raw = (
        vec![format!("-p udp {not_proxy} -m udp --sport 53 -j CT --zone 1")],
        vec!["-p udp -m mark --mark 0x539/0xfff -m udp --dport 53 -j CT --zone 1".to_owned()],
    );
    let mut tables = vec![("mangle", mangle), ("nat", (prerouting, output))];
    if dns {
        tables.insert(0, ("raw", raw));
    }
    let mut text = String::new();
    for (table, (prerouting, output)) in tables {
        text.push_str(&format!("*{table}\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"));
        for (chain, rules) in [("PREROUTING", prerouting), ("OUTPUT", output)] {
            if !rules.is_empty() {
                text.push_str(&format!(":INPOD_{chain} - [0:0]\n-A {chain} -j INPOD_{chain}\n"));
            }
            text.extend(rules.iter().map(|rule| format!("-A INPOD_{chain} {rule}\n")));
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// Copies the whole mark of the connection to the packet; ours sets the bits under the mask.
const RESTORES: &str =
    "-m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff";

/// Rule by rule and in order, for all options of istio-cni's golden files: the one difference is on purpose.
#[test]
fn the_ambient_preset_is_what_istio_leaves() {
    let names = ["fake1s0f0", "fake1s0f1"];
    for family in [Family::V4, Family::V6] {
        for (dns, ingress, interfaces) in
            [false, true].into_iter().flat_map(|dns| [false, true].map(|ingress| (dns, ingress))).flat_map(
                |(dns, ingress)| [&names[..0], &names[..1], &names[..]].map(|names| (dns, ingress, names)),
            )
        {
            let to = if dns { DnsCapture::To(Port::new(15053).unwrap()) } else { DnsCapture::Off };
            let inbound = if ingress { Inbound::Bypassed } else { Inbound::Captured };
            let virtual_interfaces =
                interfaces.iter().map(|name| InterfaceName::new(*name).unwrap()).collect();
            let intent = Intent::ambient()
                .with_guard(Guard::Off)
                .with_dns(to)
                .and_then(|intent| intent.with_inbound(inbound))
                .and_then(|intent| intent.with_virtual_interfaces(virtual_interfaces))
                .unwrap();
            let saved = Saved::read(&istios(family, dns, ingress, interfaces));
            let Verdict::Differs(differences) = verdict(&Plan::new(&intent), family, &saved) else {
                panic!("the mark is restored otherwise");
            };
            let text: Vec<String> = differences.iter().map(ToString::to_string).collect();
            let [missing, extra] = &text[..] else { panic!("{text:#?}") };
            assert!(
                missing.starts_with("missing: rule \"ct mark & 0xfff == 0x111 counter meta mark set"),
                "{missing}"
            );
            assert!(
                extra.starts_with(
                    "extra: foreign rule [-m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark"
                ),
                "{extra}"
            );
        }
    }
}

#[test]
fn lines_are_known_by_what_they_are_about() {
    let plan = Plan::new(&Intent::ambient());
    let script = restore::script(&plan, Family::V4, &Saved::default()).unwrap();
    for (number, line) in script.text.lines().enumerate() {
        assert_eq!(
            script.piece(number + 1).is_some(),
            line.starts_with("-A") || line.starts_with("-I") || line.starts_with(':'),
            "{line}"
        );
    }
    assert!(script.piece(0).is_none() && script.piece(10_000).is_none());
    assert_eq!(Table::named("security"), None);
}
