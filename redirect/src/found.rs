//! Found: what is in a namespace, as read back.

use crate::chain::Attachment;
use crate::elements::{Element, Elements};
use crate::family::Family;
use crate::routing::{PolicyRule, Route, Way};
use crate::rule::Rule;
use crate::set::{Set, SetKind};
use crate::tcp_timeouts::{self, Remembers, TcpTimeouts};

/// What is in a namespace where a plan would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) table: Option<FoundTable>,
    /// Whether the kernel could have the timeouts of the plan, if they are not there.
    pub(crate) remembers: Remembers,
    pub(crate) routing: FoundRouting,
}

/// What there is of routing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoundRouting {
    /// The rules that pick one of the plan's routing tables.
    pub(crate) policy_rules: Vec<FoundPolicyRule>,
    /// The routes of these tables.
    pub(crate) routes: Vec<FoundRoute>,
    pub(crate) ipv6: Ipv6,
}

/// Our table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoundTable {
    /// Whether the table is switched off (`NFT_TABLE_F_DORMANT`).
    pub(crate) dormant: bool,
    pub(crate) objects: Vec<FoundObject>,
    pub(crate) sets: Vec<FoundSet>,
    pub(crate) chains: Vec<FoundChain>,
}

/// A named object of our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundObject {
    pub(crate) name: String,
    /// `NFT_OBJECT_*`.
    pub(crate) kind: u32,
    /// What it says, when it says something that a plan could.
    pub(crate) timeouts: Option<TcpTimeouts>,
}

/// A set of our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundSet {
    pub(crate) name: String,
    /// None when it is for something that no plan has in a set; its elements are then not read.
    pub(crate) kind: Option<SetKind>,
    pub(crate) elements: Vec<FoundElement>,
}

/// What is in a set of our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FoundElement {
    /// It is what such a set is for.
    Ours(Element),
    /// It is not.
    Foreign { key: Vec<u8> },
}

impl FoundObject {
    /// Whether it is these timeouts.
    pub(crate) fn is(&self, timeouts: TcpTimeouts) -> bool {
        self.name == tcp_timeouts::NAME && self.timeouts == Some(timeouts)
    }
}

impl FoundTable {
    /// Whether these timeouts are there.
    pub(crate) fn has_timeouts(&self, timeouts: TcpTimeouts) -> bool {
        self.objects.iter().any(|object| object.is(timeouts))
    }

    /// What is in these sets, as far as they are there.
    pub(crate) fn elements(&self, sets: &[Set]) -> Elements {
        let mut elements = Elements::new();
        for set in sets {
            let found = self.sets.iter().find(|found| found.name == set.name());
            for element in found.into_iter().flat_map(|found| &found.elements) {
                if let FoundElement::Ours(element) = element {
                    // One of another kind is in a set of another kind: not in this one.
                    let _ = elements.insert(set, *element);
                }
            }
        }
        elements
    }
}

/// A chain of our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundChain {
    pub(crate) name: String,
    /// None when packets meet it nowhere, or where no plan puts a chain.
    pub(crate) attachment: Option<Attachment>,
    pub(crate) rules: Vec<FoundRule>,
}

/// A rule of one of our chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FoundRule {
    /// It says something that a plan could say.
    Ours(Rule),
    /// It does not.
    Foreign { why: Option<String>, expressions: Vec<String> },
}

/// A rule that picks a routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundPolicyRule {
    Ours(PolicyRule),
    Foreign { priority: u32, table: u32 },
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FoundRoute {
    Ours(Route),
    Foreign { table: u32, prefix: u8 },
}

/// What the namespace's loopback interface is able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loopback {
    pub(crate) index: u32,
    pub(crate) up: bool,
    pub(crate) ipv6: Ipv6,
}

/// Whether IPv6 packets can be delivered by the namespace's loopback interface, as capture delivers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ipv6 {
    /// They can.
    #[default]
    On,
    /// The sysctl `net.ipv6.conf.lo.disable_ipv6` is 1: rules are there, but no route can be. Captured IPv6
    /// connections fail; they do not escape.
    OffOnLoopback,
    /// The kernel has no IPv6, or loopback has none (its MTU is too small): there are no packets to capture.
    Absent,
}

impl Ipv6 {
    /// Whether there can be such a route.
    pub(crate) fn has_route(self, route: &Route) -> bool {
        match (route.family, self, &route.way) {
            (Family::V4, _, _)
            | (Family::V6, Self::On, _)
            | (Family::V6, Self::OffOnLoopback, Way::By { .. }) => true,
            (Family::V6, Self::OffOnLoopback, Way::Here) | (Family::V6, Self::Absent, _) => false,
        }
    }

    /// Whether a policy rule of this family can be.
    pub(crate) fn has_policy_rules(self, family: Family) -> bool {
        match (family, self) {
            (Family::V4, _) | (Family::V6, Self::On | Self::OffOnLoopback) => true,
            (Family::V6, Self::Absent) => false,
        }
    }
}
