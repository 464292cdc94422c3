//! Pods that somebody else captures already: Istio's node agent, in all its shapes, or another backend of ours. Live connections
//! live on, and in every step new ones are captured.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use inpod_redirect::iptables::{self, Programs, Variant};
use inpod_redirect::{Family, Intent, IstioPiece, Verdict, remove_istio, remove_rules};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Pod;

use crate::backend::Backend;
use crate::escapes::run;
use crate::scene::{
    HBONE, SOME, Scene, accept, connect, listen_as_proxy, original_destination, talk, unmarked, wildcard,
};

/// In what shape Istio's rules are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Istio 1.21 to 1.23.
    Tproxy(Variant),
    /// Istio 1.24 and later.
    Redirect(Variant),
    /// Istio 1.28 and later, where native nf_tables are chosen.
    Nftables,
}

pub(crate) fn tests() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        for shape in [
            Shape::Tproxy(Variant::Legacy),
            Shape::Tproxy(Variant::Nft),
            Shape::Redirect(Variant::Legacy),
            Shape::Redirect(Variant::Nft),
            Shape::Nftables,
        ] {
            let name =
                format!("takeover::{family}_from_istio_{shape:?}").to_lowercase().replace(['(', ')'], "_");
            let case = test(name, move || from_istio(shape, family));
            cases.push(case.needs_program("iptables").needs_program("nft").needs_program("ip"));
        }
        for from in Backend::ALL {
            for to in Backend::ALL.into_iter().filter(|to| *to != from) {
                let case =
                    test(format!("takeover::{family}_from_{from}_to_{to}"), move || moved(from, to, family));
                cases.push(case.needs_program("iptables"));
            }
        }
    }
    cases
}

/// What the family has for an address of probes, for loopback, and what its programs are called.
struct Words {
    probe: &'static str,
    loopback: &'static str,
    header: &'static str,
    program: &'static str,
    flag: &'static str,
}

fn words(family: Family) -> Words {
    match family {
        Family::V4 => Words {
            probe: "169.254.7.127",
            loopback: "127.0.0.1/32",
            header: "ip",
            program: "iptables",
            flag: "-4",
        },
        Family::V6 => Words {
            probe: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
            loopback: "::1/128",
            header: "ip6",
            program: "ip6tables",
            flag: "-6",
        },
    }
}

/// What Istio's node agent puts into a pod.
pub(crate) fn put_istio(shape: Shape, pod: &Pod, family: Family) -> Outcome {
    let Words { probe, loopback, header, program, flag } = words(family);
    let everything = if family == Family::V4 { "0.0.0.0/0" } else { "::/0" };
    run(pod, &format!("ip {flag} route add local {everything} dev lo table 100"))?;
    run(pod, &format!("ip {flag} rule add fwmark 0x111/0xfff pref 32764 lookup 100"))?;
    let not_proxy = "-m mark ! --mark 0x539/0xfff";
    let outbound = [
        format!("ISTIO_OUTPUT -d {probe} -p tcp -j ACCEPT"),
        "ISTIO_OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT".into(),
        format!("ISTIO_OUTPUT ! -d {loopback} -o lo -j ACCEPT"),
        format!("ISTIO_OUTPUT ! -d {loopback} -p tcp {not_proxy} -j REDIRECT --to-ports 15001"),
    ];
    let steering = [
        "ISTIO_PRERT -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff".into(),
        "ISTIO_OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark".into(),
    ];
    let (variant, mangle, nat) = match shape {
        Shape::Nftables => return put_istio_nft(pod, header, probe, loopback),
        Shape::Redirect(variant) => {
            let inbound = [
                format!("ISTIO_PRERT -s {probe} -p tcp -j ACCEPT"),
                format!(
                    "ISTIO_PRERT ! -d {loopback} -p tcp ! --dport 15008 {not_proxy} -j REDIRECT --to-ports 15006"
                ),
            ];
            (variant, steering.to_vec(), [&inbound[..], &outbound].concat())
        }
        Shape::Tproxy(variant) => {
            let to = |port| format!("-j TPROXY --on-port {port} --tproxy-mark 0x111/0xfff");
            let inbound = [
                format!("ISTIO_PRERT -s {probe} -p tcp -j ACCEPT"),
                "ISTIO_PRERT -i lo -p tcp -j ACCEPT".into(),
                format!("ISTIO_PRERT -p tcp --dport 15008 {not_proxy} {}", to(15008)),
                "ISTIO_PRERT -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".into(),
                format!("ISTIO_PRERT ! -d {loopback} -p tcp {not_proxy} {}", to(15006)),
            ];
            (variant, [&steering[..], &inbound].concat(), outbound.to_vec())
        }
    };
    let mut text = String::new();
    for (table, rules) in [("mangle", mangle), ("nat", nat)] {
        text.push_str(&format!("*{table}\n:ISTIO_PRERT - [0:0]\n:ISTIO_OUTPUT - [0:0]\n"));
        text.push_str("-A PREROUTING -j ISTIO_PRERT\n-A OUTPUT -j ISTIO_OUTPUT\n");
        text.extend(rules.iter().map(|rule| format!("-A {rule}\n")));
        text.push_str("COMMIT\n");
    }
    feed(pod, &format!("{program}-{variant}-restore"), &["--noflush"], &text)
}

fn put_istio_nft(pod: &Pod, header: &str, probe: &str, loopback: &str) -> Outcome {
    let chains = |kinds: [(&str, &str); 2], rules: &str| {
        let base: String = kinds
            .iter()
            .map(|(hook, kind)| format!("chain {hook} {{\ntype {kind};\njump istio-{hook}\n}}\n"))
            .collect();
        // A chain is there before it is called.
        (base, rules.to_owned())
    };
    let (nat, nat_rules) = chains(
        [("prerouting", "nat hook prerouting priority -100"), ("output", "nat hook output priority -100")],
        &format!(
            "istio-prerouting meta l4proto tcp {header} saddr {probe} counter accept\n\
             istio-output meta l4proto tcp {header} daddr {probe} counter accept\n\
             istio-prerouting {header} daddr != {loopback} tcp dport != 15008 mark and 0xfff != 0x539 counter redirect to :15006\n\
             istio-output meta l4proto tcp mark and 0xfff == 0x111 counter accept\n\
             istio-output oifname lo {header} daddr != {loopback} counter accept\n\
             istio-output meta l4proto tcp {header} daddr != {loopback} mark and 0xfff != 0x539 counter redirect to :15001"
        ),
    );
    let (mangle, mangle_rules) = chains(
        [
            ("prerouting", "filter hook prerouting priority -150"),
            ("output", "route hook output priority -150"),
        ],
        "istio-prerouting meta mark & 0xfff == 0x539 counter ct mark set ct mark & 0xfffff000 | 0x111\n\
         istio-output ct mark and 0xfff == 0x111 counter meta mark set ct mark",
    );
    let mut text = String::new();
    for (table, base, rules) in
        [("istio-ambient-nat", nat, nat_rules), ("istio-ambient-mangle", mangle, mangle_rules)]
    {
        text.push_str(&format!(
            "table inet {table} {{\nchain istio-prerouting {{\n}}\nchain istio-output {{\n}}\n}}\n"
        ));
        text.push_str(&format!("table inet {table} {{\n{base}}}\n"));
        text.extend(rules.lines().map(|rule| format!("add rule inet {table} {rule}\n")));
    }
    feed(pod, "nft", &["-f", "-"], &text)
}

fn feed(pod: &Pod, program: &str, arguments: &[&str], text: &str) -> Outcome {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    let mut child = pod.spawn(&mut command)?;
    std::io::Write::write_all(&mut child.stdin.take().ok_or("no pipe")?, text.as_bytes())?;
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}\n{text}").into()) }
}

/// A connection out and one in, both captured, and whether each is.
struct Captured([(std::net::TcpStream, std::net::TcpStream); 2]);

impl Captured {
    fn new(scene: &Scene) -> Result<Self, Box<dyn std::error::Error>> {
        let (there, here) = (SocketAddr::new(scene.peer_ip(), SOME), SocketAddr::new(scene.app_ip(), SOME));
        let out = connect(&scene.app, there, unmarked)?;
        let captured_out = accept(&scene.outbound)?;
        assert_eq!(original_destination(&captured_out)?, there);
        let coming = connect(&scene.peer, here, unmarked)?;
        let captured_in = accept(&scene.plaintext)?;
        assert_eq!(original_destination(&captured_in)?, here);
        Ok(Self([(out, captured_out), (coming, captured_in)]))
    }

    fn talk(&self) -> Outcome {
        self.0.iter().try_for_each(|(one, other)| {
            talk(one, other)?;
            talk(other, one)
        })
    }
}

fn from_istio(shape: Shape, family: Family) -> Outcome {
    let scene = Scene::bare(Intent::ambient(), family)?;
    let tunnels = listen_as_proxy(&scene.app, SocketAddr::new(wildcard(family), HBONE))?;
    put_istio(shape, &scene.app, family)?;
    let other = format!("{} -t nat -A OUTPUT -p udp --dport 9 -j ACCEPT", words(family).program);
    run(&scene.app, &other)?;
    let before = Captured::new(&scene)?;
    let tunnel = connect(&scene.peer, SocketAddr::new(scene.app_ip(), HBONE), unmarked)?;
    let tunnel = (tunnel, accept(&tunnels)?);

    Backend::Nftables.apply(&scene.app, &scene.plan)?;
    before.talk()?;
    let between = Captured::new(&scene)?;
    let removed = scene.app.run(remove_istio)??;
    assert!(!removed.is_empty());
    let of_tables = removed.iter().filter(|piece| matches!(piece, IstioPiece::Table(_))).count();
    assert_eq!(of_tables, if shape == Shape::Nftables { 2 } else { 0 }, "{removed:?}");
    for captured in [&before, &between, &Captured::new(&scene)?] {
        captured.talk()?;
    }
    talk(&tunnel.0, &tunnel.1)?;
    talk(&tunnel.1, &tunnel.0)?;
    assert_eq!(Backend::Nftables.verify(&scene.app, &scene.plan)?, Verdict::Same);
    assert_eq!(scene.app.run(remove_istio)??, [], "nothing is left of it");
    // What is others' is still there: it can be taken away.
    run(&scene.app, &other.replace("-A OUTPUT", "-D OUTPUT"))
}

fn moved(from: Backend, to: Backend, family: Family) -> Outcome {
    let scene = Scene::by(from, Intent::ambient(), family)?;
    let before = Captured::new(&scene)?;
    to.apply(&scene.app, &scene.plan)?;
    let between = Captured::new(&scene)?;
    match from {
        Backend::Nftables => scene.app.run(|| remove_rules(&scene.plan))??,
        Backend::Iptables(variant) => {
            let programs = Programs::of(variant)?;
            scene.app.run(|| iptables::remove_rules(&programs))??;
        }
    }
    for captured in [&before, &between, &Captured::new(&scene)?] {
        captured.talk()?;
    }
    assert_eq!(to.verify(&scene.app, &scene.plan)?, Verdict::Same);
    assert_ne!(from.verify(&scene.app, &scene.plan)?, Verdict::Same);
    Ok(())
}
