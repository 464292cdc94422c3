//! Whom policy lets in.

use std::net::SocketAddr;

use inpod_proxy_core::{ConnectionError, Direction};
use testkit::http;
use testkit::kernel::{Case, Outcome, test};

use crate::mesh::{APPLICATION, Mesh, connect, is_turned_away};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("an_outsider_is_let_in_until_policy_is_strict", an_outsider_is_let_in_until_policy_is_strict),
        test("a_peer_that_policy_denies_is_not_let_in", a_peer_that_policy_denies_is_not_let_in),
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
