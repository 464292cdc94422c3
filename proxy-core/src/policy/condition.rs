//! Condition: what a policy's rules ask of a connection.
//!
//! ```text
//!   Policy  = any of its rules            (none: never)
//!   Rule    = all of its clauses          (none: always)
//!   Clause  = any of its conditions       (none: always)
//!   Condition = all of its fields         (none: never)
//!   field   = any of its values; a "not" field: none of its values; empty: says nothing
//! ```
//!
//! Where it is not certain whether a value is the peer's, that counts against the peer: it is not what allows it, and it is what denies it.

use identity::ServiceAccount;
use ipnet::IpNet;

use super::principal::Claim;
use super::{Action, Question};

/// All of its clauses must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The clauses.
    pub clauses: Vec<Clause>,
}

impl Rule {
    /// Whether it is so that `action` follows.
    pub(super) fn matches(&self, question: &Question<'_>, action: Action) -> bool {
        self.clauses.iter().all(|clause| clause.matches(question, action))
    }
}

/// Any of its conditions must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clause {
    /// The conditions.
    pub conditions: Vec<Condition>,
}

impl Clause {
    fn matches(&self, question: &Question<'_>, action: Action) -> bool {
        let matches = |condition: &Condition| condition.matches(question, action);
        self.conditions.is_empty() || self.conditions.iter().any(matches)
    }
}

/// How a string is compared. Literal bytes: no pattern language.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StringMatch {
    /// The whole string.
    Exact(String),
    /// How it begins.
    Prefix(String),
    /// How it ends.
    Suffix(String),
    /// That it is there at all.
    Presence,
}

impl StringMatch {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => value == exact,
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => value.ends_with(suffix.as_str()),
            Self::Presence => !value.is_empty(),
        }
    }
}

/// A service account of the pods' own trust domain, by any name of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountName {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Service account.
    pub name: String,
}

/// Fields that must all match. Without any field it matches nothing, so that a condition whose fields were lost cannot
/// widen a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    missing_docs,
    reason = "each field is named for what it compares; `not_` ones must match none of their values"
)]
pub struct Condition {
    /// Namespaces of the pods' own trust domain. A peer of another one only says in which it is: that denies, and does not allow.
    pub namespaces: Vec<StringMatch>,
    pub not_namespaces: Vec<StringMatch>,
    /// Compared with the peer's SPIFFE ID without its `spiffe://`, by each name that its trust domain has.
    pub principals: Vec<StringMatch>,
    pub not_principals: Vec<StringMatch>,
    pub service_accounts: Vec<ServiceAccountName>,
    pub not_service_accounts: Vec<ServiceAccountName>,
    pub source_ips: Vec<IpNet>,
    pub not_source_ips: Vec<IpNet>,
    pub destination_ips: Vec<IpNet>,
    pub not_destination_ips: Vec<IpNet>,
    /// Ports of the application, not of the tunnel.
    pub destination_ports: Vec<u16>,
    pub not_destination_ports: Vec<u16>,
}

impl Condition {
    fn matches(&self, question: &Question<'_>, action: Action) -> bool {
        let (for_any, for_none) = match action {
            Action::Allow => (Claim::Certain, Claim::Possible),
            Action::Deny => (Claim::Possible, Claim::Certain),
        };
        let account = |claim| question.peer.and_then(|peer| peer.account(claim));
        let is_principal = |wanted: &StringMatch| {
            question.peer.is_some_and(|peer| peer.names().any(|name| wanted.matches(name)))
        };
        let destination = question.destination;
        *self != Self::default()
            && any(&self.namespaces, |wanted| is_in(account(for_any), wanted))
            && none(&self.not_namespaces, |wanted| is_in(account(for_none), wanted))
            && field(&self.principals, &self.not_principals, is_principal)
            && any(&self.service_accounts, |wanted| is_named(account(for_any), wanted))
            && none(&self.not_service_accounts, |wanted| is_named(account(for_none), wanted))
            && field(&self.source_ips, &self.not_source_ips, |net| net.contains(&question.client.ip()))
            && field(&self.destination_ips, &self.not_destination_ips, |net| net.contains(&destination.ip()))
            && field(&self.destination_ports, &self.not_destination_ports, |port| *port == destination.port())
    }
}

fn is_in(account: Option<&ServiceAccount>, wanted: &StringMatch) -> bool {
    account.is_some_and(|account| wanted.matches(account.namespace()))
}

fn is_named(account: Option<&ServiceAccount>, wanted: &ServiceAccountName) -> bool {
    account.is_some_and(|account| account.namespace() == wanted.namespace && account.name() == wanted.name)
}

fn field<T>(any_of: &[T], none_of: &[T], matches: impl Fn(&T) -> bool) -> bool {
    any(any_of, &matches) && none(none_of, &matches)
}

fn any<T>(values: &[T], matches: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(matches)
}

fn none<T>(values: &[T], matches: impl Fn(&T) -> bool) -> bool {
    !values.iter().any(matches)
}
