//! What is concluded from what was found, and how it reads.

use std::time::{Duration, UNIX_EPOCH};

use super::differs::differs;
use super::render::text;
use super::verdict::verdict;
use super::view::{
    Beyond, Connections, Decision, End, Inbound, Kind, No, Outbound, Packet, Policy, Proxy, Route, Rule,
    Rules, Socket, Told, Tunnel, Way, Why, Workload,
};
use crate::view::PodView;

pub(super) fn pod() -> PodView {
    PodView {
        uid: "u-1".into(),
        namespace: "shop".into(),
        name: "cart-0".into(),
        identity: "ns/shop/sa/cart".into(),
        network: 7,
        addresses: Vec::new(),
        desired: "enrolled".into(),
        captured: "yes".into(),
        proxy: "listening".into(),
        enrolled: true,
        since: 1000,
        failures: 0,
        last_error: None,
    }
}

fn workload(name: &str, address: &str) -> Workload {
    Workload {
        uid: format!("uid-{name}"),
        name: format!("shop/{name}"),
        identity: format!("spiffe://cluster.local/ns/shop/sa/{name}"),
        addresses: vec![address.parse().unwrap()],
        protocol: "HBONE".into(),
    }
}

fn listener(address: &str) -> Socket {
    Socket {
        address: address.parse().unwrap(),
        mark: Some(0x539),
        user: 0,
        waiting: 0,
        most_waiting: 4096,
        has_proxys_mark: true,
    }
}

fn packet(kind: Kind, port: u16) -> Packet {
    let rule = Rule {
        chain: "output".into(),
        number: 3,
        rule: "ip protocol tcp redirect to :15001".into(),
        why: "applications go to the proxy".into(),
        packets: Some(12),
    };
    let sockets = vec![listener(&format!("[::]:{port}"))];
    Packet { kind, met: vec![rule], end: End::Proxy { port }, sockets }
}

fn told() -> Told {
    Told {
        identity: "spiffe://cluster.local/ns/shop/sa/cart".into(),
        expires: Some(1000 + 1800),
        facts: Some(workload("cart", "10.0.0.1")),
        namesake: None,
        outbound: None,
        inbound: None,
    }
}

fn base(way: Way, packets: Vec<Packet>, told: Told) -> Why {
    Why {
        pod: pod(),
        way,
        source: "10.0.0.1:40000".parse().unwrap(),
        destination: "10.0.0.2:8080".parse().unwrap(),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()],
        rules: Rules { same: true, differences: Vec::new(), more: 0 },
        packets,
        application: Vec::new(),
        proxy: Proxy::Told(Box::new(told)),
        verdict: String::new(),
        differs: Vec::new(),
    }
}

fn outbound() -> Why {
    let tunnel = Tunnel {
        target: "10.0.0.2:8080".into(),
        expected: vec!["spiffe://cluster.local/ns/shop/sa/web".into()],
        connections: vec![Connections { worker: 0, open: 1, dialling: 0, streams: 2 }],
    };
    let at = Some(workload("web", "10.0.0.2"));
    let route = Route {
        hop: "10.0.0.2:15008".parse().unwrap(),
        at: at.clone(),
        waypoint: None,
        tunnel: Some(tunnel),
        beyond: None,
    };
    let outbound = Outbound { service: None, workload: at, route: Some(route), refused: None };
    base(Way::Outbound, vec![packet(Kind::Captured, 15001)], Told { outbound: Some(outbound), ..told() })
}

fn inbound() -> Why {
    let refused = No { reason: "denied by policy shop/strict".into(), intended: true };
    let inbound = Inbound {
        client: Some(workload("web", "10.0.0.2")),
        tunnel: Some(Decision {
            peer: Some("spiffe://cluster.local/ns/shop/sa/web".into()),
            permitted: true,
            policy: Some("shop/friends".into()),
            refused: None,
        }),
        plaintext: Decision { peer: None, permitted: false, policy: None, refused: Some(refused) },
        policies: vec![
            Policy {
                name: "shop/strict".into(),
                action: "deny".into(),
                dry_run: false,
                tunnel: None,
                plaintext: Some(1),
            },
            Policy {
                name: "shop/friends".into(),
                action: "allow".into(),
                dry_run: false,
                tunnel: Some(2),
                plaintext: None,
            },
        ],
    };
    let packets = vec![packet(Kind::Tunnel, 15008), packet(Kind::Plaintext, 15006)];
    let application = Socket { mark: Some(0), user: 1000, has_proxys_mark: false, ..listener("0.0.0.0:80") };
    Why {
        source: "10.0.0.2:40000".parse().unwrap(),
        destination: "10.0.0.1:80".parse().unwrap(),
        application: vec![application],
        ..base(Way::Inbound, packets, Told { inbound: Some(inbound), ..told() })
    }
}

fn concluded(mut why: Why) -> Why {
    why.verdict = verdict(&why);
    why.differs = differs(&why);
    why
}

fn shown(why: Why) -> String {
    text(&concluded(why), UNIX_EPOCH + Duration::from_secs(1000))
}

fn change(why: Why, change: impl FnOnce(&mut Why)) -> Vec<(String, String)> {
    let mut why = why;
    change(&mut why);
    differs(&why).into_iter().map(|differs| (differs.what, differs.how)).collect()
}

fn told_of(why: &mut Why) -> &mut Told {
    match &mut why.proxy {
        Proxy::Told(told) => told,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tunnel_reads_so() {
    let wanted = "\
shop/cart-0 (u-1), outbound: 10.0.0.1:40000 -> 10.0.0.2:8080
=> captured, and goes by a tunnel to shop/web at 10.0.0.2:15008

PACKET    RULES (as intended)    PACKETS  WHY                           RULE
captured  output rule 3          12       applications go to the proxy  ip protocol tcp redirect to :15001
captured  => the proxy at 15001

SOCKET    LISTENS AT  OF     MARK   USER  WAITING
captured  [::]:15001  proxy  0x539  0     0/4096

PROXY
identity           spiffe://cluster.local/ns/shop/sa/cart
certificate        valid for 30 min more
facts of the pod   shop/cart (uid-cart)
destination        workload shop/web (HBONE)
route              tunnel to 10.0.0.2:15008 of shop/web, for 10.0.0.2:8080
expected identity  spiffe://cluster.local/ns/shop/sa/web
connections        worker 0: 1 open, 2 streams

Nothing differs from what is intended.
";
    assert_eq!(shown(outbound()), wanted);
}

#[test]
fn a_tunnel_to_another_network_reads_so() {
    let mut why = outbound();
    let outbound = told_of(&mut why).outbound.as_mut().unwrap();
    outbound.service = Some("shop/web.shop".into());
    let route = outbound.route.as_mut().unwrap();
    route.at = Some(workload("gateway", "10.0.0.2"));
    route.tunnel.as_mut().unwrap().target = "web.shop:80".into();
    route.beyond = Some(Beyond {
        network: "west".into(),
        gateway: "west/10.0.0.2".into(),
        expected: vec!["spiffe://cluster.local/ns/shop/sa/far".into()],
        connections: Vec::new(),
    });
    let text = shown(why);
    let verdict = "=> captured, and goes by a tunnel to shop/gateway, a gateway, at 10.0.0.2:15008, and through it to network west \
                   for service shop/web.shop\n";
    assert!(text.contains(verdict), "{text}");
    let wanted = "\
route              tunnel to 10.0.0.2:15008 of shop/gateway, for web.shop:80
expected identity  spiffe://cluster.local/ns/shop/sa/web
connections        worker 0: 1 open, 2 streams
network gateway    west/10.0.0.2, to network west
route within       tunnel through the gateway, for web.shop:80
expected identity  spiffe://cluster.local/ns/shop/sa/far
connections        none yet
";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn a_connection_to_the_pod_reads_so() {
    let wanted = "\
shop/cart-0 (u-1), inbound: 10.0.0.2:40000 -> 10.0.0.1:80
=> by a tunnel permitted by policy shop/friends; in plaintext refused: denied by policy shop/strict

PACKET     RULES (as intended)    PACKETS  WHY                           RULE
tunnel     output rule 3          12       applications go to the proxy  ip protocol tcp redirect to :15001
tunnel     => the proxy at 15008
plaintext  output rule 3          12       applications go to the proxy  ip protocol tcp redirect to :15001
plaintext  => the proxy at 15006

SOCKET       LISTENS AT  OF     MARK   USER  WAITING
tunnel       [::]:15008  proxy  0x539  0     0/4096
plaintext    [::]:15006  proxy  0x539  0     0/4096
application  0.0.0.0:80  other  0x0    1000  0/4096

PROXY
identity          spiffe://cluster.local/ns/shop/sa/cart
certificate       valid for 30 min more
facts of the pod  shop/cart (uid-cart)
source            shop/web (HBONE)
by a tunnel       spiffe://cluster.local/ns/shop/sa/web: permitted by shop/friends
in plaintext      refused, denied by policy shop/strict

POLICY        ACTION  TUNNEL    PLAINTEXT
shop/strict   deny    no match  rule 1
shop/friends  allow   rule 2    no match

Nothing differs from what is intended.
";
    assert_eq!(shown(inbound()), wanted);
}

#[test]
fn what_differs_reads_so_and_moves_no_cursor() {
    let mut why = outbound();
    why.proxy = Proxy::Silent { error: "no proxy is connected\u{1b}[2J".into() };
    why.rules = Rules { same: false, differences: vec!["missing: a rule".into()], more: 2 };
    why.packets.iter_mut().flat_map(|packet| &mut packet.met).for_each(|met| met.packets = None);
    let text = shown(why);
    assert!(text.contains("RULES (intended; the kernel's differ)"), "{text}");
    let wanted = "\
DIFFERS
rules    missing: a rule
rules    and 2 more
proxy    no proxy is connected\\u{1b}[2J
";
    assert!(text.ends_with(wanted), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn each_difference_is_named_once() {
    let one = |why: Why, alter: fn(&mut Why), what: &str, how: &str| {
        let found = change(why, alter);
        assert_eq!(found.len(), 1, "{found:?}");
        let (found_what, found_how) = &found[0];
        assert!(found_what == what && found_how.contains(how), "{found:?}, not {what}: {how}");
    };
    assert_eq!(change(outbound(), |_| {}), []);
    assert_eq!(change(inbound(), |_| {}), []);
    one(outbound(), |why| why.pod.desired = "released".into(), "pod", "released");
    one(outbound(), |why| why.pod.proxy = "refused: no".into(), "proxy", "refused: no");
    one(outbound(), |why| why.pod.last_error = Some("oh".into()), "pod", "oh");
    one(outbound(), |why| why.packets[0].sockets.clear(), "socket", "nobody listens on 15001");
    one(
        outbound(),
        |why| why.packets[0].sockets[0].has_proxys_mark = false,
        "socket",
        "not the proxy's mark",
    );
    one(outbound(), |why| why.packets[0].sockets[0].waiting = 4096, "socket", "as many as can");
    one(inbound(), |why| why.application.clear(), "application", "nobody listens at 10.0.0.1:80");
    one(outbound(), |why| told_of(why).facts = None, "facts", "no facts");
    let namesake = |why: &mut Why| {
        let told = told_of(why);
        (told.facts, told.namesake) = (None, Some(workload("other", "10.0.0.1")));
    };
    let how = "the facts' shop/other is spiffe://cluster.local/ns/shop/sa/other, the pod ns/shop/sa/cart";
    assert!(change(outbound(), namesake).contains(&("identity".into(), how.into())));
    one(outbound(), |why| why.addresses.push("10.0.0.7".parse().unwrap()), "facts", "10.0.0.7");
    one(outbound(), |why| why.addresses.retain(|ip| ip.is_ipv6()), "facts", "10.0.0.1 of shop/cart");
    one(outbound(), |why| why.pod.identity = "ns/shop/sa/other".into(), "identity", "not ns/shop/sa/other");
    let expected = |why: &mut Why| {
        let facts = told_of(why).facts.as_mut().unwrap();
        facts.identity = "spiffe://cluster.local/ns/shop/sa/x".into();
    };
    one(outbound(), expected, "identity", "peers expect spiffe://cluster.local/ns/shop/sa/x");
    let lost = |why: &mut Why| {
        let lost = No { reason: "policy shop/lost is named but not known".into(), intended: false };
        let inbound = told_of(why).inbound.as_mut().unwrap();
        let refused = Decision { peer: None, permitted: false, policy: None, refused: Some(lost) };
        (inbound.tunnel, inbound.plaintext) = (Some(refused.clone()), refused);
    };
    one(inbound(), lost, "facts", "shop/lost");
    let dry = |why: &mut Why| told_of(why).inbound.as_mut().unwrap().policies[0].dry_run = true;
    one(inbound(), dry, "policy", "shop/strict is in dry run: its rule 1 would deny it in plaintext");
}

#[test]
fn a_proxy_that_does_not_tell_is_no_difference() {
    let mut why = outbound();
    why.proxy = Proxy::DoesNotTell;
    let why = concluded(why);
    assert_eq!(why.differs, []);
    assert_eq!(why.verdict, "captured; the proxy does not tell what it would do");
    assert!(text(&why, UNIX_EPOCH).contains("\nPROXY\ndoes not tell\n"), "{}", text(&why, UNIX_EPOCH));
}

#[test]
fn the_sentence_says_what_becomes_of_it() {
    let ended = |end: End| {
        let mut why = outbound();
        why.packets[0].end = end;
        verdict(&why)
    };
    let address = "10.0.0.2:8080".parse().unwrap();
    assert_eq!(
        ended(End::Leaves { interface: "eth0".into(), address }),
        "from the pod past the proxy, out of eth0 to 10.0.0.2:8080"
    );
    let mut others = outbound();
    others.rules.same = false;
    assert!(verdict(&others).starts_with("if the rules were as intended: captured, and goes by"));
    assert_eq!(ended(End::Dropped), "from the pod dropped by a rule");
    let refused = |reason: &str| {
        let mut why = outbound();
        let outbound = told_of(&mut why).outbound.as_mut().unwrap();
        (outbound.route, outbound.refused) = (None, Some(No { reason: reason.into(), intended: true }));
        verdict(&why)
    };
    assert_eq!(refused("no endpoint"), "captured, and refused by the proxy: no endpoint");
    let mut direct = outbound();
    let told = told_of(&mut direct).outbound.as_mut().unwrap();
    told.route = Some(Route { hop: address, at: None, waypoint: None, tunnel: None, beyond: None });
    assert_eq!(
        verdict(&direct),
        "captured, and goes in plain TCP to somebody outside the mesh at 10.0.0.2:8080"
    );
    let mut stranger = inbound();
    told_of(&mut stranger).inbound.as_mut().unwrap().tunnel = None;
    assert!(verdict(&stranger).starts_with("by a tunnel it depends on the identity: none is known"));
}

#[test]
fn names_of_fields_are_stable() {
    let json = serde_json::to_value(concluded(inbound())).unwrap();
    let at = |pointer: &str| json.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(at("/way"), "inbound");
    assert_eq!(at("/packets/0/end"), serde_json::json!({"to": "proxy", "port": 15008}));
    assert_eq!(at("/packets/1/sockets/0/hasProxysMark"), true);
    assert_eq!(at("/application/0/mostWaiting"), 4096);
    assert_eq!(at("/proxy/told/inbound/plaintext/refused/reason"), "denied by policy shop/strict");
    assert_eq!(at("/proxy/told/inbound/policies/1/tunnel"), 2);
    let back: Why = serde_json::from_value(json).unwrap();
    assert_eq!(back, concluded(inbound()));
}
