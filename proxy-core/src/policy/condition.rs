//! Condition: what a policy's rules ask of a connection.
//!
//! ```text
//!   Policy  = any of its rules            (none: never)
//!   Rule    = all of its clauses          (none: always)
//!   Clause  = any of its conditions       (none: always)
//!   Condition = all of its fields         (none: never)
//!   field   = any of its values; a "not" field: none of its values; empty: says nothing
//! ```

use identity::ServiceAccount;
use ipnet::IpNet;

use super::Question;

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
    fn matches(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return false };
        match self {
            Self::Exact(exact) => value == exact,
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => value.ends_with(suffix.as_str()),
            Self::Presence => !value.is_empty(),
        }
    }
}

/// A service account in any trust domain.
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
    pub namespaces: Vec<StringMatch>,
    pub not_namespaces: Vec<StringMatch>,
    /// Compared with the peer's SPIFFE ID without its `spiffe://`.
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
        let principal = question.peer.and_then(|id| id.as_ref().strip_prefix("spiffe://"));
        let account = question.peer.and_then(|id| ServiceAccount::try_from(id).ok());
        let namespace = account.as_ref().map(ServiceAccount::namespace);
        let is_account = |name: &ServiceAccountName| {
            account.as_ref().is_some_and(|a| a.namespace() == name.namespace && a.name() == name.name)
        };
        let destination = question.destination;
        *self != Self::default()
            && field(&self.namespaces, &self.not_namespaces, |m| m.matches(namespace))
            && field(&self.principals, &self.not_principals, |m| m.matches(principal))
            && field(&self.service_accounts, &self.not_service_accounts, is_account)
            && field(&self.source_ips, &self.not_source_ips, |net| net.contains(&question.client.ip()))
            && field(&self.destination_ips, &self.not_destination_ips, |net| net.contains(&destination.ip()))
            && field(&self.destination_ports, &self.not_destination_ports, |port| *port == destination.port())
    }
}

fn field<T>(any: &[T], none: &[T], matches: impl Fn(&T) -> bool) -> bool {
    (any.is_empty() || any.iter().any(&matches)) && !none.iter().any(&matches)
}
