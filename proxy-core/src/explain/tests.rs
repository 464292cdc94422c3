//! What is explained is what is decided.
#![cfg(feature = "yaml")]

use super::*;
use crate::route::Route;
use crate::workload::file::parse;

const FACTS: &str = r#"
workloads:
- {uid: c, name: client, namespace: shop, serviceAccount: client, workloadIps: [10.0.0.1], protocol: HBONE}
- {uid: s, name: server, namespace: shop, serviceAccount: server, workloadIps: [10.0.0.2], protocol: HBONE,
   services: {"shop/web.shop": {80: 8080}}}
- {uid: l, name: legacy, namespace: shop, serviceAccount: legacy, workloadIps: [10.0.0.3]}
- {uid: w, name: behind, namespace: shop, serviceAccount: behind, workloadIps: [10.0.0.4], protocol: HBONE,
   waypoint: {destination: "/10.0.0.9", hboneMtlsPort: 15008}}
- {uid: g, name: gateway, namespace: shop, serviceAccount: gateway, workloadIps: [10.0.0.8], protocol: HBONE, network: west}
- {uid: f, name: far, namespace: shop, workloadIps: [], network: west, networkGateway: {destination: west/10.0.0.8},
   services: {"shop/far.shop": {80: 8080}, "shop/unnamed.shop": {80: 8080}}}
- {uid: x, name: lost, namespace: shop, workloadIps: [], network: east, services: {"shop/lost.shop": {80: 8080}}}
services:
- {name: far, namespace: shop, hostname: far.shop, vips: ["/10.1.0.2"], ports: {80: 8080},
   subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/far"]}
- {name: lost, namespace: shop, hostname: lost.shop, vips: ["/10.1.0.3"], ports: {80: 8080}}
- {name: unnamed, namespace: shop, hostname: unnamed.shop, vips: ["/10.1.0.4"], ports: {80: 8080}}
- {name: web, namespace: shop, hostname: web.shop, vips: ["/10.1.0.1"], ports: {80: 8080}}
policies:
- {name: strict, namespace: shop, scope: Namespace, action: Deny, rules: [[[{notPrincipals: [Presence: []]}]]]}
- {name: friends, namespace: shop, scope: Namespace, action: Allow, rules: [[[{namespaces: [Exact: other]}]], [[{namespaces: [Exact: shop]}]]]}
- {name: tried, namespace: shop, scope: Namespace, action: Deny, dryRun: true, rules: [[[{namespaces: [Exact: shop]}]]]}
"#;

fn facts() -> Snapshot {
    parse(FACTS, &"cluster.local".parse().unwrap()).unwrap()
}

fn pod(name: &str) -> PodName {
    PodName { namespace: "shop".into(), name: name.into(), service_account: name.into() }
}

fn id(name: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{name}").parse().unwrap()
}

fn ask(name: &str, way: Way, client: &str, destination: &str) -> Fate {
    let query = Query {
        uid: "u".into(),
        way,
        client: ClientAddr::new(client.parse().unwrap()),
        destination: OriginalDst::new(destination.parse().unwrap()),
    };
    let facts = facts();
    let workload = facts.workload_named(&pod(name)).map(AsRef::as_ref);
    let one = Connections { worker: 1, open: 2, dialling: 0, streams: 3 };
    let two = Connections { streams: 1, ..one };
    let usages = Usages {
        tunnel: &|key| if key.hop.port() == 15008 { vec![one] } else { Vec::new() },
        double: &|key| if key.outer.hop.port() == 15008 { vec![two] } else { Vec::new() },
    };
    let principals = |id| Principal::new(id, Vec::new(), &"cluster.local".parse().unwrap());
    fate(&facts, workload, Ports::default(), &query, usages, &principals)
}

fn out(name: &str, destination: &str) -> Outbound {
    match ask(name, Way::Out, "10.0.0.1:40000", destination) {
        Fate::Outbound(outbound) => outbound,
        Fate::Inbound(_) => panic!("not asked"),
    }
}

fn inward(name: &str, peer: Option<SpiffeId>, client: &str, destination: &str) -> Inbound {
    match ask(name, Way::In { peer }, client, destination) {
        Fate::Inbound(inbound) => inbound,
        Fate::Outbound(_) => panic!("not asked"),
    }
}

#[test]
fn a_tunnel_is_named_with_its_end_and_what_there_is_for_it() {
    let Outbound { addressee, going } = out("client", "10.0.0.2:8080");
    assert!(matches!(addressee, Addressee::Workload(party) if party.name == "shop/server"));
    let going = going.unwrap();
    assert_eq!(going.hop.to_string(), "10.0.0.2:15008");
    assert_eq!(going.at.map(|party| party.identity), Some(id("server")));
    let tunnel = going.tunnel.unwrap();
    assert_eq!((tunnel.target.as_str(), tunnel.expected), ("10.0.0.2:8080", vec![id("server")]));
    assert_eq!(tunnel.connections, [Connections { worker: 1, open: 2, dialling: 0, streams: 3 }]);
}

#[test]
fn whose_address_it_is_is_told() {
    let by_service = out("client", "10.1.0.1:80");
    assert_eq!(by_service.addressee, Addressee::Service("shop/web.shop".into()));
    assert_eq!(by_service.going.unwrap().tunnel.unwrap().target, "10.0.0.2:8080");
    let stranger = out("client", "192.0.2.1:443");
    assert_eq!(stranger.addressee, Addressee::Stranger);
    assert_eq!(stranger.going.unwrap().tunnel, None);
    let legacy = out("client", "10.0.0.3:1").going.unwrap();
    assert_eq!((legacy.tunnel, legacy.at.map(|party| party.protocol)), (None, Some(Protocol::Tcp)));
}

#[test]
fn another_network_is_named_with_its_gateway_and_far_end() {
    let going = out("client", "10.1.0.2:80").going.unwrap();
    assert_eq!(
        (going.hop.to_string().as_str(), going.at.unwrap().name.as_str()),
        ("10.0.0.8:15008", "shop/gateway")
    );
    let outer = going.tunnel.unwrap();
    assert_eq!((outer.target.as_str(), outer.expected), ("far.shop:80", vec![id("gateway")]));
    let beyond = going.beyond.unwrap();
    assert_eq!((beyond.network.as_str(), beyond.gateway.as_str()), ("west", "west/10.0.0.8"));
    assert_eq!(beyond.expected, [id("far")]);
    assert_eq!((outer.connections[0].streams, beyond.connections[0].streams), (3, 1));
    let refused = |to| out("client", to).going.unwrap_err();
    assert_eq!(refused("10.1.0.3:80").reason, r#"no gateway leads to workload x in network "east""#);
    assert_eq!(
        refused("10.1.0.4:80").reason,
        "service shop/unnamed.shop names no identity to expect in another network"
    );
}

#[test]
fn what_the_facts_lack_is_told_from_what_is_meant() {
    let cause = |name: &str, destination: &str| out(name, destination).going.unwrap_err().cause;
    assert_eq!(cause("client", "127.0.0.1:15001"), Cause::Meant);
    assert_eq!(cause("client", "10.1.0.1:81"), Cause::Lacking);
    assert_eq!(cause("client", "10.0.0.4:80"), Cause::Lacking);
    assert_eq!(cause("nobody", "192.0.2.1:443"), Cause::Lacking);
    let nobody = inward("nobody", None, "10.0.0.1:1", "10.0.0.9:80");
    assert_eq!(nobody.plaintext.verdict.unwrap_err().reason, "no facts about this pod");
}

#[test]
fn a_pod_with_another_service_account_has_a_namesake() {
    let facts = facts();
    let other = PodName { service_account: "other".into(), ..pod("client") };
    assert!(facts.workload_named(&other).is_none());
    assert_eq!(namesake(&facts, None, &other).map(|party| party.identity), Some(id("client")));
    let client = facts.workload_named(&pod("client")).map(AsRef::as_ref);
    assert_eq!(namesake(&facts, client, &pod("client")), None);
    assert_eq!(namesake(&facts, None, &pod("nobody")), None);
}

#[test]
fn the_policy_that_decides_is_named() {
    let inbound = inward("server", None, "10.0.0.1:40000", "10.0.0.2:8080");
    let tunnel = inbound.tunnel.unwrap();
    assert_eq!((tunnel.peer, tunnel.verdict), (Some(id("client")), Ok(Some("shop/friends".into()))));
    let refused = inbound.plaintext.verdict.unwrap_err();
    assert_eq!((refused.reason.as_str(), refused.cause), ("denied by policy shop/strict", Cause::Meant));
    let matching: Vec<_> =
        inbound.policies.iter().map(|p| (p.name.as_str(), p.mode, p.tunnel, p.plaintext)).collect();
    assert_eq!(
        matching,
        [
            ("shop/strict", Mode::Enforced, None, Some(1)),
            ("shop/friends", Mode::Enforced, Some(2), None),
            ("shop/tried", Mode::DryRun, Some(1), None),
        ]
    );
}

#[test]
fn an_identity_is_the_one_given_or_the_one_that_facts_know() {
    let stranger = inward("server", None, "192.0.2.9:1", "10.0.0.2:8080");
    assert_eq!((stranger.client, stranger.tunnel), (None, None));
    // What is not in the mesh proves nothing, though it is known.
    let legacy = inward("server", None, "10.0.0.3:1", "10.0.0.2:8080");
    assert!(legacy.client.is_some() && legacy.tunnel.is_none());
    let other: SpiffeId = "spiffe://cluster.local/ns/elsewhere/sa/x".parse().unwrap();
    let given = inward("server", Some(other.clone()), "10.0.0.1:1", "10.0.0.2:8080").tunnel.unwrap();
    assert_eq!(given.peer, Some(other));
    assert_eq!(given.verdict.unwrap_err().reason, "no policy allows it");
}

#[test]
fn the_proxys_own_ports_are_nobodys() {
    let inbound = inward("server", None, "10.0.0.1:1", "10.0.0.2:15008");
    let (tunnel, plaintext) = (inbound.tunnel.unwrap().verdict, inbound.plaintext.verdict);
    assert_eq!(tunnel.unwrap_err().cause, Cause::Meant);
    assert_eq!(plaintext.unwrap_err().reason, "10.0.0.2:15008 is not a target of this pod");
}

/// The explanation and the data path ask the same function: this is about nothing being lost between them.
#[test]
fn explanations_agree_with_routes() {
    let facts = facts();
    let source = facts.workload_named(&pod("client")).unwrap();
    for last in 0..10 {
        for (net, port) in [("10.0.0", 80), ("10.1.0", 80), ("10.1.0", 81), ("10.0.0", 15008)] {
            let destination = format!("{net}.{last}:{port}");
            let to = OriginalDst::new(destination.parse().unwrap());
            let route = crate::route::route(&facts, source, Ports::default(), to, 0);
            let going = out("client", &destination).going;
            match (route, going) {
                (Ok(Route::Direct(hop)), Ok(going)) => {
                    assert_eq!((going.hop, going.tunnel), (hop, None));
                }
                (Ok(Route::Tunnel(tunnel)), Ok(going)) => {
                    assert_eq!(going.hop, tunnel.hop);
                    assert_eq!(going.tunnel.unwrap().expected, tunnel.expected);
                }
                (Ok(Route::Double(double)), Ok(going)) => {
                    assert_eq!(going.hop, double.outer.hop);
                    assert_eq!(going.beyond.unwrap().expected, double.expected);
                }
                (Err(none), Err(refusal)) => assert_eq!(refusal.reason, none.to_string()),
                (route, going) => panic!("{destination}: {route:?}, but {going:?}"),
            }
        }
    }
}
