//! Outbound: what becomes of connections that the pod makes.

use crate::family::Family;
use crate::intent::Intent;
use crate::interface::InterfaceName;
use crate::rule::{Action, Match, Protocol, Rule, Test};

use super::{captured_families, dns, exceptions, not_from_proxy, not_to_loopback};

/// In order: exceptions, answers to probes, DNS, replies on their way to the proxy, the pod's talk with itself, everything
/// else.
pub(super) fn rules(intent: &Intent) -> Vec<Rule> {
    let families = intent.families().all();
    let mut rules = exceptions::sent(intent);
    rules.extend(families.iter().map(|&family| probe(intent, family)));
    rules.extend(dns::capture(intent));
    rules.push(replies(intent));
    rules.extend(families.iter().map(|&family| own_address(family)));
    rules.extend(families.iter().map(|&family| capture(intent, family)));
    rules
}

fn probe(intent: &Intent, family: Family) -> Rule {
    Rule::new(
        [
            Match::Protocol(Protocol::Tcp),
            Match::Destination(Test::Is(intent.probe_addresses().of(family).into())),
        ],
        Action::Accept,
        "what goes to the address of the health probes is an answer to them",
    )
}

fn replies(intent: &Intent) -> Rule {
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

fn capture(intent: &Intent, family: Family) -> Rule {
    Rule::new(
        [not_to_loopback(family), Match::Protocol(Protocol::Tcp), not_from_proxy(intent)],
        Action::Redirect(intent.ports().outbound),
        "outbound TCP goes to the proxy, except what it sends itself and loopback",
    )
}
