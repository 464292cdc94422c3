//! How long a captured connection is remembered that is half closed and idle, in a pod whose own timers are short: as long as
//! the plan says. Each case has a twin beside it, of which the plan says nothing: when conntrack has forgotten that one, it
//! would have forgotten the other, too.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Instant;

use inpod_redirect::iptables::Variant;
use inpod_redirect::{DnsCapture, Family, Intent, Plan, Port, Remembers, Verdict};
use socket2::SockRef;
use testkit::canary::Capture;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Pod};

use crate::backend::Backend;
use crate::escapes::CANARY;
use crate::scene::{PATIENCE, SOME, Scene, accept, connect, settle, unmarked};

/// Where a captured connection is made.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Outbound,
    Inbound,
}

/// Which end speaks last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Client,
    Proxy,
}

pub(crate) fn tests() -> Vec<Case> {
    let mut cases = Vec::new();
    for backend in Backend::ALL {
        for family in [Family::V4, Family::V6] {
            for direction in [Direction::Outbound, Direction::Inbound] {
                for late in [Late::Client, Late::Proxy] {
                    let name =
                        format!("remembered::{backend}_{family}_{direction:?}_late_words_of_the_{late:?}");
                    let case =
                        test(name.to_lowercase(), move || late_words(backend, family, direction, late));
                    cases.push(backend.needed(case).needs_program("conntrack").needs_program("nft"));
                }
            }
        }
    }
    cases
}

/// A captured connection, half closed: who may still speak, and who only listens.
struct HalfClosed {
    speaks: TcpStream,
    listens: TcpStream,
    client: SocketAddr,
}

fn late_words(backend: Backend, family: Family, direction: Direction, late: Late) -> Outcome {
    let scene = &Scene::by(backend, Intent::ambient(), family)?;
    shorten_timers(&scene.app)?;
    let planned = half_closed(scene, direction, late)?;
    scene.app.run(|| match backend {
        Backend::Nftables => forget_plans_timeouts(),
        Backend::Iptables(variant) => forget_timeouts_of_iptables(variant, family),
    })??;
    let twin = half_closed(scene, direction, late)?;
    // Another plan puts the rule back, and takes the timeouts from nobody.
    let another = Plan::new(&Intent::ambient().with_dns(DnsCapture::To(Port::new(15053)?))?);
    assert_eq!(backend.apply(&scene.app, &another)?.remembers, Remembers::AsPlanned);
    assert_eq!(backend.verify(&scene.app, &another)?, Verdict::Same);
    wait_until_forgotten(scene, twin.client)?;

    let wire = Capture::start(scene.peer.namespace(), INTERFACE)?;
    say_last_words(&planned.speaks)?;
    let mut heard = Vec::new();
    (&planned.listens).read_to_end(&mut heard)?;
    assert_eq!(heard, CANARY);

    say_last_words(&twin.speaks)?;
    // The kernel sends a reset for ::1 by the interface that has the other address, where it is lost.
    if !matches!((scene.family, direction, late), (Family::V6, Direction::Outbound, Late::Proxy)) {
        wait_until_refused(&twin.speaks)?;
    }
    settle(&scene.app, &scene.peer, scene.family)?;
    twin.listens.set_nonblocking(true)?;
    assert!((&twin.listens).read(&mut [0]).is_err(), "the twin hears it, too");
    if matches!(direction, Direction::Outbound) {
        assert!(!wire.stop()?.contains(CANARY), "it escaped");
    }
    Ok(())
}

/// All timers of the pod's namespace are a second.
fn shorten_timers(pod: &Pod) -> Outcome {
    pod.run(|| -> Outcome {
        for entry in std::fs::read_dir("/proc/sys/net/netfilter")? {
            let path = entry?.path();
            if path.to_string_lossy().contains("nf_conntrack_tcp_timeout_") {
                std::fs::write(path, "1")?;
            }
        }
        std::fs::write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "0")?;
        Ok(())
    })?
}

fn half_closed(scene: &Scene, direction: Direction, late: Late) -> Result<HalfClosed, Box<dyn Error>> {
    let (from, to, proxy): (&Pod, _, &TcpListener) = match direction {
        Direction::Outbound => (&scene.app, scene.peer_ip(), &scene.outbound),
        Direction::Inbound => (&scene.peer, scene.app_ip(), &scene.plaintext),
    };
    let client = connect(from, SocketAddr::new(to, SOME), unmarked)?;
    let captured = accept(proxy)?;
    let address = client.local_addr()?;
    let (speaks, mut listens) = match late {
        Late::Client => (client, captured),
        Late::Proxy => (captured, client),
    };
    listens.write_all(b"bye")?;
    listens.shutdown(Shutdown::Write)?;
    let mut heard = Vec::new();
    (&speaks).read_to_end(&mut heard)?;
    assert_eq!(heard, b"bye");
    Ok(HalfClosed { speaks, listens, client: address })
}

/// The rules that set the plan's timeouts are taken away.
fn forget_plans_timeouts() -> Outcome {
    for chain in ["mangle-output", "mangle-prerouting"] {
        let listed = output("nft", &["--handle", "list", "chain", "inet", "inpod", chain])?;
        let rule = listed.lines().find(|line| line.contains("ct timeout set")).ok_or("no such rule")?;
        let handle = rule.rsplit("# handle ").next().ok_or("no handle")?;
        output("nft", &["delete", "rule", "inet", "inpod", chain, "handle", handle])?;
    }
    Ok(())
}

fn forget_timeouts_of_iptables(variant: Variant, family: Family) -> Outcome {
    let program = if family == Family::V4 { "iptables" } else { "ip6tables" };
    for chain in ["INPOD_PREROUTING", "INPOD_OUTPUT"] {
        output(&format!("{program}-{variant}"), &["-t", "raw", "-D", chain, "1"])?;
    }
    Ok(())
}

fn output(program: &str, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn wait_until_forgotten(scene: &Scene, client: SocketAddr) -> Outcome {
    let family = scene.family.to_string();
    let port = client.port().to_string();
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let arguments = ["-L", "-f", &family, "-p", "tcp", "--orig-port-src", &port];
        if scene.app.run(|| output("conntrack", &arguments))??.is_empty() {
            return Ok(());
        }
        std::thread::yield_now();
    }
    Err("the twin is not forgotten".into())
}

/// Data and an end in one segment, which conntrack takes up for no connection that it does not know.
fn say_last_words(mut stream: &TcpStream) -> Outcome {
    SockRef::from(stream).set_tcp_cork(true)?;
    stream.write_all(CANARY)?;
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}

fn wait_until_refused(stream: &TcpStream) -> Outcome {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if stream.take_error()?.is_some() {
            return Ok(());
        }
        std::thread::yield_now();
    }
    Err("the twin's last words are not refused".into())
}
