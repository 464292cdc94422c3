//! IntentError: why an intent cannot be built.

use crate::inclusion::Inclusion;
use crate::mark::Mark;
use crate::port::Port;

use super::ports::PortRole;

/// Why an [`Intent`](crate::Intent) cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntentError {
    /// One port has two roles, so the proxy could not tell what it accepts there.
    #[error("port {port} cannot be both {first} and {second}")]
    OnePortTwoRoles {
        /// The port.
        port: Port,
        /// What it already is.
        first: PortRole,
        /// What it should also become.
        second: PortRole,
    },
    /// The loopback interface is named as a virtual one: the proxy's own connections to the application, which
    /// come in by it, would be captured as the application's.
    #[error("the loopback interface cannot be captured as a virtual one")]
    LoopbackIsVirtual,
    /// The loopback interface is excepted: redirected connections go by it, so that answers to them would count as excepted.
    #[error("the loopback interface cannot be excepted: captured connections go by it")]
    LoopbackIsExcepted,
    /// More exceptions are named than one pod may have.
    #[error("at most {limit} exceptions can be made, not {actual}")]
    TooManyExceptions {
        /// The most that are taken.
        limit: usize,
        /// How many were named.
        actual: usize,
    },
    /// More virtual interfaces are named than one pod may have.
    #[error("at most {limit} virtual interfaces can be captured, not {actual}")]
    TooManyInterfaces {
        /// The most that are taken.
        limit: usize,
        /// How many were named.
        actual: usize,
    },
    /// More inclusions are named than one pod may have.
    #[error("at most {limit} inclusions can be made, not {actual}")]
    TooManyInclusions {
        /// The most that are taken.
        limit: usize,
        /// How many were named.
        actual: usize,
    },
    /// Something that comes for the application is to be captured, and nothing that comes is.
    #[error("nothing that comes in is captured, so what comes {inclusion} cannot be included")]
    IncludedButBypassed {
        /// The first such inclusion.
        inclusion: Inclusion,
    },
    /// Two marks with different meanings cannot be told apart.
    #[error("tunnels are known by the mark {mark}, which cannot be told apart from {other}")]
    OneMarkTwoMeanings {
        /// The mark by which tunnels are known.
        mark: Mark,
        /// The proxy's or the connection mark.
        other: Mark,
    },
    /// The proxy is known by its owner, and none is named: it would capture itself.
    #[error("no user and no group is named as which the proxy runs")]
    ProxyUnknown,
    /// More owners are named than rules are made for.
    #[error("a proxy can be known by at most {limit} users and groups, not {actual}")]
    TooManyOwners {
        /// The most that are taken.
        limit: usize,
        /// How many were named.
        actual: usize,
    },
}
