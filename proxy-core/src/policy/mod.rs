//! Policy: may this client reach this destination? Only this module makes a [`Permit`], and dialling an application
//! takes one, so a forgotten check does not compile.
//!
//! The semantics are Istio's layer-4 authorization:
//!
//! ```text
//!   a DENY policy matches          -> denied
//!   no ALLOW policy applies        -> permitted
//!   an ALLOW policy matches        -> permitted
//!   otherwise                      -> denied
//! ```
//!
//! A policy that a workload names but that is not known denies: see [`Snapshot::decide`](crate::workload::Snapshot::decide).

use std::fmt;
use std::net::SocketAddr;

use crate::address::ClientAddr;

mod condition;
mod principal;
#[cfg(test)]
mod tests;

pub use condition::{Clause, Condition, Rule, ServiceAccountName, StringMatch};
pub use principal::Principal;

/// What is known about a connection when it is decided on.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The TCP peer.
    pub client: ClientAddr,
    /// Who it has proved to be; `None` for plaintext.
    pub peer: Option<&'a Principal>,
    /// The pod's address and the application's port.
    pub destination: SocketAddr,
}

/// The right to dial one destination, once.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    destination: SocketAddr,
}

impl Permit {
    /// Where the permit leads.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        self.destination
    }
}

/// Why a connection is not permitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// A DENY policy matched.
    #[error("denied by policy {policy}")]
    By {
        /// `namespace/name` of the policy.
        policy: String,
    },
    /// ALLOW policies apply and none of them matched.
    #[error("no policy allows it")]
    NoneAllows,
    /// The workload is selected by a policy that the snapshot does not have.
    #[error("policy {policy} is named but not known")]
    Unknown {
        /// `namespace/name` of the policy.
        policy: String,
    },
}

/// By what a connection is permitted.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Grounds<'a> {
    /// No ALLOW policy applies, and no DENY policy matches.
    NoneAsks,
    /// This ALLOW policy matches.
    By(&'a Policy),
}

/// Decides on `question` by the policies that apply to its destination. Which these are,
/// [`Snapshot::decide`](crate::workload::Snapshot::decide) knows.
///
/// # Errors
/// [`Denied`] says which policy, or which lack of one, is the reason.
pub fn decide<'a>(
    policies: impl Iterator<Item = &'a Policy> + Clone,
    question: &Question<'_>,
) -> Result<Permit, Denied> {
    judge(policies, question).map(|_| Permit { destination: question.destination })
}

/// What [`decide`] decides, and by what, without the right to dial.
///
/// # Errors
/// As [`decide`].
pub fn judge<'a>(
    policies: impl Iterator<Item = &'a Policy> + Clone,
    question: &Question<'_>,
) -> Result<Grounds<'a>, Denied> {
    let in_force = || policies.clone().filter(|policy| policy.mode == Mode::Enforced);
    if let Some(policy) = in_force().find(|p| p.action == Action::Deny && p.matches(question)) {
        return Err(Denied::By { policy: policy.to_string() });
    }
    let mut allows = in_force().filter(|p| p.action == Action::Allow).peekable();
    if allows.peek().is_none() {
        return Ok(Grounds::NoneAsks);
    }
    allows.find(|policy| policy.matches(question)).map(Grounds::By).ok_or(Denied::NoneAllows)
}

/// Whom a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Every workload of the mesh.
    Global,
    /// Every workload of the policy's namespace.
    Namespace,
    /// The workloads that name it.
    WorkloadSelector,
}

/// What a matching policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Permit; and deny what no ALLOW policy matches.
    Allow,
    /// Deny, before any ALLOW.
    Deny,
}

/// Whether a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// It counts.
    Enforced,
    /// It is kept but decides nothing.
    DryRun,
}

/// One authorization policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its namespace; for a global one, that of the mesh's root.
    pub namespace: String,
    /// Its name, unique in the namespace.
    pub name: String,
    /// Whom it is about.
    pub scope: Scope,
    /// What it says.
    pub action: Action,
    /// Whether it counts.
    pub mode: Mode,
    /// It matches when any of these does; an empty list never matches.
    pub rules: Vec<Rule>,
}

impl Policy {
    pub(crate) fn is_named(&self, full_name: &str) -> bool {
        full_name.split_once('/') == Some((self.namespace.as_str(), self.name.as_str()))
    }

    fn matches(&self, question: &Question<'_>) -> bool {
        self.matching(question).is_some()
    }

    /// The number of its first rule that matches, from 0.
    pub(crate) fn matching(&self, question: &Question<'_>) -> Option<usize> {
        self.rules.iter().position(|rule| rule.matches(question, self.action))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
