//! Chain: rules in order, and the place in the kernel where packets meet them.

use std::borrow::Cow;
use std::fmt;

use crate::rule::Rule;

/// Rules in order, and where packets meet them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name within the table.
    pub name: Cow<'static, str>,
    /// Where packets meet it.
    pub attachment: Attachment,
    /// The first that decides on a packet ends its walk.
    pub rules: Vec<Rule>,
}

/// Where in the kernel packets meet a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attachment {
    /// What the chain may do.
    pub kind: ChainKind,
    /// On which packets.
    pub hook: Hook,
    /// Before or after which other chains: lower comes earlier (`NF_IP_PRI_*` in `linux/netfilter_ipv4.h`).
    pub priority: i32,
    /// What becomes of packets that no rule decides on.
    pub policy: Policy,
}

/// What a chain may do (`nft`'s chain types).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChainKind {
    /// See packets and mark them.
    Filter,
    /// The same, and packets that it marks are routed anew.
    Route,
    /// Decide, on the first packet of a connection, to where the connection goes.
    Nat,
}

/// On which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// Packets that come in, before they are routed.
    Prerouting,
    /// Packets that sockets here are to receive.
    Input,
    /// Packets that are routed through, from interface to interface.
    Forward,
    /// Packets that sockets here send.
    Output,
    /// Packets that go out, after they are routed.
    Postrouting,
}

/// What becomes of packets that no rule decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// They go on.
    Accept,
    /// They are dropped.
    Drop,
}

impl Hook {
    /// All, in the order in which a packet could meet them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];
}

impl fmt::Display for Attachment {
    /// As `nft` takes it. The priority is a number because nft 1.0.6 has no name for some of them in some hooks
    /// of an `inet` table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Route => "route",
            ChainKind::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        let policy = match self.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        write!(f, "type {kind} hook {hook} priority {}; policy {policy};", self.priority)
    }
}
