//! Whom policy lets in.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use inpod_proxy_core::{ConnectionError, Direction};
use testkit::conversation::converse;
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Pod;

use crate::mesh::{APPLICATION, Mesh, Result, accept, connect, is_cut, is_turned_away, listen, read_to_end};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("an_outsider_is_let_in_until_policy_is_strict", an_outsider_is_let_in_until_policy_is_strict),
        test("a_peer_that_policy_denies_is_not_let_in", a_peer_that_policy_denies_is_not_let_in),
        test("what_policy_permits_no_more_is_cut", what_policy_permits_no_more_is_cut),
        test("a_change_and_a_connection_at_once", a_change_and_a_connection_at_once),
        test("both_the_networks_policy_and_the_meshs", both_the_networks_policy_and_the_meshs)
            .needs_program("nft"),
    ]
}

/// Only who proves an identity.
const STRICT: &str = "policies: [{name: strict, namespace: test, scope: Namespace, action: Deny, \
                      rules: [[[{notPrincipals: [Presence: []]}]]]}]";

fn an_outsider_is_let_in_until_policy_is_strict() -> Outcome {
    let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let outsider = mesh.lab.pod("outsider")?;
    let application = http::Server::start(server.namespace(), APPLICATION)?;
    let both = [SocketAddr::from((server.v4(), APPLICATION)), (server.v6(), APPLICATION).into()];
    for address in both {
        let response = http::request(outsider.namespace(), address, "/", b"hello")?;
        let from = response.peer().map(|peer| peer.ip());
        let own = if address.is_ipv4() { outsider.v4().into() } else { outsider.v6().into() };
        assert_eq!(from, Some(own), "the server sees the outsider's own address");
        let report = mesh.reports.next(Direction::Plaintext, &server)?;
        assert!(report.outcome.is_ok() && report.peer.is_none(), "{report:?}");
    }
    mesh.learn(STRICT)?;
    for address in both {
        assert!(is_turned_away(&connect(&outsider, address)?));
        let report = mesh.reports.next(Direction::Plaintext, &server)?;
        assert!(matches!(report.outcome, Err(ConnectionError::Denied(_))), "{report:?}");
    }
    assert_eq!(application.peers().len(), 2, "the application heard of the first two only");
    for address in both {
        assert_eq!(http::request(client.namespace(), address, "/", b"hello")?.status(), 200);
    }
    Ok(())
}

fn a_peer_that_policy_denies_is_not_let_in() -> Outcome {
    let (mesh, _node, [friend, stranger, server]) = Mesh::running(["friend", "stranger", "server"])?;
    mesh.learn(
        "policies: [{name: friends, namespace: test, scope: Namespace, action: Allow, \
         rules: [[[{principals: [Exact: cluster.local/ns/test/sa/friend]}]]]}]",
    )?;
    let application = http::Server::start(server.namespace(), APPLICATION)?;
    let address = SocketAddr::from((server.v4(), APPLICATION));
    assert_eq!(http::request(friend.namespace(), address, "/", b"hello")?.status(), 200);
    // Reported once it is over, which its client does not wait for.
    let report = mesh.reports.next(Direction::Inbound, &server)?;
    assert!(report.outcome.is_ok(), "{report:?}");
    assert!(is_turned_away(&connect(&stranger, address)?));
    assert_eq!(application.peers().len(), 1);
    let report = mesh.reports.next(Direction::Inbound, &server)?;
    assert!(matches!(report.outcome, Err(ConnectionError::Denied(_))), "{report:?}");
    let report = mesh.reports.next(Direction::Outbound, &stranger)?;
    assert!(matches!(report.outcome, Err(ConnectionError::Open(_))), "{report:?}");
    Ok(())
}

/// A connection to each address of a pod.
fn pairs(client: &Pod, server: &Pod, port: u16) -> Result<Vec<(TcpStream, TcpStream)>> {
    let listener = listen(server, port)?;
    let addresses = [SocketAddr::from((server.v4(), port)), (server.v6(), port).into()];
    let pair = |address: SocketAddr| Ok((connect(client, address)?, accept(&listener)?.0));
    addresses.into_iter().map(pair).collect()
}

fn what_policy_permits_no_more_is_cut() -> Outcome {
    let (mesh, _node, [friend, stranger, server]) = Mesh::running(["friend", "stranger", "server"])?;
    let outsider = mesh.lab.pod("outsider")?;
    let kept = pairs(&friend, &server, 8081)?;
    let mut others = pairs(&stranger, &server, 8082)?;
    others.extend(pairs(&outsider, &server, 8083)?);
    // A change that permits them all cuts none.
    mesh.learn("")?;
    for (near, far) in kept.iter().chain(&others) {
        converse(near, far)?;
    }
    mesh.learn(
        "policies: [{name: friends, namespace: test, scope: Namespace, action: Allow, \
         rules: [[[{principals: [Exact: cluster.local/ns/test/sa/friend]}]]]}]",
    )?;
    for (near, far) in &others {
        assert!(is_cut(&read_to_end(near)) && is_cut(&read_to_end(far)));
    }
    for (direction, connections) in [(Direction::Inbound, 2), (Direction::Plaintext, 2)] {
        for _ in 0..connections {
            let report = mesh.reports.next(direction, &server)?;
            assert!(matches!(report.outcome, Err(ConnectionError::Denied(_))), "{report:?}");
        }
    }
    for (near, far) in &kept {
        converse(near, far)?;
    }
    // Whoever is decided on by the workload's own list of policies, too: one that is not known denies.
    mesh.learn("policies: [{name: closed, namespace: test, scope: Namespace, action: Allow, rules: []}]")?;
    for (near, far) in &kept {
        assert!(is_cut(&read_to_end(near)) && is_cut(&read_to_end(far)));
    }
    Ok(())
}

/// Connections that come while the facts change are cut or refused: none is left that nobody decided on.
fn a_change_and_a_connection_at_once() -> Outcome {
    let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
    let outsider = mesh.lab.pod("outsider")?;
    let listener = listen(&server, APPLICATION)?;
    let address = SocketAddr::from((server.v4(), APPLICATION));
    for _ in 0..20 {
        mesh.learn("")?;
        let opened = std::thread::scope(|scope| {
            let opening = [&client, &outsider].map(|pod| {
                scope.spawn(move || (0..20).filter_map(|_| connect(pod, address).ok()).collect::<Vec<_>>())
            });
            let changed = mesh.learn(CLOSED);
            let opened = opening.map(|opening| opening.join().map_err(|_| "it panicked"));
            changed.map(|()| opened)
        })?;
        for streams in opened {
            for stream in streams? {
                // It ends, one way or the other, and not by our patience.
                assert!(is_turned_away(&stream), "a connection lives that nobody permits");
            }
        }
    }
    drop(listener);
    Ok(())
}

/// Nobody at all.
const CLOSED: &str =
    "policies: [{name: closed, namespace: test, scope: Namespace, action: Allow, rules: []}]";

/// Rules as a network policy is made of: in the node's namespace, on the bridge that pods are on; all is denied that is not allowed.
fn network_policy(mesh: &Mesh, allowed: &[String]) -> Outcome {
    let mut rules =
        String::from("add table bridge netpol\ndelete table bridge netpol\nadd table bridge netpol\n");
    rules.push_str("add chain bridge netpol forward { type filter hook forward priority 0; policy drop; }\n");
    rules.push_str("add rule bridge netpol forward ether type arp accept\n");
    rules.push_str(
        "add rule bridge netpol forward icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n",
    );
    rules.push_str("add rule bridge netpol forward tcp flags ack accept\n");
    for rule in allowed {
        rules.push_str(&format!("add rule bridge netpol forward {rule} accept\n"));
    }
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), rules)?;
    let mut command = Command::new("nft");
    command.arg("-f").arg(file.path());
    let output = mesh.lab.node().run(|| command.output())??;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn both_the_networks_policy_and_the_meshs() -> Outcome {
    type Rules = fn(&Pod, &Pod) -> Vec<String>;
    // Tunnels arrive at one port, whatever the application's is; plaintext at the application's.
    let network: [(Rules, [bool; 2]); 4] = [
        (|_, _| Vec::new(), [false, false]),
        (|client, _| vec![from(client, 15008)], [true, false]),
        (|_, outsider| vec![from(outsider, APPLICATION)], [false, true]),
        (|client, outsider| vec![from(client, 15008), from(outsider, APPLICATION)], [true, true]),
    ];
    let of_mesh = [("", [true, true]), (STRICT, [true, false]), (CLOSED, [false, false])];
    for (rules, by_network) in network {
        // New pods each time: a tunnel that is there already would be let on.
        let (mesh, _node, [client, server]) = Mesh::running(["client", "server"])?;
        let outsider = mesh.lab.pod("outsider")?;
        let _application = http::Server::start(server.namespace(), APPLICATION)?;
        let rules = rules(&client, &outsider);
        network_policy(&mesh, &rules)?;
        for (policy, by_mesh) in of_mesh {
            mesh.learn(policy)?;
            let address = SocketAddr::from((server.v4(), APPLICATION));
            let passes = [is_answered(&client, address)?, is_answered(&outsider, address)?];
            let both = |(network, mesh): (bool, bool)| network && mesh;
            let wanted: Vec<bool> = by_network.into_iter().zip(by_mesh).map(both).collect();
            assert_eq!(passes.as_slice(), wanted, "[in a tunnel, plaintext] with {rules:?} and {policy:?}");
        }
    }
    Ok(())
}

fn from(pod: &Pod, port: u16) -> String {
    format!("ip saddr {} tcp dport {port}", pod.v4())
}

/// Whether an application answers within what is long for this machine and short for a test: what is dropped is never answered.
fn is_answered(pod: &Pod, address: SocketAddr) -> Result<bool> {
    const PATIENCE: Duration = Duration::from_millis(1500);
    let Ok(mut stream) = pod.run(|| TcpStream::connect_timeout(&address, PATIENCE))? else {
        return Ok(false);
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    Ok(stream.read(&mut [0]).is_ok_and(|read| read == 1))
}
