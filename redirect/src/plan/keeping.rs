//! Keeping: a plan that leaves some connections alone, those that were there before it.
//!
//! Which they are is in two sets, one a family, each connection in both directions. Packets of a kept connection go past capture
//! and past the guard, but for one that opens a connection: when the same two ends meet anew, that is another one. A reset need
//! not acknowledge anything (RFC 9293, section 3.5.2), so it is named.

use crate::chain::{Chain, ChainKind};
use crate::connection::Connection;
use crate::elements::{Element, Elements};
use crate::family::Family;
use crate::rule::{Action, Match, Rule};
use crate::set::{Set, SetKind};
use crate::tcp_flags::TcpFlags;

use super::Plan;

impl Plan {
    /// This plan, with room for connections that it leaves alone.
    pub(crate) fn keeping(&self) -> Self {
        let sets: Vec<Set> =
            Family::ALL.into_iter().filter(|family| self.captures(*family)).filter_map(kept).collect();
        let chains = self.with_first(|chain| sets.iter().flat_map(|set| past(chain, set)).collect());
        Self { chains, sets: [self.sets.clone(), sets].concat(), ..self.clone() }
    }

    /// The sets in which kept connections are.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Set> {
        self.sets.iter().filter(|set| is_kept(set.name()))
    }

    /// What is in these sets when these connections are kept.
    pub(crate) fn elements_for(&self, connections: impl IntoIterator<Item = Connection>) -> Elements {
        let mut elements = Elements::new();
        for connection in connections {
            for set in self.kept() {
                for direction in [connection, connection.reversed()] {
                    // One of the other family is for the other set.
                    let _ = elements.insert(set, Element::Connection(direction));
                }
            }
        }
        elements
    }
}

/// Whether a set is for kept connections.
pub(crate) fn is_kept(name: &str) -> bool {
    Family::ALL.into_iter().any(|family| name_of(family) == name)
}

fn kept(family: Family) -> Option<Set> {
    Set::new(name_of(family), SetKind::Connections(family))
}

const fn name_of(family: Family) -> &'static str {
    match family {
        Family::V4 => "kept4",
        Family::V6 => "kept6",
    }
}

fn past(chain: &Chain, set: &Set) -> Vec<Rule> {
    let rule = |flags| {
        let why = "kept: this connection was there before capture";
        Rule::new([Match::ConnectionIn(set.clone()), Match::TcpFlags(flags)], Action::Accept, why)
    };
    match chain.attachment.kind {
        // A connection whose first packet known is a reset is none to conntrack.
        ChainKind::Nat => vec![rule(TcpFlags::Acknowledges)],
        ChainKind::Filter | ChainKind::Route => vec![rule(TcpFlags::Acknowledges), rule(TcpFlags::Resets)],
    }
}
