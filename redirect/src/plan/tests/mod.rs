//! The plan against what capture means, chain by chain: a slow walk over the neutral rules stands in for a kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::select;

use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::tcp_flags::TcpFlags;
use crate::{
    DnsCapture, Exception, Families, Family, Guard, Inbound, Intent, InterfaceName, Method, Plan, Port, Ports,
};

mod fates;
pub(crate) mod intents;
mod stages;

use intents::{all_intents, intents, interface};

/// A packet, as far as rules look at it.
#[derive(Clone, Debug)]
struct Packet {
    incoming: Option<InterfaceName>,
    outgoing: Option<InterfaceName>,
    protocol: Protocol,
    source: IpAddr,
    destination: IpAddr,
    source_port: Port,
    destination_port: Port,
    mark: u32,
    connection_mark: u32,
    reply: bool,
    flags: Option<TcpFlags>,
    socket_mark: Option<u32>,
}

impl Packet {
    fn meets(&self, condition: &Match) -> bool {
        match condition {
            Match::Family(family) => Family::of(self.destination) == *family,
            Match::Incoming(test) => holds(test, |name| self.incoming.as_ref() == Some(name)),
            Match::Outgoing(test) => holds(test, |name| self.outgoing.as_ref() == Some(name)),
            Match::Protocol(protocol) => self.protocol == *protocol,
            Match::Source(test) => holds(test, |network| network.contains(self.source)),
            Match::Destination(test) => holds(test, |network| network.contains(self.destination)),
            Match::SourcePort(test) => holds(test, |ports| ports.contains(self.source_port)),
            Match::DestinationPort(test) => holds(test, |ports| ports.contains(self.destination_port)),
            Match::PacketMark(test) => holds(test, |mark| mark.is_on(self.mark)),
            Match::ConnectionMark(test) => holds(test, |mark| mark.is_on(self.connection_mark)),
            Match::Reply => self.reply,
            // No plan that is whole asks.
            Match::Established | Match::Translated => false,
            Match::TcpFlags(flags) => self.flags == Some(*flags),
            Match::SocketMark(test) => {
                holds(test, |mark| self.socket_mark.is_some_and(|bits| mark.is_on(bits)))
            }
            // No packet of these scenes is owned by anybody, or has a class.
            Match::User(_) | Match::Group(_) | Match::Cgroup(_) | Match::Transparent | Match::Dscp(..) => {
                false
            }
            // Nothing is in any set.
            Match::SourceIn(_) | Match::DestinationIn(_) | Match::ConnectionIn(_) => false,
        }
    }

    /// Whether a socket of the proxy is known to be about to receive it.
    fn is_for_proxy(&self, intent: &Intent) -> bool {
        intent.guard() == Guard::On
            && self.flags == Some(TcpFlags::Acknowledges)
            && self.socket_mark.is_some_and(|bits| intent.marks().proxy().is_on(bits))
    }

    /// Whether the intent leaves it alone, as something that the application sends.
    fn is_sent_by_exception(&self, intent: &Intent) -> bool {
        let is = |exception: &Exception| match exception {
            Exception::ToPorts(ports) => ports.contains(self.destination_port),
            Exception::ToNetwork(network) => network.contains(self.destination),
            Exception::ByInterface(name) => self.outgoing.as_ref() == Some(name),
            Exception::AtPorts(_) | Exception::FromNetwork(_) | Exception::SentBy(_) => false,
        };
        intent.exceptions().iter().any(is)
    }

    /// The same, as an answer to something that came for it.
    fn is_answer_by_exception(&self, intent: &Intent) -> bool {
        let is = |exception: &Exception| match exception {
            Exception::AtPorts(ports) => ports.contains(self.source_port),
            Exception::FromNetwork(network) => network.contains(self.destination),
            _ => false,
        };
        self.reply && intent.exceptions().iter().any(is)
    }

    /// The same, as something that comes for it.
    fn is_received_by_exception(&self, intent: &Intent) -> bool {
        let is = |exception: &Exception| match exception {
            Exception::AtPorts(ports) => ports.contains(self.destination_port),
            Exception::FromNetwork(network) => network.contains(self.source),
            Exception::ByInterface(name) => self.incoming.as_ref() == Some(name),
            Exception::ToPorts(_) | Exception::ToNetwork(_) | Exception::SentBy(_) => false,
        };
        intent.exceptions().iter().any(is)
    }

    /// What a chain of the plan does with it.
    fn walks(&self, plan: &Plan, chain: &str) -> Option<Action> {
        let rules = plan.chains().iter().filter(|found| found.name == chain).flat_map(|chain| &chain.rules);
        let mut met = rules.filter(|rule| rule.matches().iter().all(|condition| self.meets(condition)));
        met.find(|rule| rule.action() != Action::SetTimeouts).map(Rule::action)
    }
}

fn holds<T>(test: &Test<T>, is: impl Fn(&T) -> bool) -> bool {
    match test {
        Test::Is(value) => is(value),
        Test::IsNot(value) => !is(value),
    }
}

/// An intent and a packet that is likely to touch what the intent names.
fn scenes() -> impl Strategy<Value = (Intent, Packet)> {
    intents().prop_flat_map(|intent| {
        let probes = intent.probe_addresses().unwrap();
        let addresses = move |family: Family| {
            let others: [IpAddr; 2] = match family {
                Family::V4 => [Ipv4Addr::new(10, 1, 2, 3).into(), Ipv4Addr::new(127, 0, 0, 2).into()],
                Family::V6 => {
                    [Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 9).into(), Ipv6Addr::UNSPECIFIED.into()]
                }
            };
            select(vec![family.loopback(), probes.of(family), others[0], others[1]])
        };
        let Ports { outbound, inbound_plaintext, inbound_hbone } = intent.ports();
        let ports = select(vec![
            outbound,
            inbound_plaintext,
            inbound_hbone,
            Port::new(53).unwrap(),
            Port::new(80).unwrap(),
        ]);
        let names = select(vec!["lo", "eth0", "tap0", "tap1"]).prop_map(interface);
        let marks = || {
            let marks = intent.marks();
            prop_oneof![Just(0), Just(marks.proxy().value()), Just(marks.connection().value()), any::<u32>()]
        };
        let socket_marks = prop_oneof![Just(None), marks().prop_map(Some)];
        let flags =
            select(vec![None, Some(TcpFlags::Opens), Some(TcpFlags::Acknowledges), Some(TcpFlags::Resets)]);
        let packet = (
            (names.clone(), names, select(vec![Protocol::Tcp, Protocol::Udp])),
            select(vec![Family::V4, Family::V6])
                .prop_flat_map(move |family| (addresses(family), addresses(family))),
            (ports.clone(), ports),
            (marks(), marks(), socket_marks),
            (any::<bool>(), flags),
        );
        let packet =
            packet.prop_map(|((incoming, outgoing, protocol), addresses, ports, marks, (reply, flags))| {
                Packet {
                    incoming: Some(incoming),
                    outgoing: Some(outgoing),
                    protocol,
                    source: addresses.0,
                    destination: addresses.1,
                    source_port: ports.0,
                    destination_port: ports.1,
                    mark: marks.0,
                    connection_mark: marks.1,
                    reply,
                    flags,
                    socket_mark: marks.2,
                }
            });
        (Just(intent.clone()), packet)
    })
}

fn proxy_ports(intent: &Intent) -> [Port; 3] {
    let Ports { outbound, inbound_plaintext, inbound_hbone } = intent.ports();
    [outbound, inbound_plaintext, inbound_hbone]
}

fn is_redirect(action: Option<Action>) -> bool {
    matches!(action, Some(Action::Redirect(_)))
}

proptest! {
    #[test]
    fn no_packet_of_the_proxy_is_redirected((intent, packet) in scenes()) {
        let plan = Plan::new(&intent);
        let packet = Packet { mark: packet.mark & !intent.marks().proxy().mask() | intent.marks().proxy().value(), ..packet };
        for chain in plan.chains() {
            prop_assert!(!is_redirect(packet.walks(&plan, &chain.name)), "{}", chain.name);
        }
    }

    #[test]
    fn every_redirect_excepts_the_proxy(intent in intents()) {
        let proxy = Match::PacketMark(Test::IsNot(intent.marks().proxy()));
        let plan = Plan::new(&intent);
        for rule in plan.chains().iter().flat_map(|chain| &chain.rules) {
            prop_assert!(!is_redirect(Some(rule.action())) || rule.matches().contains(&proxy), "{}", rule);
        }
    }

    #[test]
    fn tcp_leaves_only_captured_or_by_a_named_exception((intent, packet) in scenes()) {
        let Packet { protocol, destination, mark, .. } = packet;
        let packet = Packet { outgoing: Some(interface("eth0")), incoming: None, ..packet };
        let to = Family::of(destination);
        let exceptions = [
            protocol != Protocol::Tcp,
            !intent.families().all().contains(&to),
            destination == to.loopback(),
            destination == intent.probe_addresses().unwrap().of(to),
            intent.marks().proxy().is_on(mark),
            packet.is_sent_by_exception(&intent),
        ];
        if exceptions.contains(&true) {
            return Ok(());
        }
        let is_dns = packet.destination_port.number() == 53;
        let expected = match intent.dns() {
            DnsCapture::To(port) if is_dns => Action::Redirect(port),
            _ if intent.marks().connection().is_on(mark) => Action::Accept,
            _ => Action::Redirect(intent.ports().outbound),
        };
        prop_assert_eq!(packet.walks(&Plan::new(&intent), "nat-output"), Some(expected));
    }

    #[test]
    fn tcp_comes_in_only_captured_or_by_a_named_exception((intent, packet) in scenes()) {
        let Packet { protocol, source, destination, mark, destination_port, .. } = packet;
        let packet = Packet { outgoing: None, ..packet };
        let from = Family::of(source);
        let is_virtual = packet.incoming.as_ref().is_some_and(|name| intent.virtual_interfaces().contains(name));
        let captured = protocol == Protocol::Tcp
            && intent.families().all().contains(&from)
            && !intent.marks().proxy().is_on(mark)
            && !packet.is_for_proxy(&intent)
            && !packet.is_received_by_exception(&intent);
        let to_application = intent.inbound() == Inbound::Captured
            && source != intent.probe_addresses().unwrap().of(from)
            && destination != from.loopback()
            && destination_port != intent.ports().inbound_hbone;
        let walked = packet.walks(&Plan::new(&intent), "nat-prerouting");
        if captured && is_virtual {
            prop_assert_eq!(walked, Some(Action::Redirect(intent.ports().outbound)));
        } else if captured && to_application {
            prop_assert_eq!(walked, Some(Action::Redirect(intent.ports().inbound_plaintext)));
        } else {
            prop_assert!(!is_redirect(walked), "{:?}", walked);
        }
    }

    /// Whatever conntrack has forgotten and whoever has let it pass before: the last chains that a packet meets let out
    /// only what is excepted by name.
    #[test]
    fn nothing_leaves_past_the_guard((intent, packet) in scenes()) {
        let intent = intent.with_guard(Guard::On);
        let packet = Packet { outgoing: Some(interface("eth0")), incoming: None, ..packet };
        let to = Family::of(packet.destination);
        let probe = intent.probe_addresses().unwrap().of(to);
        let let_out = [
            packet.protocol != Protocol::Tcp,
            !intent.families().all().contains(&to),
            packet.destination == to.loopback(),
            packet.destination == probe,
            intent.marks().proxy().is_on(packet.mark),
            intent.marks().connection().is_on(packet.mark),
            packet.flags == Some(TcpFlags::Resets),
            packet.reply && intent.inbound() == Inbound::Bypassed,
            packet.is_sent_by_exception(&intent),
            packet.is_answer_by_exception(&intent),
            packet.reply && proxy_ports(&intent).contains(&packet.source_port),
        ];
        let plan = Plan::new(&intent);
        let walked = packet.walks(&plan, "guard-output");
        prop_assert_eq!(walked == Some(Action::Reset), !let_out.contains(&true), "{:?}", walked);
        // What is let out as a reply to the proxy is dropped if routing sends it elsewhere.
        let astray = packet.protocol == Protocol::Tcp
            && intent.families().all().contains(&to)
            && intent.marks().connection().is_on(packet.mark);
        prop_assert_eq!(packet.walks(&plan, "guard-postrouting") == Some(Action::Drop), astray);
    }

    #[test]
    fn nothing_arrives_past_the_guard((intent, packet) in scenes()) {
        let intent = intent.with_guard(Guard::On).with_inbound(Inbound::Captured).unwrap();
        let packet = Packet { outgoing: None, incoming: Some(interface("eth0")), ..packet };
        let from = Family::of(packet.source);
        let let_in = [
            packet.protocol != Protocol::Tcp,
            !intent.families().all().contains(&from),
            proxy_ports(&intent).contains(&packet.destination_port),
            packet.reply,
            packet.socket_mark.is_some_and(|bits| intent.marks().proxy().is_on(bits)),
            packet.source == intent.probe_addresses().unwrap().of(from),
            packet.is_received_by_exception(&intent),
        ];
        let plan = Plan::new(&intent);
        let walked = packet.walks(&plan, "guard-input");
        prop_assert_eq!(walked == Some(Action::Reset), !let_in.contains(&true), "{:?}", walked);
        let passes = [
            packet.protocol != Protocol::Tcp,
            !intent.families().all().contains(&from),
            packet.is_received_by_exception(&intent),
            packet.reply && !intent.exceptions().is_empty(),
        ];
        let refused = packet.walks(&plan, "guard-forward") == Some(Action::Reset);
        prop_assert!(refused || passes.contains(&true));
        prop_assert!(!refused || !passes[..3].contains(&true));
    }

    #[test]
    fn the_marks_of_a_reply_are_set_and_nothing_else_is_marked((intent, packet) in scenes()) {
        let plan = Plan::new(&intent);
        let captured = intent.families().all().contains(&Family::of(packet.destination));
        let connection = intent.marks().connection();
        let by_loopback = intent.inbound_method() == Method::Tproxy && intent.guard() == Guard::On;
        let tagged = captured
            && (!by_loopback || packet.incoming == Some(InterfaceName::loopback()))
            && intent.marks().proxy().is_on(packet.mark);
        let steered = captured && connection.is_on(packet.connection_mark);
        prop_assert_eq!(
            packet.walks(&plan, "mangle-prerouting"),
            tagged.then_some(Action::SetConnectionMark(connection))
        );
        prop_assert_eq!(packet.walks(&plan, "mangle-output"), steered.then_some(Action::SetPacketMark(connection)));
        for rule in plan.policy_rules() {
            prop_assert!(rule.mark == connection && plan.routes().iter().any(|route| route.table == rule.table));
        }
    }

    #[test]
    fn a_plan_for_ipv4_has_nothing_that_an_ipv6_packet_meets((intent, packet) in scenes()) {
        let plan = Plan::new(&intent.with_families(Families::V4));
        if Family::of(packet.destination) == Family::V6 {
            for chain in plan.chains() {
                prop_assert_eq!(packet.walks(&plan, &chain.name), None);
            }
        }
        prop_assert!(plan.routes().iter().all(|route| route.family == Family::V4));
        prop_assert!(plan.policy_rules().iter().all(|rule| rule.family == Family::V4));
    }

    #[test]
    fn every_reason_fits_into_a_comment(intent in all_intents()) {
        for rule in Plan::new(&intent).chains().iter().flat_map(|chain| &chain.rules) {
            let why = rule.why();
            prop_assert!((1..=crate::rule::MAX_WHY).contains(&why.len()), "{}", why);
            prop_assert!(why.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"'), "{}", why);
        }
    }
}
