//! Place: where in iptables a chain of a plan lives.

use std::fmt;

use crate::chain::{Attachment, ChainKind, Hook, Policy};

/// What the names of all our chains begin with. Whatever chain has such a name is ours to replace and to remove.
pub(crate) const PREFIX: &str = "INPOD_";

/// A table of iptables that rules of a plan can be in, in the order in which a packet meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    Raw,
    Mangle,
    Nat,
    Filter,
}

/// A chain that the kernel has built into a table, and our chain to which it jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) table: Table,
    /// The name of the built-in chain.
    pub(crate) built_in: &'static str,
}

// The priorities of iptables' tables: `linux/netfilter_ipv4.h`.
/// `NF_IP_PRI_RAW`.
const RAW: i32 = -300;
/// `NF_IP_PRI_MANGLE`.
const MANGLE: i32 = -150;
/// `NF_IP_PRI_NAT_DST`.
const NAT_DST: i32 = -100;
/// `NF_IP_PRI_FILTER`.
const FILTER: i32 = 0;

impl Place {
    /// The place where packets are met as this attachment says, if there is one. None has a policy of its own: a
    /// chain of ours goes back to the built-in one.
    pub(crate) fn of(attachment: Attachment) -> Option<Self> {
        let Attachment { kind, hook, priority, policy } = attachment;
        let table = match (kind, hook, priority) {
            (ChainKind::Filter, Hook::Prerouting | Hook::Output, RAW) => Table::Raw,
            (ChainKind::Filter, Hook::Prerouting, MANGLE) | (ChainKind::Route, Hook::Output, MANGLE) => {
                Table::Mangle
            }
            // The table filter has no such chain. That of mangle comes before translation of sources, too.
            (ChainKind::Filter, Hook::Postrouting, MANGLE | FILTER) => Table::Mangle,
            (ChainKind::Nat, Hook::Prerouting | Hook::Output, NAT_DST) => Table::Nat,
            (ChainKind::Filter, Hook::Input | Hook::Forward | Hook::Output, FILTER) => Table::Filter,
            (ChainKind::Filter | ChainKind::Route | ChainKind::Nat, ..) => return None,
        };
        (policy == Policy::Accept).then_some(Self { table, built_in: built_in(hook) })
    }

    /// The name of our chain.
    pub(crate) fn chain(self) -> String {
        format!("{PREFIX}{}", self.built_in)
    }
}

fn built_in(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "PREROUTING",
        Hook::Input => "INPUT",
        Hook::Forward => "FORWARD",
        Hook::Output => "OUTPUT",
        Hook::Postrouting => "POSTROUTING",
    }
}

impl Table {
    pub(crate) const ALL: [Self; 4] = [Self::Raw, Self::Mangle, Self::Nat, Self::Filter];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }

    /// The table of this name; none of the others holds anything of ours.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
