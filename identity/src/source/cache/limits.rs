//! [`Limits`]: how much a cache holds and asks for.

use std::time::Duration;

/// Bounds of a [`Cache`](super::Cache).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most identities at once. A node has at most some hundred pods (Kubernetes recommends 110, and 500 are seen);
    /// the default is 1024.
    pub identities: usize,
    /// The most requests at once to the issuer; 8 by default, as ztunnel's.
    pub requests: usize,
    /// The longest that a request may take; 10 s by default: five for a connection, and as much for an answer.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { identities: 1024, requests: 8, deadline: Duration::from_secs(10) }
    }
}

impl Limits {
    /// Other numbers of identities.
    #[must_use]
    pub fn identities(self, identities: usize) -> Self {
        Self { identities, ..self }
    }

    /// Another number of requests. With none, there is never an SVID.
    #[must_use]
    pub fn requests(self, requests: usize) -> Self {
        Self { requests, ..self }
    }

    /// Another deadline.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}
