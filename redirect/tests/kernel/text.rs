//! Our netlink and the programs `nft` and `ip` agree: each sees in the kernel what the other has put there.

use std::error::Error;
use std::io::Write as _;
use std::process::{Command, Stdio};

use inpod_redirect::{ApplyError, DnsCapture, Intent, Plan, Port, Verdict, apply, remove, render, verify};
use testkit::kernel::{Case, Outcome, test};

use crate::cases;
use crate::rules::{differences, fresh};

pub(crate) fn tests() -> Vec<Case> {
    let cases = vec![
        test("text::what_nft_and_ip_load_is_what_netlink_applies", loaded_is_same),
        test("text::nft_lists_the_same_whoever_loaded_it", listed_is_same),
        test("text::what_is_not_ours_survives", foreign_survives),
        test("text::tampering_is_seen_and_healed", tampering),
        test("text::what_others_put_into_our_routing_table_is_reported_and_left", foreign_routing),
        test("text::when_the_kernel_refuses_nothing_stays", refusal),
    ];
    cases.into_iter().map(|case| case.needs_program("nft").needs_program("ip")).collect()
}

/// Runs a command line in the calling thread's namespace.
fn run(line: &str) -> Result<String, Box<dyn Error>> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let program = words.next().ok_or("no program")?;
    let output = Command::new(program).args(words).output()?;
    if !output.status.success() {
        return Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs `nft -f -` on a script.
pub(crate) fn nft(script: &str) -> Result<(), Box<dyn Error>> {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no stdin")?.write_all(script.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err(format!("nft refuses:\n{script}").into()) }
}

/// Loads a plan by its text alone: the script by nft, the comments before it by ip.
fn load(plan: &Plan) -> Outcome {
    let text = render::nft(plan);
    nft(&text)?;
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        run(line)?;
    }
    Ok(())
}

fn loaded_is_same() -> Outcome {
    for (name, intent) in cases::all() {
        let plan = Plan::new(&intent);
        fresh()?.run(|| -> Outcome {
            // Twice: the text, too, replaces what is there.
            load(&plan)?;
            nft(&render::nft(&plan))?;
            assert_eq!(verify(&plan)?, Verdict::Same, "{name}");
            Ok(())
        })??;
    }
    Ok(())
}

fn listed_is_same() -> Outcome {
    for (name, intent) in cases::all() {
        let plan = Plan::new(&intent);
        let by_text = fresh()?.run(|| load(&plan).and_then(|()| everything()))??;
        let by_netlink = fresh()?.run(|| -> Result<String, Box<dyn Error>> {
            apply(&plan)?;
            everything()
        })??;
        // ip notes itself as the routes' author (`proto boot`), and we ourselves (`proto static`).
        assert_eq!(by_text, by_netlink.replace(" proto static", ""), "{name}");
        for rule in plan.chains().iter().flat_map(|chain| &chain.rules) {
            assert!(by_netlink.contains(&format!("comment \"{}\"", rule.why())), "{name}: {}", rule.why());
        }
    }
    Ok(())
}

/// All that nft and ip can tell of the namespace, counters at zero.
fn everything() -> Result<String, Box<dyn Error>> {
    run("nft reset counters").ok();
    let lines = [
        "nft --stateless list ruleset",
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
    ];
    lines.iter().map(|line| run(line)).collect()
}

fn foreign_survives() -> Outcome {
    let plan = Plan::new(&Intent::ambient());
    fresh()?.run(|| {
        nft(FOREIGN)?;
        run("ip rule add fwmark 0x7 pref 77 lookup 77")?;
        run("ip route add blackhole 203.0.113.0/24 table 77")?;
        let before = everything()?;
        apply(&plan)?;
        let applied = everything()?;
        for line in before.lines() {
            assert!(applied.contains(line), "lost: {line}");
        }
        assert_eq!(verify(&plan)?, Verdict::Same);
        remove(&plan)?;
        assert_eq!(everything()?, before);
        Ok(())
    })?
}

/// Tables like others have: one at our hooks, one of our name in another family.
const FOREIGN: &str = r#"
table inet istio-ambient-nat {
	chain output {
		type nat hook output priority -100; policy accept;
		meta l4proto tcp counter accept comment "someone else's"
	}
}
table ip inpod {
	chain nat-output {
		tcp dport 1 accept
	}
}
"#;

/// What someone does to the rules, and what verify then says of it first.
const TAMPERING: [(&str, &str); 14] = [
    ("nft flush chain inet inpod nat-output", "missing: rule \"meta l4proto tcp ip daddr 169.254.7.127"),
    ("nft delete table inet inpod", "missing: table inpod"),
    ("nft add table inet inpod { flags dormant; }", "switched off: table inpod"),
    ("nft insert rule inet inpod nat-output accept", "extra: rule \"counter accept\" of chain nat-output"),
    ("nft insert rule inet inpod nat-output drop", "extra: rule \"counter drop\" of chain nat-output"),
    ("nft insert rule inet inpod nat-output log", "extra: foreign rule [log] of chain nat-output"),
    (
        "nft insert rule inet inpod nat-output tcp dport 22 counter accept comment \"mine\"",
        "extra: rule \"tcp dport 22 counter accept\" of chain nat-output (mine)",
    ),
    ("nft add chain inet inpod other", "extra: chain other"),
    ("nft add chain inet inpod nat-output { policy drop; }", "chain nat-output is at"),
    ("nft flush table inet inpod", "missing: rule \"udp sport 53"),
    ("ip -4 rule del pref 32764", "missing: policy rule \"ip -4 rule add fwmark 0x111/0xfff"),
    ("ip -6 rule del pref 32764", "missing: policy rule \"ip -6 rule add fwmark 0x111/0xfff"),
    ("ip -4 route flush table 100", "missing: route \"ip -4 route add local"),
    ("ip -6 route flush table 100", "missing: route \"ip -6 route add local"),
];

fn tampering() -> Outcome {
    let plan = Plan::new(&Intent::ambient().with_dns(DnsCapture::To(Port::new(15053)?))?);
    fresh()?.run(|| {
        apply(&plan)?;
        for (line, first) in TAMPERING {
            run(line)?;
            assert!(
                differences(&plan)?.first().is_some_and(|found| found.starts_with(first)),
                "{line}: {:?}",
                differences(&plan)?
            );
            apply(&plan)?;
            assert_eq!(verify(&plan)?, Verdict::Same, "{line}");
        }
        delete_first_rule_of_each_chain(&plan)?;
        move_first_rule_to_the_end(&plan)?;
        Ok(())
    })?
}

fn delete_first_rule_of_each_chain(plan: &Plan) -> Outcome {
    for chain in plan.chains() {
        let handle = first_handle(&chain.name)?;
        run(&format!("nft delete rule inet inpod {} handle {handle}", chain.name))?;
        let missing = chain
            .rules
            .first()
            .map(|rule| format!("missing: rule \"{rule}\" of chain {} ({})", chain.name, rule.why()));
        assert_eq!(differences(plan)?, [missing.ok_or("an empty chain")?]);
        apply(plan)?;
        assert_eq!(verify(plan)?, Verdict::Same);
    }
    Ok(())
}

/// The last word on outbound traffic before the exceptions: all rules are there, and yet DNS is not captured.
fn move_first_rule_to_the_end(plan: &Plan) -> Outcome {
    let outbound = plan.chains().iter().find(|chain| chain.name == "nat-output").ok_or("no nat-output")?;
    let first = outbound.rules.first().ok_or("no rules")?;
    let handle = first_handle("nat-output")?;
    nft(&format!(
        "delete rule inet inpod nat-output handle {handle}\nadd rule inet inpod nat-output {first} comment \"moved\""
    ))?;
    let found = differences(plan)?;
    assert_eq!(found.len(), outbound.rules.len() - 1, "each other rule is now before it: {found:?}");
    assert!(found.iter().all(|line| line.starts_with("out of order: ")), "{found:?}");
    apply(plan)?;
    assert_eq!(verify(plan)?, Verdict::Same);
    Ok(())
}

fn first_handle(chain: &str) -> Result<String, Box<dyn Error>> {
    let list = run(&format!("nft --handle list chain inet inpod {chain}"))?;
    let rule = list.lines().find(|line| line.contains("counter packets")).ok_or("no rule")?;
    Ok(rule.rsplit("# handle ").next().ok_or("no handle")?.into())
}

fn foreign_routing() -> Outcome {
    let plan = Plan::new(&Intent::ambient());
    fresh()?.run(|| {
        for (add, delete, difference) in [
            (
                "ip route add blackhole 203.0.113.0/24 table 100",
                "ip route del blackhole 203.0.113.0/24 table 100",
                "extra: foreign route of prefix length 24 in table 100",
            ),
            (
                "ip -6 rule add from fd00::/8 pref 5 lookup 100",
                "ip -6 rule del pref 5",
                "extra: foreign policy rule of priority 5 to table 100",
            ),
        ] {
            run(add)?;
            match apply(&plan) {
                Err(ApplyError::NotAsPlanned(found)) => {
                    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [difference]);
                }
                other => panic!("{add}: {other:?}"),
            }
            assert_eq!(differences(&plan)?, [difference]);
            run(delete)?;
            assert_eq!(verify(&plan)?, Verdict::Same);
        }
        Ok(())
    })?
}

/// Another default route in our table is in the way: refused, and what was added before it is taken back.
fn refusal() -> Outcome {
    let plan = Plan::new(&Intent::ambient());
    fresh()?.run(|| {
        run("ip -6 route add unreachable default metric 1024 table 100")?;
        let before = everything()?;
        match apply(&plan) {
            Err(ApplyError::Rejected { piece, source }) => {
                assert_eq!(piece.to_string(), "route \"ip -6 route add local ::/0 dev lo table 100\"");
                assert!(source.to_string().starts_with("refused"), "{source}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(everything()?, before);
        Ok(())
    })?
}
