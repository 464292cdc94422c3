//! Rules: the same capture put into a fresh namespace by netlink, by `nft`, and by `iptables-restore`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use netns::Namespace;
use redirect::{Guard, Intent, Plan, Verdict, apply, render, verify};
use testkit::lab::loopback_up;

use crate::sample::Sample;

/// What Istio's ambient mode gives to `iptables-restore` for one family: the effect of our plan without its guard.
const CHAINS: [(&str, &[&str]); 2] = [
    (
        "mangle",
        &[
            "PREROUTING -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff",
            "OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark",
        ],
    ),
    (
        "nat",
        &[
            "PREROUTING -s {probe} -p tcp -j ACCEPT",
            "PREROUTING ! -d {loopback} -p tcp ! --dport 15008 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15006",
            "OUTPUT -d {probe} -p tcp -j ACCEPT",
            "OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT",
            "OUTPUT ! -d {loopback} -o lo -j ACCEPT",
            "OUTPUT ! -d {loopback} -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001",
        ],
    ),
];

/// Each means in a namespace of its own, in turn.
pub(crate) fn measure(rounds: usize) -> Result<Vec<(&'static str, Sample)>> {
    let guarded = Plan::new(&Intent::ambient());
    let unguarded = Plan::new(&Intent::ambient().with_guard(Guard::Off));
    let [mut full, mut bare, mut nft, mut legacy, mut compat] = [(); 5].map(|()| Sample::default());
    let mut check = Sample::default();
    for _ in 0..rounds {
        for (plan, sample) in [(&guarded, &mut full), (&unguarded, &mut bare)] {
            let pod = fresh()?;
            let verdict = sample.time(|| {
                pod.run(|| -> Result<Verdict> {
                    apply(plan)?;
                    Ok(verify(plan)?)
                })
            })??;
            ensure!(verdict == Verdict::Same, "not as planned");
            if plan == &guarded {
                let again = check.time(|| pod.run(|| verify(plan)))??;
                ensure!(again == Verdict::Same, "not as planned any more");
            }
        }
        let text = render::nft(&unguarded);
        let pod = fresh()?;
        nft.time(|| {
            pod.run(|| -> Result<()> {
                routes(&unguarded)?;
                feed("nft", &["-f", "-"], &text)
            })
        })??;
        for (variant, sample) in [("legacy", &mut legacy), ("nft", &mut compat)] {
            let pod = fresh()?;
            sample.time(|| {
                pod.run(|| -> Result<()> {
                    routes(&unguarded)?;
                    feed(
                        &format!("iptables-{variant}-restore"),
                        &["--noflush"],
                        &istio("169.254.7.127", "127.0.0.1/32"),
                    )?;
                    let (probe, loopback) = ("fd16:9254:7127:1337:ffff:ffff:ffff:ffff", "::1/128");
                    feed(&format!("ip6tables-{variant}-restore"), &["--noflush"], &istio(probe, loopback))
                })
            })??;
        }
    }
    Ok(vec![
        ("netlink: routes and rules, read back, verified", full),
        ("netlink: the same without the guard", bare),
        ("netlink: verified again", check),
        ("ip -batch, nft -f; not read back", nft),
        ("ip -batch, iptables-legacy-restore, both", legacy),
        ("ip -batch, iptables-nft-restore, both", compat),
    ])
}

fn fresh() -> Result<Namespace> {
    let pod = Namespace::create()?;
    loopback_up(&pod)?;
    Ok(pod)
}

fn istio(probe: &str, loopback: &str) -> String {
    let mut text = String::new();
    for (table, rules) in CHAINS {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "*{table}");
        for rule in rules {
            let _ = writeln!(text, "-A {}", rule.replace("{probe}", probe).replace("{loopback}", loopback));
        }
        text.push_str("COMMIT\n");
    }
    text
}

fn routes(plan: &Plan) -> Result<()> {
    let routes = plan.routes().iter().map(ToString::to_string);
    let all: Vec<String> = routes.chain(plan.policy_rules().iter().map(ToString::to_string)).collect();
    for (flag, prefix) in [("-4", "ip -4 "), ("-6", "ip -6 ")] {
        let lines: String =
            all.iter().filter_map(|line| line.strip_prefix(prefix)).map(|line| format!("{line}\n")).collect();
        feed("ip", &[flag, "-batch", "-"], &lines)?;
    }
    Ok(())
}

fn feed(program: &str, arguments: &[&str], text: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    // Dropped at once, which is the end of the text.
    child.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
    ensure!(child.wait()?.success(), "{program} failed");
    Ok(())
}
