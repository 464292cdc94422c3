//! What capture without address translation holds, whatever becomes of conntrack, of the proxy and of ports.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use inpod_redirect::{Family, Guard, Intent, Method};
use socket2::{Domain, Socket, Type};
use testkit::canary::Capture;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::INTERFACE;

use crate::escapes::{CANARY, forget};
use crate::scene::{
    PATIENCE, SOME, Scene, accept, connect, deliver, listen, settle, talk, unmarked, wildcard,
};

/// Its name, and what happens.
type Test = (&'static str, fn(Scene) -> Outcome);

pub(crate) fn tests() -> Vec<Case> {
    let tests: [Test; 6] = [
        ("last_words_of_a_forgotten_connection_reach_the_proxy", last_words),
        ("last_words_of_a_forgotten_peer_reach_the_proxy", last_words_of_peer),
        ("a_reply_on_a_forgotten_connection_reaches_the_proxy", reply),
        ("without_a_proxy_connections_fail", fails_closed),
        ("one_port_of_a_client_to_two_ports_of_the_pod", one_port_to_two),
        ("the_application_binds_the_port_of_a_captured_connection", binds),
    ];
    let mut cases = Vec::new();
    for (name, body) in tests {
        for family in [Family::V4, Family::V6] {
            for loose in ["0", "1"] {
                let case = test(format!("tproxy::{family}_loose_{loose}_{name}"), move || {
                    let scene = Scene::new(intent(), family)?;
                    let sysctl = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose";
                    scene.app.run(|| std::fs::write(sysctl, loose))??;
                    body(scene)
                });
                cases.push(case.needs_program("conntrack"));
            }
        }
    }
    for family in [Family::V4, Family::V6] {
        cases.push(test(format!("tproxy::{family}_unguarded_without_a_proxy_connections_fail"), move || {
            fails_unguarded(&Scene::new(intent().with_guard(Guard::Off), family)?)
        }));
    }
    cases
}

fn intent() -> Intent {
    Intent::ambient().with_inbound_method(Method::Tproxy).with_outbound_method(Method::Tproxy)
}

/// Until the other end has closed: everything it has sent.
fn rest(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn last_words(scene: Scene) -> Outcome {
    let to = SocketAddr::new(scene.peer_ip(), SOME);
    let mut client = connect(&scene.app, to, unmarked)?;
    let mut captured = accept(&scene.outbound)?;
    assert_eq!(captured.local_addr()?, to, "where it was meant to go");
    captured.shutdown(Shutdown::Write)?;
    assert_eq!(rest(&client)?, b"");
    forget(&scene.app)?;
    let wire = Capture::start(scene.peer.namespace(), INTERFACE)?;
    client.write_all(CANARY)?;
    client.shutdown(Shutdown::Write)?;
    let mut heard = vec![0; CANARY.len()];
    captured.read_exact(&mut heard)?;
    assert_eq!(heard, CANARY);
    assert_eq!(rest(&captured)?, b"", "and its end");
    settle(&scene.app, &scene.peer, scene.family)?;
    let frames = wire.stop()?;
    assert!(!frames.is_empty() && !frames.contains(CANARY), "{frames:?}");
    Ok(())
}

fn last_words_of_peer(scene: Scene) -> Outcome {
    let application = listen(&scene.app, scene.app_ip(), SOME)?;
    let mut client = connect(&scene.peer, application.local_addr()?, unmarked)?;
    let mut captured = accept(&scene.plaintext)?;
    captured.write_all(b"pong")?;
    captured.shutdown(Shutdown::Write)?;
    assert_eq!(rest(&client)?, b"pong");
    forget(&scene.app)?;
    client.write_all(CANARY)?;
    client.shutdown(Shutdown::Write)?;
    assert_eq!(rest(&captured)?, CANARY);
    application.set_nonblocking(true)?;
    assert_eq!(application.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    Ok(())
}

fn reply(scene: Scene) -> Outcome {
    let (delivered, mut served) = deliver(&scene)?;
    forget(&scene.app)?;
    let wire = Capture::start(scene.peer.namespace(), INTERFACE)?;
    served.write_all(CANARY)?;
    served.shutdown(Shutdown::Write)?;
    assert_eq!(rest(&delivered)?, CANARY);
    settle(&scene.app, &scene.peer, scene.family)?;
    let frames = wire.stop()?;
    assert!(!frames.is_empty() && !frames.contains(CANARY), "{frames:?}");
    Ok(())
}

/// Refused at once, in both directions, and nobody else has heard of it.
fn fails_closed(scene: Scene) -> Outcome {
    let (there, here) =
        (listen(&scene.peer, scene.peer_ip(), SOME)?, listen(&scene.app, scene.app_ip(), SOME)?);
    let Scene { outbound, plaintext, app, peer, .. } = scene;
    drop((outbound, plaintext));
    for (from, to) in [(&app, &there), (&peer, &here)] {
        let refused = connect(from, to.local_addr()?, unmarked).unwrap_err();
        let kind = refused.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(kind, Some(ErrorKind::ConnectionRefused), "{refused}");
        to.set_nonblocking(true)?;
        assert_eq!(to.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it escaped");
    }
    Ok(())
}

/// Nobody answers, but nothing passes either.
fn fails_unguarded(scene: &Scene) -> Outcome {
    let here = listen(&scene.app, scene.app_ip(), SOME)?;
    let to = here.local_addr()?;
    // Both ways in are closed without the sockets being moved out of the scene.
    for port in [&scene.plaintext, &scene.outbound] {
        socket2::SockRef::from(port).shutdown(Shutdown::Both)?;
    }
    let socket = scene.peer.run(|| Socket::new(Domain::for_address(to), Type::STREAM, None))??;
    socket.connect_timeout(&to.into(), PATIENCE / 20).unwrap_err();
    here.set_nonblocking(true)?;
    assert_eq!(here.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it escaped");
    Ok(())
}

/// Two connections that differ in the port of the pod only.
fn one_port_to_two(scene: Scene) -> Outcome {
    let from = SocketAddr::new(scene.peer_ip(), 45000);
    let ready = move |socket: &Socket| {
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())
    };
    let mut pairs = Vec::new();
    for port in [SOME, SOME + 1] {
        let client = connect(&scene.peer, SocketAddr::new(scene.app_ip(), port), ready)?;
        let captured = accept(&scene.plaintext)?;
        assert_eq!(captured.local_addr()?.port(), port);
        pairs.push((client, captured));
    }
    for (client, captured) in &pairs {
        talk(client, captured)?;
    }
    Ok(())
}

/// The proxy's connection is bound to the application's port. An application that asks for reuse, as servers do, can bind it.
fn binds(scene: Scene) -> Outcome {
    let to = SocketAddr::new(scene.app_ip(), SOME);
    let client = connect(&scene.peer, to, unmarked)?;
    let captured = accept(&scene.plaintext)?;
    let bind = || -> Result<(), Box<dyn Error>> {
        let socket = scene.app.run(|| Socket::new(Domain::for_address(to), Type::STREAM, None))??;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(wildcard(scene.family), SOME).into())?;
        Ok(socket.listen(1)?)
    };
    bind()?;
    talk(&client, &captured)?;
    drop((client, captured));
    bind()
}
