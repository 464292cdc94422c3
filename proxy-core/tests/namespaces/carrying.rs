//! What an application sends is what the other gets, end and failure included, and nobody else sees it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::process::Command;
use std::thread;

use inpod_proxy_core::{ConnectionError, Direction, Node, capture};
use redirect::{Method, Plan};
use testkit::canary::{Capture, Frames};
use testkit::conversation::exchange;
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Pod};
use testkit::leaks::Baseline;

use crate::mesh::{
    APPLICATION, LIMIT, Mesh, Result, connect, identity_of, is_cut, is_turned_away, pair, read_to_end,
    set_reset_on_close,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("requests_pass_in_tunnels_on_both_families", requests_pass_in_tunnels),
        test("without_translation_requests_pass_as_well", without_translation).needs_program("conntrack"),
        test("the_wire_shows_bytes_only_without_the_mesh", the_wire_shows_bytes_only_without_the_mesh),
        test("much_passes_in_both_directions_at_once", much_passes_in_both_directions_at_once),
        test(
            "a_connection_that_nobody_reads_holds_up_no_other",
            a_connection_that_nobody_reads_holds_up_no_other,
        ),
        test("a_clients_end_leaves_the_answer_open", a_clients_end_leaves_the_answer_open),
        test("a_servers_end_leaves_the_request_open", a_servers_end_leaves_the_request_open),
        test("a_clients_reset_is_a_reset_to_the_server", a_clients_reset_is_a_reset_to_the_server),
        test("a_servers_reset_is_a_reset_to_the_client", a_servers_reset_is_a_reset_to_the_client),
        test("a_server_may_speak_first", a_server_may_speak_first),
        test("a_refused_connection_ends_without_data", a_refused_connection_ends_without_data),
        test(
            "without_the_proxy_nothing_passes_until_released",
            without_the_proxy_nothing_passes_until_released,
        ),
        test("a_pod_without_ipv6_is_served_on_ipv4", a_pod_without_ipv6_is_served_on_ipv4),
        test("nothing_is_left_open_when_a_mesh_ends", nothing_is_left_open_when_a_mesh_ends).serial(),
    ]
}

fn requests_pass_in_tunnels() -> Outcome {
    let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let application = http::Server::start(server.namespace(), APPLICATION)?;
    for (to, from) in both_families(&server, &client) {
        let response = http::request(client.namespace(), (to, APPLICATION).into(), "/", b"hello")?;
        assert_eq!(response.status(), 200);
        assert_eq!(response.echo(), Some(&b"hello"[..]));
        assert_eq!(
            response.peer().map(|peer| peer.ip()),
            Some(from),
            "the server sees the client's own address"
        );

        let outbound = mesh.reports.next(Direction::Outbound, &client)?;
        assert!(outbound.outcome.is_ok(), "{outbound:?}");
        assert_eq!(outbound.client.ip(), from);
        assert_eq!(outbound.destination, Some((to, APPLICATION).into()));
        assert_eq!(outbound.tunnel.map(|hop| hop.socket_addr()), Some(SocketAddr::new(to, 15008)));
        assert_eq!(outbound.peer, Some(identity_of(&server)));
        let inbound = mesh.reports.next(Direction::Inbound, &server)?;
        assert!(inbound.outcome.is_ok(), "{inbound:?}");
        assert_eq!(inbound.peer, Some(identity_of(&client)));
        assert_eq!(inbound.client.ip(), from);
        assert_eq!(inbound.destination, Some((to, APPLICATION).into()));
        assert_eq!(inbound.transferred, outbound.transferred);
        assert!(inbound.transferred.sent > 5 && inbound.transferred.received > 5, "{inbound:?}");
    }
    assert_eq!(application.peers().len(), 2);
    assert_eq!(mesh.reports.count(), 0, "one report for each end of each connection");
    Ok(())
}

/// By TPROXY in both directions. And what conntrack forgets is not lost.
fn without_translation() -> Outcome {
    let (mesh, [client, server]) = Mesh::of(["client", "server"])?;
    let mut node = Node::new(mesh.shared.clone())?;
    mesh.serve(&mut node)?;
    let intent = capture::intent(&mesh.shared.config)?;
    let by_tproxy = intent.with_inbound_method(Method::Tproxy).with_outbound_method(Method::Tproxy);
    mesh.capture_by(&Plan::new(&by_tproxy))?;
    for (to, from) in both_families(&server, &client) {
        let to = SocketAddr::new(to, APPLICATION);
        let (mut near, mut far) = pair(&client, &server, to)?;
        assert_eq!(far.peer_addr()?.ip().to_canonical(), from, "the server sees the client's own address");
        near.write_all(b"question")?;
        far.read_exact(&mut [0; 8])?;
        for pod in [&client, &server] {
            let forget = pod.run(|| Command::new("conntrack").arg("-F").output())??;
            assert!(forget.status.success(), "{forget:?}");
        }
        near.write_all(b"late question")?;
        near.shutdown(Shutdown::Write)?;
        assert_eq!(read_to_end(&far)?, b"late question");
        far.write_all(b"late answer")?;
        drop(far);
        assert_eq!(read_to_end(&near)?, b"late answer");
        let outbound = mesh.reports.next(Direction::Outbound, &client)?;
        assert_eq!(outbound.destination, Some(to), "{outbound:?}");
        assert!(mesh.reports.next(Direction::Inbound, &server)?.outcome.is_ok());
    }
    // What comes in outside of any tunnel.
    let stranger = mesh.lab.pod("stranger")?;
    let (mut near, far) = pair(&stranger, &server, (server.v4(), APPLICATION))?;
    near.write_all(b"question")?;
    drop(near);
    assert_eq!(read_to_end(&far)?, b"question");
    drop(far);
    let plaintext = mesh.reports.next(Direction::Plaintext, &server)?;
    assert_eq!(plaintext.destination, Some((server.v4(), APPLICATION).into()));
    Ok(())
}

fn both_families(server: &Pod, client: &Pod) -> [(IpAddr, IpAddr); 2] {
    [(server.v4().into(), client.v4().into()), (server.v6().into(), client.v6().into())]
}

fn the_wire_shows_bytes_only_without_the_mesh() -> Outcome {
    const CANARY: &[u8] = b"a canary that sings on the wire";
    let (mesh, [client, server]) = Mesh::of(["client", "server"])?;
    let _application = http::Server::start(server.namespace(), APPLICATION)?;
    let sent = |to: IpAddr| -> Result<Frames> {
        let capture = Capture::start(client.namespace(), INTERFACE)?;
        let response = http::request(client.namespace(), (to, APPLICATION).into(), "/", CANARY)?;
        assert_eq!(response.echo(), Some(CANARY));
        Ok(capture.stop()?)
    };
    for to in [IpAddr::from(server.v4()), server.v6().into()] {
        assert!(sent(to)?.contains(CANARY), "the capture hears what is said in the clear");
    }
    let mut node = Node::new(mesh.shared.clone())?;
    mesh.serve(&mut node)?;
    mesh.capture()?;
    for to in [IpAddr::from(server.v4()), server.v6().into()] {
        let frames = sent(to)?;
        assert_eq!(frames.drops(), 0);
        assert!(!frames.contains(CANARY), "{frames:?}");
        let ports = frames.tcp_ports();
        assert!(ports.contains_key(&15008) && !ports.contains_key(&APPLICATION), "{ports:?}");
    }
    Ok(())
}

fn much_passes_in_both_directions_at_once() -> Outcome {
    const LENGTH: usize = 8 << 20;
    let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let (near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    let (up, down) = (noise(1, LENGTH), noise(2, LENGTH));
    exchange([&near, &far], [&up, &down])?;
    let report = mesh.reports.next(Direction::Outbound, &client)?;
    assert_eq!((report.transferred.sent, report.transferred.received), (LENGTH as u64, LENGTH as u64));
    Ok(())
}

fn a_connection_that_nobody_reads_holds_up_no_other() -> Outcome {
    /// More than all buffers on the way may take together.
    const MUCH: usize = 64 << 20;
    let (_mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let _application = http::Server::start(server.namespace(), APPLICATION)?;
    let (mut near, far) = pair(&client, &server, (server.v4(), 8081))?;
    thread::scope(|scope| {
        let writing = scope.spawn(move || near.write_all(&noise(3, MUCH)));
        // Both use one connection to the peer, and one side of it is full.
        for _ in 0..50 {
            http::request(client.namespace(), (server.v4(), APPLICATION).into(), "/", &noise(4, 100_000))?;
        }
        assert!(!writing.is_finished(), "nobody has read it, so somebody keeps it");
        let received = read_to_end(&far)?;
        writing.join().unwrap()?;
        assert!(received == noise(3, MUCH), "what came is what was sent");
        Ok(())
    })
}

/// Bytes in which no part is like another: xorshift64.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

fn a_clients_end_leaves_the_answer_open() -> Outcome {
    let (_mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let (mut near, mut far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    near.write_all(b"question")?;
    near.shutdown(Shutdown::Write)?;
    assert_eq!(read_to_end(&far)?, b"question");
    far.write_all(b"answer")?;
    drop(far);
    assert_eq!(read_to_end(&near)?, b"answer");
    Ok(())
}

fn a_servers_end_leaves_the_request_open() -> Outcome {
    let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let (mut near, mut far) = pair(&client, &server, (server.v6(), APPLICATION))?;
    far.write_all(b"answer")?;
    far.shutdown(Shutdown::Write)?;
    assert_eq!(read_to_end(&near)?, b"answer");
    near.write_all(b"late question")?;
    drop(near);
    assert_eq!(read_to_end(&far)?, b"late question");
    assert!(mesh.reports.next(Direction::Inbound, &server)?.outcome.is_ok());
    Ok(())
}

fn a_clients_reset_is_a_reset_to_the_server() -> Outcome {
    let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let (mut near, far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    near.write_all(b"half a quest")?;
    (&far).read_exact(&mut [0; 12])?;
    set_reset_on_close(&near)?;
    drop(near);
    assert!(is_cut(&read_to_end(&far)), "what was cut off does not look complete");
    for (direction, pod) in [(Direction::Outbound, &client), (Direction::Inbound, &server)] {
        let report = mesh.reports.next(direction, pod)?;
        assert!(matches!(report.outcome, Err(ConnectionError::Relay { .. })), "{report:?}");
        assert_eq!(report.transferred.sent, 12);
    }
    Ok(())
}

fn a_servers_reset_is_a_reset_to_the_client() -> Outcome {
    let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let (near, mut far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    far.write_all(b"half an ans")?;
    (&near).read_exact(&mut [0; 11])?;
    set_reset_on_close(&far)?;
    drop(far);
    assert!(is_cut(&read_to_end(&near)), "what was cut off does not look complete");
    let report = mesh.reports.next(Direction::Inbound, &server)?;
    assert!(matches!(report.outcome, Err(ConnectionError::Relay { .. })), "{report:?}");
    Ok(())
}

fn a_server_may_speak_first() -> Outcome {
    let (_mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let (mut near, mut far) = pair(&client, &server, (server.v4(), APPLICATION))?;
    far.write_all(b"220 hello\r\n")?;
    let mut greeting = [0; 11];
    near.read_exact(&mut greeting)?;
    assert_eq!(&greeting, b"220 hello\r\n");
    near.write_all(b"QUIT")?;
    drop(near);
    assert_eq!(read_to_end(&far)?, b"QUIT");
    Ok(())
}

fn a_refused_connection_ends_without_data() -> Outcome {
    let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    assert!(is_turned_away(&connect(&client, (server.v4(), APPLICATION))?));
    let inbound = mesh.reports.next(Direction::Inbound, &server)?;
    assert!(matches!(inbound.outcome, Err(ConnectionError::Dial(_))), "{inbound:?}");
    let outbound = mesh.reports.next(Direction::Outbound, &client)?;
    let Err(ConnectionError::Open(error)) = &outbound.outcome else {
        return Err(format!("{outbound:?}").into());
    };
    assert_eq!(error.to_string(), "the peer refused the tunnel with status 503 Service Unavailable");
    Ok(())
}

fn a_pod_without_ipv6_is_served_on_ipv4() -> Outcome {
    let (mesh, pods) = Mesh::of(["client", "server"])?;
    for pod in &pods {
        for interface in ["all", "lo"] {
            let switch = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
            pod.run(|| fs::write(switch, "1"))??;
        }
    }
    let mut node = Node::new(mesh.shared.clone())?;
    mesh.serve(&mut node)?;
    mesh.capture()?;
    let [client, server] = &pods;
    let (mut near, far) = pair(client, server, (server.v4(), APPLICATION))?;
    near.write_all(b"hello")?;
    drop(near);
    assert_eq!(read_to_end(&far)?, b"hello");
    drop(far);
    assert!(mesh.reports.next(Direction::Outbound, client)?.tunnel.is_some());
    Ok(())
}

fn nothing_is_left_open_when_a_mesh_ends() -> Outcome {
    // The first runtime of a process opens a pair of sockets for signals, where that feature of tokio is on, and they stay.
    drop(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
    let baseline = Baseline::take()?;
    {
        let (_mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
        let _application = http::Server::start(server.namespace(), APPLICATION)?;
        for _ in 0..100 {
            http::request(client.namespace(), (server.v4(), APPLICATION).into(), "/", b"hello")?;
        }
        // One that is not over when the mesh ends.
        let (mut near, _far) = pair(&client, &server, (server.v4(), 8081))?;
        near.write_all(b"half")?;
        // And some that came to nothing.
        assert!(is_turned_away(&connect(&client, (server.v4(), 9))?));
        connect(&client, (server.v4(), 15008))?;
    }
    Ok(baseline.settled(LIMIT)?)
}

fn without_the_proxy_nothing_passes_until_released() -> Outcome {
    const CANARY: &[u8] = b"a canary that must not sing";
    let (mesh, node, [client, server]) = Mesh::running(["client", "server"])?;
    let application = http::Server::start(server.namespace(), APPLICATION)?;
    let address = SocketAddr::from((server.v4(), APPLICATION));
    crate::mesh::runtime()?.block_on(node.drain(LIMIT));
    let capture = Capture::start(client.namespace(), INTERFACE)?;
    assert!(http::request(client.namespace(), address, "/", CANARY).is_err());
    assert!(!capture.stop()?.contains(CANARY), "what the rules capture does not get by");
    assert!(application.peers().is_empty());
    mesh.release()?;
    assert_eq!(http::request(client.namespace(), address, "/", CANARY)?.echo(), Some(CANARY));
    Ok(())
}
