//! Capture that begins and ends while connections are open.

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpStream};

use inpod_redirect::{Ending, Family, TcpSocket, TcpState, end as end_of, tcp_listeners, tcp_sockets};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{Lab, Pod};

use crate::scene::{
    MARK, OUTBOUND, SOME, accept, connect, ip, listen, listen_as_proxy, marked, settle, talk, unmarked,
};

pub(crate) fn tests() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        cases.push(test(format!("live::{family}_each_connection_is_told_of"), move || told(family)));
    }
    for family in [Family::V4, Family::V6] {
        cases.push(test(format!("live::{family}_a_connection_is_ended_and_others_are_not"), move || {
            ended(family)
        }));
    }
    for family in [Family::V4, Family::V6] {
        cases.push(test(format!("live::{family}_each_listener_is_told_of"), move || listening(family)));
    }
    cases.push(test("live::ipv4_over_an_ipv6_socket_is_told_of_as_ipv4", mapped));
    cases
}

pub(crate) fn pods(family: Family) -> Result<(Lab, Pod, Pod), Box<dyn std::error::Error>> {
    let lab = Lab::new()?;
    let (app, peer) = (lab.pod("app")?, lab.pod("peer")?);
    settle(&peer, &app, family)?;
    settle(&app, &peer, family)?;
    Ok((lab, app, peer))
}

/// The end of a connection that is here.
fn end(list: &[TcpSocket], local: SocketAddr, remote: SocketAddr) -> Option<&TcpSocket> {
    list.iter().find(|connection| (connection.local(), connection.remote()) == (local, remote))
}

fn told(family: Family) -> Outcome {
    let (_lab, app, peer) = pods(family)?;
    assert_eq!(app.run(tcp_sockets)??, [], "a listener is no connection");
    let server = listen(&peer, ip(&peer, family), SOME)?;
    let (plain, mark) =
        (connect(&app, server.local_addr()?, unmarked)?, connect(&app, server.local_addr()?, marked)?);
    let _served = (accept(&server)?, accept(&server)?);
    mark.shutdown(Shutdown::Write)?;
    let list = app.run(tcp_sockets)??;
    assert_eq!(list.len(), 2);
    let one = end(&list, plain.local_addr()?, plain.peer_addr()?).ok_or("not told of")?;
    assert_eq!((one.state(), one.mark(), one.user()), (TcpState::Established, Some(0), 0));
    let other = end(&list, mark.local_addr()?, mark.peer_addr()?).ok_or("not told of")?;
    assert_eq!(other.mark(), Some(MARK));
    assert!([TcpState::FinWait1, TcpState::FinWait2].contains(&other.state()), "{other:?}");
    assert_eq!(peer.run(tcp_sockets)??.len(), 2, "the other ends are elsewhere");
    Ok(())
}

fn listening(family: Family) -> Outcome {
    let (_lab, app, peer) = pods(family)?;
    assert_eq!(app.run(tcp_listeners)??, []);
    let at = SocketAddr::new(ip(&app, family), SOME);
    let server = listen(&app, at.ip(), SOME)?;
    let proxy = listen_as_proxy(&app, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), OUTBOUND))?;
    let _waits = connect(&peer, at, unmarked)?;
    let list = app.run(tcp_listeners)??;
    let one = list.iter().find(|listener| listener.local() == server.local_addr().unwrap_or(at));
    let one = one.ok_or("not told of")?;
    assert_eq!((one.mark(), one.user(), one.waiting()), (Some(0), 0, 1));
    assert!(one.most_waiting() > 1 && one.takes(at), "{one:?}");
    let other = list.iter().find(|listener| listener.local().port() == OUTBOUND).ok_or("not told of")?;
    assert_eq!((other.mark(), other.waiting(), list.len()), (Some(MARK), 0, 2));
    assert!(other.is_only_ipv6() && !other.takes("127.0.0.1:15001".parse()?));
    drop(proxy);
    assert_eq!(app.run(tcp_listeners)??.len(), 1);
    Ok(())
}

fn mapped() -> Outcome {
    let (_lab, app, peer) = pods(Family::V4)?;
    let server = listen(&app, Ipv6Addr::UNSPECIFIED.into(), SOME)?;
    let client = connect(&peer, SocketAddr::new(app.v4().into(), SOME), unmarked)?;
    let _served = accept(&server)?;
    let list = app.run(tcp_sockets)??;
    assert!(end(&list, client.peer_addr()?, client.local_addr()?).is_some(), "{list:?}");
    assert_eq!(list.len(), 1);
    Ok(())
}

fn ended(family: Family) -> Outcome {
    let (_lab, app, peer) = pods(family)?;
    let server = listen(&peer, ip(&peer, family), SOME)?;
    let mut one = connect(&app, server.local_addr()?, unmarked)?;
    let mut served = accept(&server)?;
    let other = connect(&app, server.local_addr()?, unmarked)?;
    let other_served = accept(&server)?;
    let list = app.run(tcp_sockets)??;
    let socket = end(&list, one.local_addr()?, one.peer_addr()?).ok_or("not told of")?;
    assert_eq!(app.run(|| end_of(socket))??, Ending::Done);
    let read = |stream: &mut TcpStream| stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(read(&mut one), Err(ErrorKind::ConnectionAborted));
    assert_eq!(read(&mut served), Err(ErrorKind::ConnectionReset));
    assert_eq!(app.run(|| end_of(socket))??, Ending::Gone);
    talk(&other, &other_served)
}
