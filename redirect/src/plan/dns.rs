//! DNS: what becomes of queries to port 53, when they are to be captured.

use crate::family::Family;
use crate::intent::{DnsCapture, Intent};
use crate::interface::InterfaceName;
use crate::port::Port;
use crate::rule::{Action, Match, Protocol, Rule, Test};

use super::{captured_families, not_from_proxy, not_to_loopback};

/// The port of DNS (RFC 1035, section 4.2).
const DNS: Port = Port::literal(53);

/// The conntrack zone of the proxy's own queries, as in Istio. A captured query and the proxy's may have the same
/// source port and resolver; in one zone, conntrack would take them for one flow and change a port (istio#33469).
const ZONE: u16 = 1;

/// Queries to a resolver beyond loopback go to the DNS proxy. TCP, as in Istio, is excepted for 127.0.0.1 and ::1
/// only, so a stub resolver such as 127.0.0.53 is captured over TCP and not over UDP.
pub(super) fn capture(intent: &Intent) -> Vec<Rule> {
    let DnsCapture::To(port) = intent.dns() else { return Vec::new() };
    let udp = [
        Match::Outgoing(Test::IsNot(InterfaceName::loopback())),
        Match::Protocol(Protocol::Udp),
        Match::DestinationPort(Test::Is(DNS.into())),
        not_from_proxy(intent),
    ];
    let tcp = |&family: &Family| {
        let matches = [
            not_to_loopback(family),
            Match::Protocol(Protocol::Tcp),
            Match::DestinationPort(Test::Is(DNS.into())),
            not_from_proxy(intent),
        ];
        let why = "DNS queries over TCP go to the DNS proxy, except its own and those to loopback";
        Rule::new(matches, Action::Redirect(port), why)
    };
    let why = "DNS queries over UDP go to the DNS proxy, except its own and those to a local resolver";
    let mut rules =
        vec![Rule::new(udp.into_iter().chain(captured_families(intent)), Action::Redirect(port), why)];
    rules.extend(intent.families().all().iter().map(tcp));
    rules
}

/// The proxy's own queries are tracked in a zone of their own.
pub(super) fn zone_of_queries(intent: &Intent) -> Vec<Rule> {
    zone(
        intent,
        [Match::DestinationPort(Test::Is(DNS.into())), Match::PacketMark(Test::Is(intent.marks().proxy()))],
        "the proxy's own DNS queries are tracked apart, so that a captured one never changes their port",
    )
}

/// The answers to them are tracked in the same zone.
pub(super) fn zone_of_answers(intent: &Intent) -> Vec<Rule> {
    zone(
        intent,
        [Match::SourcePort(Test::Is(DNS.into())), not_from_proxy(intent)],
        "answers to the proxy's own DNS queries are tracked where the queries are",
    )
}

fn zone(intent: &Intent, matches: [Match; 2], why: &'static str) -> Vec<Rule> {
    match intent.dns() {
        DnsCapture::Off => Vec::new(),
        DnsCapture::To(_) => {
            let matches =
                matches.into_iter().chain([Match::Protocol(Protocol::Udp)]).chain(captured_families(intent));
            vec![Rule::new(matches, Action::SetZone(ZONE), why)]
        }
    }
}
