//! Sidecar: what a proxy that is in the pod sends by loopback.

use crate::family::Family;
use crate::intent::Intent;
use crate::interface::InterfaceName;
use crate::rule::{Action, Match, Protocol, Rule, Test};

use super::{not_to_loopback, past};

/// To the application it goes as it is, and to the pod's own address it comes in as anybody's would.
pub(super) fn by_loopback(intent: &Intent) -> Vec<Rule> {
    if past::proxys(intent).is_empty() {
        return Vec::new();
    }
    intent.families().all().iter().flat_map(|&family| of_family(intent, family)).collect()
}

fn of_family(intent: &Intent, family: Family) -> Vec<Rule> {
    let by_loopback =
        || [Match::Protocol(Protocol::Tcp), Match::Outgoing(Test::Is(InterfaceName::loopback()))].into_iter();
    let delivers = Match::Source(Test::Is(family.sidecar_source().into()));
    let why = "what comes from this address is what the proxy delivers to the application";
    let mut rules = vec![Rule::new(by_loopback().chain([delivers]), Action::Accept, why)];
    rules.extend(past::proxys(intent).iter().map(|owner| {
        let matches = [
            not_to_loopback(family),
            Match::DestinationPort(Test::IsNot(intent.ports().inbound_hbone.into())),
            owner.is(),
        ];
        let to = Action::Redirect(intent.ports().inbound_plaintext);
        let why = "the proxy connects to its own pod: this comes in as anybody's connection would";
        Rule::new(by_loopback().chain(matches), to, why)
    }));
    rules
}
