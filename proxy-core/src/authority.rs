//! Authority: who gives the pods of a node their SVIDs, and whom they believe.

use std::sync::Arc;

use identity::source::{Cache, Issuer, Lease, LeaseError, Limits};
use identity::{Authorizer, SharedTrust, SpiffeId, Trust, TrustDomain, Unexpected};
use rustls::crypto::CryptoProvider;

use crate::policy::Principal;
use crate::standings::Standings;
use crate::workers::Workers;

/// The most identities of a node's pods: far more than a node has pods (Kubernetes recommends at most 110), because those of
/// an agent's word are not a stranger's to multiply.
const MOST_IDENTITIES: usize = 16_384;

/// What all pods of a node share: an issuer, whom to believe, and the cryptography to use.
#[derive(Debug)]
pub struct Authority {
    trust_domain: TrustDomain,
    cache: Cache,
    trust: SharedTrust,
    provider: Arc<CryptoProvider>,
    standings: Arc<Standings>,
}

impl Authority {
    /// Pods are of `trust_domain` and get their SVIDs from `issuer`; they believe `trust`.
    ///
    /// `trust` can be replaced at any time. Handshakes go by what it says then, and connections whose peer it believes no more are cut.
    /// The issuer is asked, and connections are judged, on a thread of `workers` that serves no connections.
    #[must_use]
    pub fn start(
        trust_domain: TrustDomain,
        issuer: Arc<dyn Issuer>,
        trust: SharedTrust,
        provider: Arc<CryptoProvider>,
        workers: &Workers,
    ) -> Self {
        let (cache, driver) = Cache::new(issuer, Limits::default().identities(MOST_IDENTITIES));
        workers.spawn_aside(driver.run());
        let algorithms = provider.signature_verification_algorithms.all;
        let standings = Arc::new(Standings::new(trust.clone(), algorithms));
        workers.spawn_aside(Standings::follow(Arc::downgrade(&standings), trust.watch()));
        Self { trust_domain, cache, trust, provider, standings }
    }

    /// Whom the pods believe.
    #[must_use]
    pub fn trust(&self) -> &SharedTrust {
        &self.trust
    }

    /// What the pods' identities are of.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// The connections whose peers are believed.
    pub(crate) fn standings(&self) -> &Arc<Standings> {
        &self.standings
    }

    /// A pod's share of its identity's SVID.
    pub(crate) fn lease(&self, id: &SpiffeId) -> Result<Lease, LeaseError> {
        self.cache.lease(id)
    }

    /// Who has proved `id`, to policy, by the names that its trust domain has now.
    pub(crate) fn principal(&self, id: SpiffeId) -> Principal {
        let other_names = self.trust.current().other_names(&id);
        Principal::new(id, other_names, &self.trust_domain)
    }

    /// Lets in whoever is believed, of any trust domain: policy decides further.
    pub(crate) fn anyone(&self) -> Arc<dyn Authorizer> {
        Arc::new(Anyone { trust: self.trust.clone() })
    }

    /// Lets in who has one of `ids`, by any name of its trust domain.
    pub(crate) fn any_of(&self, ids: &[SpiffeId]) -> Arc<dyn Authorizer> {
        Arc::new(AnyOf { ids: ids.into(), trust: self.trust.clone() })
    }
}

/// Whoever is of a trust domain that has a bundle.
#[derive(Debug)]
struct Anyone {
    trust: SharedTrust,
}

impl Authorizer for Anyone {
    fn authorize(&self, peer: &SpiffeId) -> Result<(), Unexpected> {
        // Its bundle has vouched for it already; a change in between is seen when the connection is entered.
        let is_believed = self.trust.current().bundle(&peer.trust_domain()).is_some();
        if is_believed { Ok(()) } else { Err(Unexpected::new(peer.clone())) }
    }
}

/// Who has one of these ids, by any name of its trust domain.
#[derive(Debug)]
struct AnyOf {
    ids: Box<[SpiffeId]>,
    trust: SharedTrust,
}

impl Authorizer for AnyOf {
    fn authorize(&self, peer: &SpiffeId) -> Result<(), Unexpected> {
        if self.ids.contains(peer) {
            return Ok(());
        }
        let trust = self.trust.current();
        let known = canonical(&trust, peer);
        let is_known = self.ids.iter().any(|id| canonical(&trust, id) == known);
        if is_known { Ok(()) } else { Err(Unexpected::new(peer.clone())) }
    }
}

/// The id by its bundle's own name.
fn canonical(trust: &Trust, id: &SpiffeId) -> SpiffeId {
    trust.canonical(id).unwrap_or_else(|| id.clone())
}

#[cfg(test)]
mod tests {
    use identity::Bundle;

    use super::*;

    fn id(text: &str) -> SpiffeId {
        text.parse().unwrap()
    }

    fn trust() -> SharedTrust {
        let bundles = ["new.local", "example.org"].map(|domain| Bundle::of_nobody(domain.parse().unwrap()));
        let trust = Trust::new(bundles).unwrap();
        trust.with_alias("old.local".parse().unwrap(), "new.local".parse().unwrap()).unwrap().into()
    }

    fn any_of(ids: &[SpiffeId]) -> AnyOf {
        AnyOf { ids: ids.into(), trust: trust() }
    }

    #[test]
    fn a_hop_is_who_is_expected_by_any_name_of_its_trust_domain() {
        for expected in ["spiffe://new.local/ns/a/sa/b", "spiffe://old.local/ns/a/sa/b"] {
            let expected = any_of(&[id(expected)]);
            for peer in ["spiffe://new.local/ns/a/sa/b", "spiffe://old.local/ns/a/sa/b"] {
                assert_eq!(expected.authorize(&id(peer)), Ok(()));
            }
            for peer in
                ["spiffe://example.org/ns/a/sa/b", "spiffe://old.local/ns/a/sa/c", "spiffe://other/ns/a/sa/b"]
            {
                assert!(expected.authorize(&id(peer)).is_err(), "{peer}");
            }
        }
        assert!(any_of(&[]).authorize(&id("spiffe://new.local/ns/a/sa/b")).is_err());
    }

    #[test]
    fn a_client_is_of_a_trust_domain_that_is_believed() {
        let trust = trust();
        let anyone = Anyone { trust: trust.clone() };
        for peer in ["spiffe://new.local/x", "spiffe://old.local/x", "spiffe://example.org/x"] {
            assert_eq!(anyone.authorize(&id(peer)), Ok(()));
        }
        assert!(anyone.authorize(&id("spiffe://example.com/x")).is_err());
        trust.replace(trust.current().without(&"example.org".parse().unwrap()));
        assert!(anyone.authorize(&id("spiffe://example.org/x")).is_err());
    }
}
