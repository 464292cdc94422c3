//! Inbound: what becomes of connections that come to the pod.

use crate::family::Family;
use crate::intent::{Inbound, Intent};
use crate::rule::{Action, Match, Protocol, Rule, Test};

use super::{captured_families, exceptions, guard, not_from_proxy, not_to_loopback};

/// In order: what is late, exceptions, traffic of virtual machines, probes, everything else.
pub(super) fn rules(intent: &Intent) -> Vec<Rule> {
    let mut rules = guard::late_for_proxy(intent);
    rules.extend(exceptions::received(intent));
    rules.extend(virtual_machines(intent));
    match intent.inbound() {
        Inbound::Captured => {
            let families = intent.families().all();
            rules.extend(families.iter().map(|&family| probe(intent, family)));
            rules.extend(families.iter().map(|&family| capture(intent, family)));
        }
        Inbound::Bypassed => {}
    }
    rules
}

fn virtual_machines(intent: &Intent) -> Vec<Rule> {
    let outbound = Action::Redirect(intent.ports().outbound);
    let rule = |interface: &crate::InterfaceName| {
        let matches = [
            Match::Incoming(Test::Is(interface.clone())),
            Match::Protocol(Protocol::Tcp),
            not_from_proxy(intent),
        ];
        let why = "behind this interface is a virtual machine: what comes in by it is what the pod sends";
        Rule::new(matches.into_iter().chain(captured_families(intent)), outbound, why)
    };
    intent.virtual_interfaces().iter().map(rule).collect()
}

fn probe(intent: &Intent, family: Family) -> Rule {
    Rule::new(
        [Match::Protocol(Protocol::Tcp), Match::Source(Test::Is(intent.probe_addresses().of(family).into()))],
        Action::Accept,
        "health probes of the node go straight to the application",
    )
}

fn capture(intent: &Intent, family: Family) -> Rule {
    Rule::new(
        [
            not_to_loopback(family),
            Match::Protocol(Protocol::Tcp),
            Match::DestinationPort(Test::IsNot(intent.ports().inbound_hbone.into())),
            not_from_proxy(intent),
        ],
        Action::Redirect(intent.ports().inbound_plaintext),
        "inbound TCP goes to the proxy, except tunnels, which it accepts itself, and what it delivers",
    )
}
