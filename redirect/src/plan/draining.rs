//! Draining: what stays of a plan while captured connections go on to their end, and new ones are left alone.
//!
//! Where a connection goes is decided on its first packet, and conntrack knows it from then on. So what decides can go. What
//! stays is what each packet of a captured connection needs: the chains of translation themselves, empty, since the kernel
//! translates nothing where it has none; the marks by which replies find the proxy, and their routing; and the zone of the
//! proxy's own queries. Nothing that stays ends the way of a packet, but for a reply that would leave the pod.
//!
//! What is captured packet by packet ([`Method::Tproxy`](crate::Method::Tproxy), of what is sent) stays so for just the connections in
//! two sets, one a family, as the application's packets show them.

use crate::chain::{Chain, ChainKind, Hook};
use crate::connection::Connection;
use crate::elements::{Element, Elements};
use crate::family::Family;
use crate::rule::{Action, Match, Rule};
use crate::set::{Set, SetKind};

use super::Plan;
use super::capturing::diverts;

impl Plan {
    /// The plan that stays while what this one has captured goes on.
    pub(crate) fn draining(&self) -> Self {
        let sets: Vec<Set> = match self.diverts() {
            true => {
                Family::ALL.into_iter().filter(|family| self.captures(*family)).filter_map(captured).collect()
            }
            false => Vec::new(),
        };
        let chains = self.chains.iter().filter_map(|chain| {
            let rules = chain.rules.iter().flat_map(|rule| of(chain, rule, &sets)).collect();
            let chain = Chain { rules, ..chain.clone() };
            (chain.attachment.kind == ChainKind::Nat || !chain.rules.is_empty()).then_some(chain)
        });
        Self { chains: chains.collect(), sets, ..self.clone() }
    }

    /// What is in a draining plan's sets when these connections go on, as packets of the application show them.
    pub(crate) fn going_on(&self, connections: impl IntoIterator<Item = Connection>) -> Elements {
        let mut elements = Elements::new();
        for connection in connections {
            for set in &self.sets {
                // One of the other family is for the other set.
                let _ = elements.insert(set, Element::Connection(connection));
            }
        }
        elements
    }
}

fn captured(family: Family) -> Option<Set> {
    let name = match family {
        Family::V4 => "captured4",
        Family::V6 => "captured6",
    };
    Set::new(name, SetKind::Connections(family))
}

/// What stays of a rule.
fn of(chain: &Chain, rule: &Rule, sets: &[Set]) -> Vec<Rule> {
    if diverts(chain, rule) {
        let its = sets.iter().filter(|set| rule.family().is_none_or(|family| family == set.family()));
        let only = |set: &Set| {
            let matches = rule.matches().iter().cloned().chain([Match::ConnectionIn(set.clone())]);
            let why = "this connection was captured, and goes on to its end";
            Rule::new(matches, rule.action(), why)
        };
        return its.map(only).collect();
    }
    if stays(chain, rule) { vec![rule.clone()] } else { Vec::new() }
}

fn stays(chain: &Chain, rule: &Rule) -> bool {
    match rule.action() {
        Action::SetPacketMark(_)
        | Action::SetConnectionMark(_)
        | Action::SetZone(_)
        // Without it the timeouts would go, and be taken from the connections that have them.
        | Action::SetTimeouts => true,
        // A reply that has lost its way.
        Action::Drop => chain.attachment.hook == Hook::Postrouting,
        Action::Accept
        | Action::Reset
        | Action::Redirect(_)
        | Action::Intercept(..)
        | Action::SourceNat(_) => false,
    }
}
