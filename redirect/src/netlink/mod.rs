//! Netlink: the plan in the kernel's own words, and back.
//!
//! ```text
//!   Rule --encode--> [Step] --step--> expressions --batch--> kernel
//!   Rule <--decode-- [Step] <--step-- expressions <--ruleset-- kernel       Route, PolicyRule <-> routing
//! ```
//!
//! `encode` and `decode`, and the two halves of `step`, `comment` and `routing`, are twins over the same values;
//! `sock_diag` tells of sockets, one way; `socket` is the only file that asks the kernel, `watch` the one that listens to it.

mod batch;
mod comment;
mod conntrack;
mod counters;
mod ct_timeouts;
mod decode;
mod encode;
mod extended_ack;
mod key;
mod objects;
mod routing;
mod ruleset;
mod sets;
mod sock_diag;
mod socket;
mod step;
mod unread;
mod watch;

pub(crate) use batch::{NfTables, Rejected, is_unknown};
pub(crate) use conntrack::{Conntrack, Tracked};
pub(crate) use ct_timeouts::{CtTimeouts, FoundTimeouts};
pub(crate) use routing::{Interfaces, Routing};
pub(crate) use sock_diag::SockDiag;
pub use watch::Watch;

#[cfg(test)]
mod tests;
