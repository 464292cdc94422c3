//! What is written is what is read; and what is no explanation is refused.

use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::zds::message::{MessageError, Request, Response};

fn id() -> impl Strategy<Value = SpiffeId> {
    "[a-z]{1,9}".prop_map(|name| format!("spiffe://cluster.local/ns/{name}/sa/x").parse().unwrap())
}

fn party() -> impl Strategy<Value = Party> {
    (".{0,9}", ".{0,9}", id(), prop::collection::vec(any::<std::net::IpAddr>(), 0..3), any::<bool>())
        .prop_map(|(uid, name, identity, addresses, hbone)| {
            let protocol = if hbone { Protocol::Hbone } else { Protocol::Tcp };
            Party { uid, name, identity, addresses, protocol }
        })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    (".{0,9}", prop_oneof![Just(Cause::Meant), Just(Cause::Lacking)])
        .prop_map(|(reason, cause)| Refusal { reason, cause })
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    let connections = any::<(u32, u32, u32, u32)>();
    let connections = connections.prop_map(|(worker, open, dialling, streams)| Connections {
        worker,
        open,
        dialling,
        streams,
    });
    let (expected, connections) =
        (prop::collection::vec(id(), 0..3), prop::collection::vec(connections, 0..3));
    (".{0,9}", expected, connections).prop_map(|(target, expected, connections)| Tunnel {
        target,
        expected,
        connections,
    })
}

fn outbound() -> impl Strategy<Value = Outbound> {
    let addressee = prop_oneof![
        Just(Addressee::Stranger),
        party().prop_map(Addressee::Workload),
        ".{1,9}".prop_map(Addressee::Service)
    ];
    let beyond = (".{0,9}", ".{0,9}", tunnel()).prop_map(|(network, gateway, tunnel)| {
        let Tunnel { expected, connections, .. } = tunnel;
        Beyond { network, gateway, expected, connections }
    });
    let tunnels = (option::of(tunnel()), option::of(beyond));
    let going = (any::<SocketAddr>(), option::of(party()), option::of(".{0,9}"), tunnels);
    let going = going.prop_map(|(hop, at, waypoint, (tunnel, beyond))| Going {
        hop: HopAddr::new(plain(hop)),
        at,
        waypoint,
        tunnel,
        beyond,
    });
    let going = prop_oneof![going.prop_map(Ok), refusal().prop_map(Err)];
    (addressee, going).prop_map(|(addressee, going)| Outbound { addressee, going })
}

fn judged() -> impl Strategy<Value = Judged> {
    let verdict = prop_oneof![option::of(".{0,9}").prop_map(Ok), refusal().prop_map(Err)];
    (option::of(id()), verdict).prop_map(|(peer, verdict)| Judged { peer, verdict })
}

fn applied() -> impl Strategy<Value = Applied> {
    let action = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    let scope = prop_oneof![Just(Scope::Global), Just(Scope::Namespace), Just(Scope::WorkloadSelector)];
    let mode = prop_oneof![Just(Mode::Enforced), Just(Mode::DryRun)];
    (".{0,9}", action, scope, mode, any::<Option<u32>>(), any::<Option<u32>>()).prop_map(
        |(name, action, scope, mode, tunnel, plaintext)| Applied {
            name,
            action,
            scope,
            mode,
            tunnel,
            plaintext,
        },
    )
}

fn inbound() -> impl Strategy<Value = Inbound> {
    let policies = prop::collection::vec(applied(), 0..3);
    (option::of(party()), option::of(judged()), judged(), policies)
        .prop_map(|(client, tunnel, plaintext, policies)| Inbound { client, tunnel, plaintext, policies })
}

fn account() -> impl Strategy<Value = Account> {
    let fate = prop_oneof![outbound().prop_map(Fate::Outbound), inbound().prop_map(Fate::Inbound)];
    // To the end of the year 9999.
    let expires = option::of(0_u64..253_402_300_800);
    let facts = (option::of(party()), option::of(party()));
    (".{0,9}", id(), expires, facts, fate).prop_map(|(name, identity, expires, (facts, namesake), fate)| {
        let name = PodName { namespace: name.clone(), name: name.clone(), service_account: name };
        let expires = expires.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        Account { name, identity, expires, facts, namesake, fate }
    })
}

/// What is written as text has neither flow nor scope (RFC 3493), which no address of a connection here has.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

fn query() -> impl Strategy<Value = Query> {
    let way = prop_oneof![Just(Way::Out), option::of(id()).prop_map(|peer| Way::In { peer })];
    (".{1,40}", way, any::<SocketAddr>(), any::<SocketAddr>()).prop_map(|(uid, way, client, destination)| {
        let (client, destination) = (ClientAddr::new(plain(client)), OriginalDst::new(plain(destination)));
        Query { uid, way, client, destination }
    })
}

proptest! {
    #[test]
    fn questions_round_trip(query in query()) {
        let request = Request::Explain(query);
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn accounts_round_trip(account in account()) {
        let response = Response::Explained(Box::new(account));
        prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        // As the payload of the extension.
        let framed = |head: [u8; 2]| {
            let length = u8::try_from(bytes.len()).unwrap();
            [&head[..], &[length], &bytes].concat()
        };
        let _ = Request::decode(&framed([0xc2, 0x3e]));
        let _ = Response::decode(&framed([0xc2, 0x3e]));
    }
}

#[test]
fn its_place_in_the_protocol_is_field_1000() {
    let query = Query {
        uid: "u".into(),
        way: Way::Out,
        client: ClientAddr::new("1.1.1.1:1".parse().unwrap()),
        destination: OriginalDst::new("2.2.2.2:2".parse().unwrap()),
    };
    let inner = [&[0x0a, 1, b'u', 0x10, 1, 0x1a, 9][..], b"1.1.1.1:1", &[0x22, 9], b"2.2.2.2:2"].concat();
    let length = u8::try_from(inner.len()).unwrap();
    assert_eq!(Request::Explain(query).encode(), [&[0xc2, 0x3e, length][..], &inner].concat());
}

#[test]
fn what_is_missing_is_named() {
    let query = |change: fn(&mut wire::Explain)| {
        let mut query = wire::Explain {
            uid: "u".into(),
            way: wire::Way::In.into(),
            client: "1.1.1.1:1".into(),
            destination: "[::1]:2".into(),
            peer: None,
        };
        change(&mut query);
        Query::try_from(query).map_err(|error| error.field)
    };
    assert!(query(|_| {}).is_ok());
    assert_eq!(query(|query| query.uid.clear()), Err("uid"));
    assert_eq!(query(|query| query.way = 0), Err("way"));
    assert_eq!(query(|query| query.way = 3), Err("way"));
    assert_eq!(query(|query| query.client.clear()), Err("client"));
    assert_eq!(query(|query| query.destination = "here".into()), Err("destination"));
    assert_eq!(query(|query| query.peer = Some("me".into())), Err("peer"));
    let bytes = [&[0xc2, 0x3e, 2][..], &[0x10, 3]].concat();
    assert_eq!(Request::decode(&bytes), Err(MessageError::Explanation(bad("way"))));
    assert_eq!(Account::try_from(wire::Account::default()), Err(bad("identity")));
}

#[test]
fn an_answer_that_is_too_long_is_refused() {
    let applied = Applied {
        name: "x".repeat(300),
        action: Action::Allow,
        scope: Scope::Global,
        mode: Mode::Enforced,
        tunnel: None,
        plaintext: None,
    };
    let plaintext = Judged { peer: None, verdict: Ok(None) };
    let answer = |policies| {
        let inbound = Inbound {
            client: None,
            tunnel: None,
            plaintext: plaintext.clone(),
            policies: vec![applied.clone(); policies],
        };
        let account = Account {
            name: PodName { namespace: "n".into(), name: "p".into(), service_account: "s".into() },
            identity: "spiffe://cluster.local/ns/n/sa/s".parse().unwrap(),
            expires: None,
            facts: None,
            namesake: None,
            fate: Fate::Inbound(inbound),
        };
        let bytes = Response::Explained(Box::new(account)).encode();
        assert!(bytes.len() <= MAX_EXPLANATION);
        Response::decode(&bytes)
    };
    assert!(matches!(answer(50), Ok(Response::Explained(_))));
    assert!(matches!(answer(60), Ok(Response::Nack(reason)) if reason.contains("bytes")));
    assert!(wire::Explain::default().encode_to_vec().is_empty());
}
