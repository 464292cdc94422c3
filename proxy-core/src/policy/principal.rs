//! Principal: who a peer is, to policy.

use std::sync::Arc;

use identity::{ServiceAccount, SpiffeId, TrustDomain};

/// A peer's proven identity, by every name that it goes by, and what that says to the pods of this node. Cloning shares.
///
/// A namespace and a service account mean something only where they are granted: they are those of the node's own trust
/// domain (and its aliases). A peer of another one, which can call its namespaces as it likes, has neither: policy knows it by
/// its whole identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    id: SpiffeId,
    other_names: Vec<SpiffeId>,
    account: Option<ServiceAccount>,
}

impl Principal {
    /// Who has proved `id`, which has these other names, to a pod of the trust domain `home`.
    #[must_use]
    pub fn new(id: SpiffeId, other_names: Vec<SpiffeId>, home: &TrustDomain) -> Self {
        let names = || std::iter::once(&id).chain(&other_names);
        let at_home = names().any(|name| name.trust_domain() == *home);
        let account = ServiceAccount::try_from(&id).ok().filter(|_| at_home);
        Self(Arc::new(Inner { id, other_names, account }))
    }

    /// What was proved.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// All names, without `spiffe://`, as policies write them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let ids = std::iter::once(&self.0.id).chain(&self.0.other_names);
        ids.filter_map(|id| id.as_str().strip_prefix("spiffe://"))
    }

    /// The service account, of a peer of this trust domain.
    pub(super) fn account(&self) -> Option<&ServiceAccount> {
        self.0.account.as_ref()
    }
}
