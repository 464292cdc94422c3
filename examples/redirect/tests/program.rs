//! The program in pods of a lab: what it does, what it says, and how it ends.

#![expect(
    clippy::unwrap_used,
    reason = "a test without libtest's harness, which clippy does not know for one"
)]

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode, Output};

use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{Lab, Pod};

const PROGRAM: &str = env!("CARGO_BIN_EXE_inpod-redirect");

fn main() -> ExitCode {
    testkit::kernel::run(cases())
}

fn cases() -> Vec<Case> {
    vec![
        test("rules_are_applied_verified_and_removed", life),
        test("rules_live_and_die_by_every_backend", by_backend).needs_program("iptables"),
        test("a_dry_run_changes_nothing", dry_run),
        test("other_options_are_another_plan", other_options),
        test("a_namespace_is_found_by_a_process_or_a_path", by_place),
        test("what_makes_no_sense_is_named", nonsense),
        test("rules_are_shown_without_rights", shown),
        test("a_pod_that_runs_is_enrolled_drained_and_let_go", live),
        test("the_nodes_rules_are_applied_verified_and_removed", node),
        test("the_fate_of_a_packet_is_explained_with_counters", explained),
    ]
}

/// Runs it in a pod; the exit code and what it said.
fn inside(pod: &Pod, arguments: &[&str]) -> Result<(i32, String), Box<dyn std::error::Error>> {
    let output = pod.run(|| Command::new(PROGRAM).args(arguments).output())??;
    Ok(said(&output))
}

fn here(arguments: &[&str]) -> Result<(i32, String), Box<dyn std::error::Error>> {
    Ok(said(&Command::new(PROGRAM).args(arguments).output()?))
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn life() -> Outcome {
    let lab = Lab::new()?;
    let pod = lab.pod("app")?;
    let (code, text) = inside(&pod, &["verify"])?;
    assert!(code == 3 && text.contains("missing: table inpod"), "{code} {text}");
    assert_eq!(inside(&pod, &["apply"])?.0, 0);
    assert_eq!(inside(&pod, &["verify"])?, (0, "as planned\n".into()));
    assert_eq!(inside(&pod, &["apply"])?.0, 0, "applying twice is applying once");
    assert_eq!(inside(&pod, &["remove"])?.0, 0);
    assert_eq!(inside(&pod, &["verify"])?.0, 3);
    assert_eq!(inside(&pod, &["remove"])?.0, 0, "what is gone is gone");
    Ok(())
}

fn node() -> Outcome {
    let lab = Lab::new()?;
    let on_node = |arguments: &[&str]| -> Result<(i32, String), Box<dyn std::error::Error>> {
        Ok(said(&lab.node().run(|| Command::new(PROGRAM).args(arguments).output())??))
    };
    let pods = ["--pod", "10.0.0.7", "--pod", "fd00::7"];
    let probes = |deed: &str, more: &[&str]| on_node(&[&["probes", deed], &pods[..], more].concat());
    assert_eq!(probes("verify", &[])?.0, 3);
    assert_eq!(probes("apply", &[])?, (0, "applied, and read back: as planned\n".into()));
    assert_eq!(probes("verify", &[])?, (0, "as planned\n".into()));
    let (code, text) = probes("verify", &["--pod", "10.0.0.8"])?;
    assert!(code == 3 && text.contains("10.0.0.8"), "{code} {text}");
    let (code, text) = probes("verify", &["--prober-uid", "7"])?;
    assert!(code == 3 && text.contains("meta skuid 7"), "{code} {text}");
    assert_eq!(probes("remove", &[])?.0, 0);
    assert_eq!(probes("verify", &[])?.0, 3);
    let (code, text) = on_node(&["node-level", "apply", "--pod", "10.0.0.7"])?;
    assert!(code == 1 && text.contains("there is no interface istioout"), "{code} {text}");
    let at_home = |deed: &str| on_node(&["node-level", deed, "--here", "--pod", "10.0.0.7"]);
    assert_eq!((at_home("apply")?.0, at_home("verify")?.0, at_home("remove")?.0), (0, 0, 0));
    assert_eq!(at_home("verify")?.0, 3);
    let (code, text) = here(&["node-level", "show", "--pod", "10.0.0.7"])?;
    assert!(code == 0 && text.contains("10.0.0.7") && !text.contains("pods6"), "{text}");
    Ok(())
}

fn by_backend() -> Outcome {
    let lab = Lab::new()?;
    let pod = lab.pod("app")?;
    for backend in ["nftables", "iptables", "iptables-legacy", "iptables-nft"] {
        let act = |command| inside(&pod, &[command, "--backend", backend]);
        let (code, text) = act("verify")?;
        assert!(code == 3 && text.contains("missing: table inpod"), "{backend}: {code} {text}");
        assert_eq!(act("apply")?, (0, "applied, and read back: as planned\n".into()), "{backend}");
        assert_eq!(act("verify")?.0, 0, "{backend}");
        assert_eq!(act("remove")?.0, 0, "{backend}");
        assert_eq!(act("verify")?.0, 3, "{backend}");
    }
    let chain = || Command::new("iptables-nft").args(["-t", "nat", "-N", "ISTIO_OUTPUT"]).status();
    assert!(pod.run(chain)??.success());
    let (code, text) = inside(&pod, &["apply", "--replace-istio"])?;
    assert!(
        code == 0 && text.contains("replaced: chain nat ISTIO_OUTPUT of iptables-nft, ipv4"),
        "{code} {text}"
    );
    let (code, text) = inside(&pod, &["apply", "--replace-istio"])?;
    assert!(code == 0 && text.contains("nothing of Istio's was there"), "{code} {text}");
    let (code, text) = here(&["show", "--format", "ip6tables", "--inbound", "tproxy"])?;
    assert!(code == 0 && text.contains("-j TPROXY --on-port 15006"), "{text}");
    Ok(())
}

fn explained() -> Outcome {
    let lab = Lab::new()?;
    let (pod, peer) = (lab.pod("app")?, lab.pod("peer")?);
    let to = format!("{}:80", peer.v4());
    let (code, text) = inside(&pod, &["explain", "app", &to])?;
    assert!(
        code == 3 && text.contains("(not there)") && text.contains("missing: table inpod"),
        "{code} {text}"
    );
    assert_eq!(inside(&pod, &["apply"])?.0, 0);
    let (code, text) = inside(&pod, &["explain", "app", &to])?;
    assert!(code == 0 && text.contains("(0 packets)"), "{code} {text}");
    assert!(text.contains("=> to the socket here that listens at 127.0.0.1:15001"), "{text}");
    // Nobody listens: it is the rule that counts.
    pod.run(|| TcpStream::connect(&to))?.unwrap_err();
    let (_, text) = inside(&pod, &["explain", "app", &to])?;
    assert!(
        text.contains("outbound TCP goes to the proxy, except what it sends itself and loopback (1 packets)"),
        "{text}"
    );
    let (_, text) = inside(&pod, &["explain", "proxy", &to])?;
    assert!(text.contains(&format!("=> it leaves by eth0, for {to}")), "{text}");
    let (_, text) = inside(&pod, &["explain", &peer.v6().to_string(), &format!("[{}]:80", pod.v6())])?;
    assert!(text.contains(&format!("=> to the socket here that listens at [{}]:15006", pod.v6())), "{text}");
    let (code, text) = inside(&pod, &["explain", "somebody", &to])?;
    assert!(code == 2 && text.contains("`app`, `proxy`, or an address"), "{code} {text}");
    Ok(())
}

fn dry_run() -> Outcome {
    let lab = Lab::new()?;
    let pod = lab.pod("app")?;
    for _ in 0..2 {
        let (code, text) = inside(&pod, &["apply", "--dry-run"])?;
        assert!(code == 3 && text.contains("missing: table inpod"), "{code} {text}");
    }
    assert_eq!(inside(&pod, &["apply"])?.0, 0);
    assert_eq!(inside(&pod, &["apply", "--dry-run"])?.0, 0);
    Ok(())
}

fn other_options() -> Outcome {
    let lab = Lab::new()?;
    let pod = lab.pod("app")?;
    let options = ["--except-to-port", "80", "--except-to-port", "8000-8100", "--dns-port", "15053"];
    assert_eq!(inside(&pod, &[&["apply"][..], &options].concat())?.0, 0);
    assert_eq!(inside(&pod, &[&["verify"][..], &options].concat())?.0, 0);
    let (code, text) = inside(&pod, &["verify"])?;
    assert!(code == 3 && text.contains("extra: rule \"tcp dport 8000-8100"), "{code} {text}");
    Ok(())
}

fn by_place() -> Outcome {
    let lab = Lab::new()?;
    let pod = lab.pod("app")?;
    let mut inhabitant = pod.spawn(Command::new("sleep").arg("60"))?;
    let outcome = (|| -> Outcome {
        let id = inhabitant.id().to_string();
        let path = format!("/proc/{id}/ns/net");
        assert_eq!(here(&["apply", "--netns", &id])?.0, 0);
        assert_eq!(here(&["verify", "--netns", &path])?.0, 0);
        assert_eq!(inside(&pod, &["verify"])?.0, 0);
        Ok(())
    })();
    inhabitant.kill()?;
    inhabitant.wait()?;
    outcome?;
    let (code, text) = here(&["verify", "--netns", "/no/such/namespace"])?;
    assert!(code == 1 && text.contains("/no/such/namespace"), "{code} {text}");
    Ok(())
}

fn nonsense() -> Outcome {
    for (arguments, named) in [
        (&["show", "--dns-port", "0"][..], "a port is a number from 1 to 65535"),
        (&["show", "--except-to", "10.0.0.1/8"], "the network is 10.0.0.0/8"),
        (&["show", "--except-interface", "eth0\n-j ACCEPT"], "does not hold"),
        (&["show", "--except-cgroup", "/absolute"], "a control group is a path of names"),
        (&["show", "--only-cgroup", "no-such-group"], "no control group /sys/fs/cgroup/no-such-group"),
        (&["probes", "show", "--prober-cgroup", "a"], "no control group"),
        (&["node-level", "show", "--outbound-gateway6", "fd00::1"], "--inbound-gateway6"),
        (&["show", "--except-to-port", "90-80"], "port 90 is after port 80"),
        (&["reset"], "unrecognized subcommand"),
    ] {
        let (code, text) = here(arguments)?;
        assert!(code == 2 && text.contains(named), "{arguments:?}: {code} {text}");
    }
    let (code, text) = here(&["show", "--dns-port", "15001"])?;
    assert!(code == 1 && text.contains("cannot be both"), "{code} {text}");
    Ok(())
}

fn shown() -> Outcome {
    let (code, text) = here(&["show", "--except-from", "192.0.2.0/24"])?;
    assert!(code == 0 && text.contains("ip saddr 192.0.2.0/24 counter accept"), "{code} {text}");
    Ok(())
}

fn live() -> Outcome {
    let lab = Lab::new()?;
    let (app, peer) = (lab.pod("app")?, lab.pod("peer")?);
    let server = peer.run(|| TcpListener::bind((peer.v4(), 8080)))??;
    let client = app.run(|| TcpStream::connect((peer.v4(), 8080)))??;
    let (mut served, _) = server.accept()?;
    let line = format!("{} with {}\n", client.local_addr()?, client.peer_addr()?);

    let (code, text) = inside(&app, &["apply", "--existing", "keep"])?;
    assert_eq!((code, text), (0, format!("enrolled, and read back: as planned\nkept: {line}")));
    assert_eq!(inside(&app, &["verify"])?.0, 0);
    assert_eq!(inside(&app, &["forget"])?, (0, "forgotten: 0, kept: 1\n".into()));
    let (code, text) = inside(&app, &["apply", "--existing", "reset"])?;
    assert_eq!((code, text), (0, format!("enrolled, and read back: as planned\nreset: {line}")));
    assert!(served.read(&mut [0]).is_err());
    assert_eq!(inside(&app, &["drain"])?, (0, "draining: 0 captured\n".into()));
    assert_eq!(inside(&app, &["verify"])?.0, 3);
    app.run(|| TcpStream::connect((peer.v4(), 8080)))??;
    assert_eq!(inside(&app, &["remove"])?.0, 0);
    assert_eq!(here(&["apply", "--existing", "lose"])?.0, 2);
    assert_eq!(here(&["apply", "--existing", "keep", "--dry-run"])?.0, 2);
    Ok(())
}
