//! Say which traffic to capture; get the rules, apply them, and prove that they are there.
//!
//! **The one rule:** be in the right network namespace. [`apply`], [`verify`] and [`remove`] act on the one that
//! the calling thread is in, and this crate neither knows nor checks whose it is.
//!
//! ```text
//!                            +--> render::nft ----> text, to show and to review
//!   Intent --new--> Plan ----+--> apply ----------> kernel --read back--> the same? --> Applied
//!   what       chains, rules +--> verify ---------> kernel --read back--> Same | Differs(what, and why)
//!              and routes,   +--> remove ---------> kernel, as it was before
//!              each with why
//! ```
//!
//! The kernel is spoken to directly (nf_tables and rtnetlink): no program is run, and all rules appear in one
//! transaction. While a plan is in place and nobody accepts what it captures, connections fail; they do not escape.
//!
//! ```no_run
//! use inpod_redirect::{Intent, Plan, Verdict, apply, remove, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plan = Plan::new(&Intent::ambient()); // what Istio's ambient mode captures in a pod
//! apply(&plan)?; // needs CAP_NET_ADMIN in this namespace
//! assert_eq!(verify(&plan)?, Verdict::Same);
//! remove(&plan)?;
//! # Ok(())
//! # }
//! ```
//!
//! For the node's own namespace there are [`ProbeExemption`], beside capture in pods, and [`NodeLevel`], instead of it.
//!
//! There are no cargo features.

#![forbid(unsafe_code)]

mod apply;
mod cgroup;
mod chain;
mod compare;
mod connection;
mod counters;
mod dscp;
mod elements;
mod error;
mod exception;
pub mod explain;
mod family;
mod found;
mod id_range;
mod inclusion;
mod intent;
mod interface;
pub mod iptables;
mod istio;
mod live;
mod mark;
mod netlink;
mod network;
mod node_level;
mod owner;
mod piece;
mod plan;
mod port;
mod port_range;
mod probe_exemption;
pub mod render;
mod routing;
mod rule;
mod set;
mod tcp_flags;
mod tcp_timeouts;
mod undo;

pub use apply::{
    Applied, apply, apply_with, elements, remove, remove_rules, set_elements, verify, verify_with,
};
pub use cgroup::{Cgroup, CgroupError};
pub use chain::{Attachment, Chain, ChainKind, Hook, Policy};
pub use compare::{Difference, Verdict};
pub use connection::{Connection, ConnectionError};
pub use counters::{Counter, Counters, counters};
pub use dscp::{Dscp, DscpError};
pub use elements::{Element, ElementError, Elements};
pub use error::{ApplyError, KernelError, RemoveError, VerifyError};
pub use exception::Exception;
pub use family::Family;
pub use found::Ipv6;
pub use id_range::{IdRange, IdRangeError};
pub use inclusion::Inclusion;
pub use intent::{
    DnsCapture, Families, Guard, HboneSign, Inbound, Intent, IntentError, Method, PortRole, Ports,
    ProbeAddressError, ProbeAddresses, ProxyIdentity,
};
pub use interface::{InterfaceName, InterfaceNameError};
pub use istio::{IstioError, IstioPiece, find_istio, remove_istio};
pub use live::{
    DrainError, Drained, EndError, Ending, EnrolError, Enrolled, Existing, ForgetError, Forgotten, ListError,
    Listening, TcpSocket, TcpState, captured, drain, end, enrol, forget, tcp_listeners, tcp_sockets,
};
pub use mark::{Mark, MarkError, Marks, MarksError};
pub use netlink::Watch;
pub use network::{Network, NetworkError};
pub use node_level::{Gateways, Leg, NodeLevel, NodeLevelError};
pub use owner::Owner;
pub use piece::Piece;
pub use plan::{Plan, TABLE};
pub use port::{Port, PortError};
pub use port_range::{PortRange, PortRangeError};
pub use probe_exemption::{ProbeExemption, Prober};
pub use routing::{PolicyRule, ReplyRouting, ReplyRoutingError, Route, Way};
pub use rule::{Action, Match, Protocol, Rule, Test};
pub use set::{Set, SetKind};
pub use tcp_flags::TcpFlags;
pub use tcp_timeouts::{Remembers, TcpTimeouts};
