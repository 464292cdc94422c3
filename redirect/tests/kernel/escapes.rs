//! What capture by translation cannot hold: nothing of it may leave the pod, or reach its application, past the proxy. Each case
//! has a twin without the guard, in which the canary does escape: so the case can fail.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;

use inpod_redirect::{Family, Guard, Intent};
use socket2::SockRef;
use testkit::canary::Capture;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Pod};

use crate::backend::Backend;
use crate::scene::{PATIENCE, SOME, Scene, accept, connect, deliver, listen, settle, unmarked};

/// What must not be seen outside.
pub(crate) const CANARY: &[u8] = b"a canary that stays in its pod";

/// What happens to the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Escapes,
}

/// `nf_conntrack_tcp_loose`: whether conntrack takes up a connection in its middle (Documentation/networking/nf_conntrack-sysctl.rst).
#[derive(Clone, Copy, Debug)]
enum Loose {
    No,
    Yes,
}

/// Its name, and what the canary does.
type Test = (&'static str, fn(&Scene, Backend) -> Result<Fate, Box<dyn Error>>);

pub(crate) fn tests() -> Vec<Case> {
    let tests: [Test; 3] = [
        ("last_words_of_a_forgotten_connection", last_words),
        ("late_data_for_the_application", late_data),
        ("a_reply_whose_route_is_gone", reply_astray),
    ];
    let mut cases = Vec::new();
    for (name, body) in tests {
        for (backend, family) in
            Backend::ALL.into_iter().flat_map(|backend| [(backend, Family::V4), (backend, Family::V6)])
        {
            for (guard, loose, fate) in [
                (Guard::On, Loose::No, Fate::Stays),
                (Guard::On, Loose::Yes, Fate::Stays),
                (Guard::Off, Loose::No, Fate::Escapes),
            ] {
                let name = format!("escapes::{backend}_{family}_guard_{guard:?}_loose_{loose:?}_{name}")
                    .to_lowercase();
                let case = test(name, move || {
                    let scene = scene(backend, guard, family, loose)?;
                    assert_eq!(body(&scene, backend)?, fate);
                    Ok(())
                });
                cases.push(backend.needed(case).needs_program("conntrack").needs_program("ip"));
            }
        }
    }
    cases
}

fn scene(backend: Backend, guard: Guard, family: Family, loose: Loose) -> Result<Scene, Box<dyn Error>> {
    let scene = Scene::by(backend, Intent::ambient().with_guard(guard), family)?;
    let value = match loose {
        Loose::No => "0",
        Loose::Yes => "1",
    };
    scene.app.run(|| std::fs::write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", value))??;
    Ok(scene)
}

/// Conntrack in the pod knows nothing any more, as when its timers have run out.
pub(crate) fn forget(pod: &Pod) -> Outcome {
    run(pod, "conntrack -F")
}

pub(crate) fn run(pod: &Pod, line: &str) -> Outcome {
    let mut words = line.split(' ');
    let program = words.next().ok_or("no program")?;
    let output = pod.run(|| Command::new(program).args(words).output())??;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}

/// What the peer's cable has seen, once a packet that was sent later has arrived.
fn seen(scene: &Scene, wire: Capture) -> Result<Fate, Box<dyn Error>> {
    settle(&scene.app, &scene.peer, scene.family)?;
    let frames = wire.stop()?;
    assert_eq!(frames.drops(), 0);
    assert!(!frames.is_empty(), "the capture saw the packet that came last");
    Ok(if frames.contains(CANARY) { Fate::Escapes } else { Fate::Stays })
}

/// The application's last data and its FIN in one segment, which conntrack takes up for no connection that it does not know.
fn last_words(scene: &Scene, _: Backend) -> Result<Fate, Box<dyn Error>> {
    let mut client = connect(&scene.app, SocketAddr::new(scene.peer_ip(), SOME), unmarked)?;
    let _captured = accept(&scene.outbound)?;
    forget(&scene.app)?;
    let wire = Capture::start(scene.peer.namespace(), INTERFACE)?;
    SockRef::from(&client).set_tcp_cork(true)?;
    client.write_all(CANARY)?;
    client.shutdown(Shutdown::Write)?;
    seen(scene, wire)
}

/// Data of a connection from before the capture, for the application's own socket.
fn late_data(scene: &Scene, backend: Backend) -> Result<Fate, Box<dyn Error>> {
    backend.remove(&scene.app, &scene.plan)?;
    let application = listen(&scene.app, scene.app_ip(), SOME)?;
    let to = SocketAddr::new(scene.app_ip(), SOME);
    let mut client = connect(&scene.peer, to, unmarked)?;
    let served = accept(&application)?;
    backend.apply(&scene.app, &scene.plan)?;
    client.write_all(CANARY)?;
    // The peer hears of a reset as soon as its data has been refused.
    match heard(&served, &client)? {
        Some(()) => Ok(Fate::Escapes),
        None => Ok(Fate::Stays),
    }
}

/// Waits until the application has the canary, or the client is reset.
fn heard(served: &TcpStream, client: &TcpStream) -> Result<Option<()>, Box<dyn Error>> {
    for stream in [served, client] {
        stream.set_nonblocking(true)?;
    }
    let end = std::time::Instant::now() + PATIENCE;
    let mut bytes = [0; CANARY.len()];
    while std::time::Instant::now() < end {
        let (mut application, mut peer) = (served, client);
        match application.read(&mut bytes) {
            Ok(length) if length > 0 => return Ok(Some(())),
            Ok(_) => return Err("an end that nobody sent".into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        match peer.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            other => return Err(format!("{other:?}").into()),
        }
    }
    Err("neither heard nor reset".into())
}

/// The application's answer to what the proxy has delivered, when the rule that routes it to the proxy is gone.
fn reply_astray(scene: &Scene, _: Backend) -> Result<Fate, Box<dyn Error>> {
    let (_delivered, mut served) = deliver(scene)?;
    run(&scene.app, &format!("ip {} rule del pref 32764", flag(scene.family)))?;
    let wire = Capture::start(scene.peer.namespace(), INTERFACE)?;
    served.write_all(CANARY)?;
    seen(scene, wire)
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}
