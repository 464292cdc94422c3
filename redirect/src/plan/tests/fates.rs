//! What becomes of packets under every kind of plan, against what capture means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use proptest::sample::select;

use crate::explain::{Fate, Here, LocalSocket, Origin, Packet, Tracked, explain};
use crate::rule::Protocol;
use crate::tcp_flags::TcpFlags;
use crate::{
    DnsCapture, Dscp, Exception, Family, Guard, HboneSign, Inbound, Inclusion, Intent, Method, Owner, Plan,
    Port, ProxyIdentity,
};

use super::intents::{all_intents, interface};

const DNS: u16 = 53;

fn here() -> Here {
    let addresses =
        vec![Ipv4Addr::new(10, 9, 0, 1).into(), Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1).into()];
    Here { addresses, outside: interface("eth0") }
}

fn own(family: Family) -> IpAddr {
    here().addresses.into_iter().find(|address| Family::of(*address) == family).unwrap()
}

/// Who opens a connection.
#[derive(Clone, Copy)]
enum Opener {
    Here,
    Peer,
}

/// The segment that opens a connection, in a scene of its intent.
fn openings(opener: Opener) -> impl Strategy<Value = (Intent, Packet)> {
    all_intents().prop_flat_map(move |intent| {
        let ports = intent.ports();
        let known = [ports.outbound, ports.inbound_plaintext, ports.inbound_hbone].map(Port::number);
        let ports = select([&known[..], &[53, 80, 79, 8500, 9999]].concat());
        let (probes, intent_marks) = (intent.probe_addresses(), intent.marks());
        let addresses = move |family: Family| {
            let others: [IpAddr; 2] = match family {
                Family::V4 => [Ipv4Addr::new(10, 1, 2, 3).into(), Ipv4Addr::new(192, 0, 2, 1).into()],
                Family::V6 => [
                    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 9).into(),
                    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
                ],
            };
            let probe = probes.map_or(others[0], |probes| probes.of(family));
            let (here, sidecar) = ([family.loopback(), own(family)], family.sidecar_source());
            let afar = [others[0], others[1], probe];
            match opener {
                // From that address comes only what the proxy delivers.
                Opener::Here => prop_oneof![
                    (Just(sidecar), select(here.to_vec())),
                    (Just(own(family)), select([&here[..], &afar, &[sidecar]].concat())),
                ]
                .boxed(),
                Opener::Peer => {
                    (select(afar.to_vec()), select(vec![own(family), others[0], others[1]])).boxed()
                }
            }
        };
        let ends = select(vec![Family::V4, Family::V6]).prop_flat_map(addresses);
        let marks = select(vec![0, intent.marks().proxy().value(), 0x1000]);
        // What the proxy marks does not come from outside.
        let marks = marks.prop_map(move |mark| match opener {
            Opener::Peer if intent_marks.proxy().is_on(mark) => 0,
            _ => mark,
        });
        let owners =
            select(vec![None, Some((0, 0)), Some((1000, 1)), Some((1, 1000)), Some((2500, 7)), Some((7, 7))]);
        let classes = select(vec![None, Some(Dscp::new(0x17).unwrap())]);
        (Just(intent), ends, (1_u16.., ports), marks, owners, classes).prop_map(
            |(intent, (source, destination), (from, to), mark, owner, dscp)| {
                let packet = Packet {
                    protocol: Protocol::Tcp,
                    source: SocketAddr::new(source, from),
                    destination: SocketAddr::new(destination, to),
                    flags: Some(TcpFlags::Opens),
                    mark,
                    dscp,
                    owner,
                    cgroup: None,
                    socket: None,
                    connection: Tracked { new: true, reply: false, translated: false, mark: 0 },
                };
                (intent, packet)
            },
        )
    })
}

fn owns(owner: &Owner, packet: &Packet) -> bool {
    let Some((user, group)) = packet.owner else { return false };
    match owner {
        Owner::User(ids) => ids.contains(user),
        Owner::Group(ids) => ids.contains(group),
        Owner::Cgroup(_) => false,
    }
}

fn is_from_proxy(intent: &Intent, packet: &Packet) -> bool {
    match intent.proxy() {
        ProxyIdentity::Mark => intent.marks().proxy().is_on(packet.mark),
        ProxyIdentity::Owners(owners) => owners.iter().any(|owner| owns(owner, packet)),
    }
}

fn port(address: SocketAddr) -> Port {
    Port::new(address.port()).unwrap()
}

/// Whether the intent leaves alone what the application sends so.
fn is_excepted(intent: &Intent, packet: &Packet, outside: bool) -> bool {
    let to = packet.destination;
    let is_probe = intent.probe_addresses().is_some_and(|probes| probes.of(Family::of(to.ip())) == to.ip());
    let is = |exception: &Exception| match exception {
        Exception::ToPorts(ports) => ports.contains(port(to)),
        Exception::ToNetwork(network) => network.contains(to.ip()),
        Exception::ByInterface(name) => outside && *name == interface("eth0"),
        Exception::SentBy(_) | Exception::AtPorts(_) | Exception::FromNetwork(_) => false,
    };
    is_probe || intent.exceptions().iter().any(is)
}

/// Whether a connection of it is let past, by whose or to where it is.
fn is_let_past(intent: &Intent, packet: &Packet) -> bool {
    let excepted =
        |exception: &Exception| matches!(exception, Exception::SentBy(owner) if owns(owner, packet));
    let is_owner = |inclusion: &&Inclusion| matches!(inclusion, Inclusion::SentBy(_));
    let is_place =
        |inclusion: &&Inclusion| matches!(inclusion, Inclusion::ToPorts(_) | Inclusion::ToNetwork(_));
    let to = packet.destination;
    let included = |inclusion: &Inclusion| match inclusion {
        Inclusion::SentBy(owner) => owns(owner, packet),
        Inclusion::ToPorts(ports) => ports.contains(port(to)),
        Inclusion::ToNetwork(network) => network.contains(to.ip()),
        Inclusion::AtPorts(_) => false,
    };
    let inclusions = intent.inclusions();
    let only_owners = inclusions.iter().any(|inclusion| is_owner(&inclusion));
    let only_places = inclusions.iter().any(|inclusion| is_place(&inclusion));
    // Whose the packet is that nobody owns is not known, so it is not let past.
    let is_others =
        only_owners && packet.owner.is_some() && !inclusions.iter().filter(is_owner).any(included);
    let is_dns = intent.dns() != DnsCapture::Off && to.port() == DNS;
    let is_elsewhere = only_places && !is_dns && !inclusions.iter().filter(is_place).any(included);
    intent.exceptions().iter().any(excepted) || is_others || is_elsewhere
}

/// What is to become of what a socket here opens.
fn outbound(intent: &Intent, packet: &Packet) -> Fate {
    let to = packet.destination;
    let family = Family::of(to.ip());
    let is_here = to.ip().is_loopback() || here().addresses.contains(&to.ip());
    let direct = if is_here { Fate::Delivered(to) } else { Fate::Leaves(interface("eth0"), to) };
    let at = |port: Port| Fate::Delivered(SocketAddr::new(family.loopback(), port.number()));
    if !intent.families().all().contains(&family) || is_excepted(intent, packet, !is_here) {
        return direct;
    }
    let calls_itself = matches!(intent.proxy(), ProxyIdentity::Owners(_))
        && is_from_proxy(intent, packet)
        && is_here
        && to.ip() != family.loopback()
        && packet.source.ip() != family.sidecar_source()
        && port(to) != intent.ports().inbound_hbone;
    if calls_itself {
        return at(intent.ports().inbound_plaintext);
    }
    let delivers = matches!(intent.proxy(), ProxyIdentity::Owners(_))
        && is_here
        && packet.source.ip() == family.sidecar_source();
    if delivers
        || is_from_proxy(intent, packet)
        || is_let_past(intent, packet)
        || to.ip() == family.loopback()
    {
        return direct;
    }
    match (intent.dns(), intent.outbound_method()) {
        (DnsCapture::To(dns), _) if to.port() == DNS => at(dns),
        _ if is_here => direct,
        (_, Method::Redirect) => at(intent.ports().outbound),
        (_, Method::Tproxy) => Fate::Intercepted(intent.ports().outbound),
    }
}

/// What is to become of what comes in by an interface and opens a connection.
fn inbound(intent: &Intent, packet: &Packet, by: &str) -> Fate {
    let (from, to) = (packet.source, packet.destination);
    let family = Family::of(to.ip());
    let is_here = here().addresses.contains(&to.ip());
    let direct = if is_here { Fate::Delivered(to) } else { Fate::Leaves(interface("eth0"), to) };
    let brought = |method, port: Port| match method {
        Method::Redirect => Fate::Delivered(SocketAddr::new(own(family), port.number())),
        Method::Tproxy => Fate::Intercepted(port),
    };
    let excepted = |exception: &Exception| match exception {
        Exception::AtPorts(ports) => ports.contains(port(to)),
        Exception::FromNetwork(network) => network.contains(from.ip()),
        Exception::ByInterface(name) => *name == interface(by),
        Exception::ToPorts(_) | Exception::ToNetwork(_) | Exception::SentBy(_) => false,
    };
    if !intent.families().all().contains(&family) || intent.exceptions().iter().any(excepted) {
        return direct;
    }
    if intent.virtual_interfaces().contains(&interface(by)) {
        return brought(intent.outbound_method(), intent.ports().outbound);
    }
    if intent.inbound() == Inbound::Bypassed {
        return direct;
    }
    let is_tunnel = match intent.hbone() {
        HboneSign::Port => false,
        HboneSign::Dscp(dscp) => packet.dscp == Some(dscp),
        HboneSign::Mark(mark) => mark.is_on(packet.mark),
    };
    let has_port_of_tunnels = port(to) == intent.ports().inbound_hbone;
    if is_tunnel && !has_port_of_tunnels {
        return brought(intent.inbound_method(), intent.ports().inbound_hbone);
    }
    let only = |inclusion: &Inclusion| match inclusion {
        Inclusion::AtPorts(ports) => Some(ports.contains(port(to))),
        _ => None,
    };
    let included: Vec<bool> = intent.inclusions().iter().filter_map(only).collect();
    if !included.is_empty() && !included.contains(&true) {
        return direct;
    }
    let is_probe = intent.probe_addresses().is_some_and(|probes| probes.of(family) == from.ip());
    match intent.guard() {
        _ if is_here && (is_probe || has_port_of_tunnels) => direct,
        Guard::Off if is_probe || has_port_of_tunnels => direct,
        Guard::On if is_probe || has_port_of_tunnels => Fate::Reset,
        _ => brought(intent.inbound_method(), intent.ports().inbound_plaintext),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_opened_from_here_goes_where_it_should((intent, packet) in openings(Opener::Here)) {
        let plan = Plan::new(&intent);
        let explained = explain(&plan, &here(), &Origin::Here, packet.clone());
        prop_assert_eq!(&explained.fate, &outbound(&intent, &packet), "{:#?}", explained.met);
    }

    #[test]
    fn what_is_opened_to_here_goes_where_it_should(
        (intent, packet) in openings(Opener::Peer),
        by in select(vec!["eth0", "tap0", "tap1"]),
    ) {
        let packet = Packet { owner: None, ..packet };
        let plan = Plan::new(&intent);
        let explained = explain(&plan, &here(), &Origin::Interface(interface(by)), packet.clone());
        prop_assert_eq!(&explained.fate, &inbound(&intent, &packet, by), "{:#?}", explained.met);
    }

    /// Whatever conntrack knows or has forgotten: TCP leaves only for a reason with a name.
    #[test]
    fn nothing_else_leaves(
        (intent, packet) in openings(Opener::Here),
        flags in select(vec![None, Some(TcpFlags::Acknowledges), Some(TcpFlags::Opens)]),
        new: bool,
        reply: bool,
        mark in select(vec![0, 1, 2]),
        transparent: bool,
    ) {
        let intent = intent.with_guard(Guard::On);
        let marks = intent.marks();
        let mark = [0, marks.proxy().value(), marks.connection().value()][mark];
        let connection = Tracked { new, reply, translated: false, mark };
        let socket = Some(LocalSocket { mark: packet.mark, transparent });
        let packet = Packet { flags, connection, socket, ..packet };
        let family = Family::of(packet.destination.ip());
        let ports = intent.ports();
        let from_port_of_proxy =
            [ports.outbound, ports.inbound_plaintext, ports.inbound_hbone].contains(&port(packet.source));
        let answers = intent.exceptions().iter().any(|exception| match exception {
            Exception::AtPorts(ports) => ports.contains(port(packet.source)),
            Exception::FromNetwork(network) => network.contains(packet.destination.ip()),
            _ => false,
        });
        let reasons = [
            !intent.families().all().contains(&family),
            is_excepted(&intent, &packet, true),
            is_from_proxy(&intent, &packet),
            is_let_past(&intent, &packet),
            mark == marks.proxy().value(),
            reply && (from_port_of_proxy || answers || intent.inbound() == Inbound::Bypassed),
            transparent && (intent.inbound_method() == Method::Tproxy || intent.outbound_method() == Method::Tproxy),
        ];
        let plan = Plan::new(&intent);
        let explained = explain(&plan, &here(), &Origin::Here, packet);
        let leaves = matches!(explained.fate, Fate::Leaves(..));
        prop_assert!(!leaves || reasons.contains(&true), "{:#?}", explained);
    }
}
