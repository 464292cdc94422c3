//! DNS: what becomes of queries to port 53, when they are to be captured.

use crate::family::Family;
use crate::intent::{DnsCapture, Intent, ProxyIdentity};
use crate::interface::InterfaceName;
use crate::port::Port;
use crate::rule::{Action, Match, Protocol, Rule, Test};

use super::{captured_families, not_from_proxy, not_to_loopback, tcp};

/// The port of DNS (RFC 1035, section 4.2).
pub(super) const PORT: Port = Port::literal(53);

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
        Match::DestinationPort(Test::Is(PORT.into())),
    ];
    let tcp = |&family: &Family| {
        let matches = [
            not_to_loopback(family),
            Match::Protocol(Protocol::Tcp),
            Match::DestinationPort(Test::Is(PORT.into())),
        ];
        let why = "DNS queries over TCP go to the DNS proxy, except its own and those to loopback";
        Rule::new(matches.into_iter().chain(not_from_proxy(intent)), Action::Redirect(port), why)
    };
    let why = "DNS queries over UDP go to the DNS proxy, except its own and those to a local resolver";
    let udp = udp.into_iter().chain(not_from_proxy(intent)).chain(captured_families(intent));
    let mut rules = vec![Rule::new(udp, Action::Redirect(port), why)];
    rules.extend(intent.families().all().iter().map(tcp));
    rules
}

/// What [`capture`] has of TCP is not captured elsewhere.
pub(super) fn is_taken(intent: &Intent) -> Vec<Rule> {
    match intent.dns() {
        DnsCapture::Off => Vec::new(),
        DnsCapture::To(_) => {
            let query = Match::DestinationPort(Test::Is(PORT.into()));
            vec![tcp(intent, [query], Action::Accept, "DNS queries over TCP: another chain has them")]
        }
    }
}

/// The proxy's own queries are tracked in a zone of their own.
pub(super) fn zone_of_queries(intent: &Intent) -> Vec<Rule> {
    let proxys: Vec<Match> = match intent.proxy() {
        ProxyIdentity::Mark => vec![Match::PacketMark(Test::Is(intent.marks().proxy()))],
        ProxyIdentity::Owners(owners) => owners.iter().map(|owner| owner.is()).collect(),
    };
    let why =
        "the proxy's own DNS queries are tracked apart, so that a captured one never changes their port";
    let zone = |is_proxys| zone(intent, [Match::DestinationPort(Test::Is(PORT.into())), is_proxys], why);
    proxys.into_iter().flat_map(zone).collect()
}

/// The answers to them are tracked in the same zone.
pub(super) fn zone_of_answers(intent: &Intent) -> Vec<Rule> {
    // Those that the proxy itself gives to the application come by loopback.
    let from_afar = match intent.proxy() {
        ProxyIdentity::Mark => Match::PacketMark(Test::IsNot(intent.marks().proxy())),
        ProxyIdentity::Owners(_) => Match::Incoming(Test::IsNot(InterfaceName::loopback())),
    };
    let why = "answers to the proxy's own DNS queries are tracked where the queries are";
    zone(intent, [Match::SourcePort(Test::Is(PORT.into())), from_afar], why)
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
