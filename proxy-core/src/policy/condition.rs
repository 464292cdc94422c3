//! Condition: what a policy's rules ask of a connection.
//!
//! ```text
//!   Policy  = any of its rules            (none: never)
//!   Rule    = all of its clauses          (none: always)
//!   Clause  = any of its conditions       (none: always)
//!   Condition = all of its fields         (none: never)
//!   field   = any of its values; a "not" field: none of its values; empty: says nothing
//! ```

use ipnet::IpNet;

use super::{Principal, Question};

/// All of its clauses must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The clauses.
    pub clauses: Vec<Clause>,
}

impl Rule {
    pub(super) fn matches(&self, question: &Question<'_>) -> bool {
        self.clauses.iter().all(|clause| clause.matches(question))
    }
}

/// Any of its conditions must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clause {
    /// The conditions.
    pub conditions: Vec<Condition>,
}

impl Clause {
    fn matches(&self, question: &Question<'_>) -> bool {
        self.conditions.is_empty() || self.conditions.iter().any(|condition| condition.matches(question))
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
    /// Namespaces of the pods' own trust domain: a peer of another one is in none.
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
    fn matches(&self, question: &Question<'_>) -> bool {
        let account = question.peer.and_then(Principal::account);
        let is_namespace = |wanted: &StringMatch| account.is_some_and(|a| wanted.matches(a.namespace()));
        let is_principal = |wanted: &StringMatch| {
            question.peer.is_some_and(|peer| peer.names().any(|name| wanted.matches(name)))
        };
        let is_account = |wanted: &ServiceAccountName| {
            account.is_some_and(|a| a.namespace() == wanted.namespace && a.name() == wanted.name)
        };
        let destination = question.destination;
        *self != Self::default()
            && field(&self.namespaces, &self.not_namespaces, is_namespace)
            && field(&self.principals, &self.not_principals, is_principal)
            && field(&self.service_accounts, &self.not_service_accounts, is_account)
            && field(&self.source_ips, &self.not_source_ips, |net| net.contains(&question.client.ip()))
            && field(&self.destination_ips, &self.not_destination_ips, |net| net.contains(&destination.ip()))
            && field(&self.destination_ports, &self.not_destination_ports, |port| *port == destination.port())
    }
}

fn field<T>(any: &[T], none: &[T], matches: impl Fn(&T) -> bool) -> bool {
    (any.is_empty() || any.iter().any(&matches)) && !none.iter().any(&matches)
}
