//! Outbound: what becomes of connections that the pod makes.
//!
//! A packet that is sent from here is not given to a socket here at once. With [`Method::Tproxy`] it takes the mark of replies
//! ([`replies`](super::replies)), is routed back by loopback, and is given to the proxy's socket on its way in:
//!
//! ```text
//!   application sends  --->  mangle-output: not excepted, so the PACKET takes mark C
//!                            policy rule and route: everything with mark C is local, by lo
//!                     --lo-> mangle-prerouting: mark C by lo, so the proxy's socket takes it
//! ```

use crate::family::Family;
use crate::intent::{DnsCapture, Intent, Method};
use crate::interface::InterfaceName;
use crate::rule::{Action, Match, Protocol, Rule, Test};

use super::{
    captured_families, dns, exceptions, not_from_proxy, not_to_loopback, past, replies, sidecar, tcp,
    to_proxy,
};

/// What is decided by address translation, on the first packet of a connection. In order: exceptions, answers to probes, a
/// proxy in the pod that speaks to it, what is let past, DNS, replies on their way to the proxy, the pod's talk with
/// itself, everything else.
pub(super) fn redirect(intent: &Intent) -> Vec<Rule> {
    let mut captured = sidecar::by_loopback(intent);
    let is_redirected = intent.outbound_method() == Method::Redirect;
    if is_redirected || intent.dns() != DnsCapture::Off {
        captured.extend(past::pass_out(intent));
    }
    captured.extend(dns::capture(intent));
    if is_redirected {
        captured.extend(everything(intent));
    }
    if captured.is_empty() {
        return captured;
    }
    let mut rules = exceptions::sent(intent);
    rules.extend(intent.families().all().iter().filter_map(|&family| probe(intent, family)));
    rules.extend(captured);
    rules
}

fn everything(intent: &Intent) -> Vec<Rule> {
    let families = intent.families().all();
    let mut rules = Vec::new();
    if replies::are_routed(intent) {
        rules.push(reply(intent));
    }
    rules.extend(families.iter().map(|&family| own_address(family)));
    for &family in families {
        let why = "outbound TCP goes to the proxy, except what it sends itself and loopback";
        let to = Action::Redirect(intent.ports().outbound);
        rules.push(Rule::new(from_application(intent, family), to, why));
    }
    rules
}

/// What is routed back, so that it can be given to the proxy's socket, on each packet. In the same order.
pub(super) fn divert(intent: &Intent) -> Vec<Rule> {
    if intent.outbound_method() == Method::Redirect {
        return Vec::new();
    }
    let mut rules = exceptions::sent(intent);
    rules.extend(intent.families().all().iter().filter_map(|&family| probe(intent, family)));
    rules.extend(past::pass_out(intent));
    rules.extend(dns::is_taken(intent));
    let why = "an answer to who has come in";
    rules.push(tcp(intent, [Match::Reply], Action::Accept, why));
    let why = "what the pod sends to itself never leaves it";
    rules.push(tcp(intent, [Match::Outgoing(Test::Is(InterfaceName::loopback()))], Action::Accept, why));
    for &family in intent.families().all() {
        let why = "outbound TCP is routed to the proxy, except what it sends itself and loopback";
        let back = Action::SetPacketMark(intent.marks().connection());
        rules.push(Rule::new(from_application(intent, family), back, why));
    }
    rules
}

/// What was routed back is given to the proxy.
pub(super) fn diverted(intent: &Intent) -> Vec<Rule> {
    if intent.outbound_method() == Method::Redirect {
        return Vec::new();
    }
    let mut matches = vec![
        Match::Incoming(Test::Is(InterfaceName::loopback())),
        Match::Protocol(Protocol::Tcp),
        Match::PacketMark(Test::Is(intent.marks().connection())),
        // Replies come this way, too.
        Match::ConnectionMark(Test::IsNot(intent.marks().connection())),
    ];
    matches.extend(captured_families(intent));
    let why = "outbound TCP that was routed back here goes to the proxy";
    to_proxy(intent, Method::Tproxy, &matches, intent.ports().outbound, why)
}

/// What comes in by some interfaces counts as sent from here.
pub(super) fn of_virtual_machines(intent: &Intent) -> Vec<Rule> {
    let rule = |interface: &InterfaceName| {
        let mut matches = behind(interface);
        matches.extend(not_from_proxy(intent));
        matches.extend(captured_families(intent));
        let why = "behind this interface is a virtual machine: what comes in by it is what the pod sends";
        to_proxy(intent, intent.outbound_method(), &matches, intent.ports().outbound, why)
    };
    intent.virtual_interfaces().iter().flat_map(rule).collect()
}

/// The same is not captured as what comes in, since another chain captures it.
pub(super) fn of_virtual_machines_is_taken(intent: &Intent) -> Vec<Rule> {
    let rule = |interface: &InterfaceName| {
        let matches = behind(interface).into_iter().chain(captured_families(intent));
        Rule::new(
            matches,
            Action::Accept,
            "behind this interface is a virtual machine: another chain has this",
        )
    };
    intent.virtual_interfaces().iter().map(rule).collect()
}

fn behind(interface: &InterfaceName) -> Vec<Match> {
    vec![Match::Incoming(Test::Is(interface.clone())), Match::Protocol(Protocol::Tcp)]
}

fn from_application(intent: &Intent, family: Family) -> Vec<Match> {
    let mut matches = vec![not_to_loopback(family), Match::Protocol(Protocol::Tcp)];
    matches.extend(not_from_proxy(intent));
    matches
}

fn probe(intent: &Intent, family: Family) -> Option<Rule> {
    let to = Match::Destination(Test::Is(intent.probe_addresses()?.of(family).into()));
    let why = "what goes to the address of the health probes is an answer to them";
    Some(Rule::new([Match::Protocol(Protocol::Tcp), to], Action::Accept, why))
}

fn reply(intent: &Intent) -> Rule {
    let matches = [Match::Protocol(Protocol::Tcp), Match::PacketMark(Test::Is(intent.marks().connection()))];
    Rule::new(
        matches.into_iter().chain(captured_families(intent)),
        Action::Accept,
        "replies on connections that the proxy opened are on their way to it already",
    )
}

fn own_address(family: Family) -> Rule {
    Rule::new(
        [Match::Outgoing(Test::Is(InterfaceName::loopback())), not_to_loopback(family)],
        Action::Accept,
        "the pod speaks to its own address: this never leaves it",
    )
}
