//! Principal: who a peer is, to policy.

use std::sync::Arc;

use identity::{ServiceAccount, SpiffeId, TrustDomain};

/// A peer's proven identity, by every name that it goes by, and what that says to the pods of this node. Cloning shares.
///
/// A namespace and a service account mean something only where they are granted: in the node's own trust domain (and its aliases).
/// A peer of another one, which can call its namespaces as it likes, only claims them: policy takes that for true where it
/// speaks against the peer, and for nothing where it speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    id: SpiffeId,
    other_names: Vec<SpiffeId>,
    account: Option<ServiceAccount>,
    is_at_home: bool,
}

/// How certain a peer's namespace and service account are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// They were granted here.
    Certain,
    /// They were, or the peer says so.
    Possible,
}

impl Principal {
    /// Who has proved `id`, which has these other names, to a pod of the trust domain `home`.
    #[must_use]
    pub fn new(id: SpiffeId, other_names: Vec<SpiffeId>, home: &TrustDomain) -> Self {
        let names = || std::iter::once(&id).chain(&other_names);
        let is_at_home = names().any(|name| name.trust_domain() == *home);
        let account = ServiceAccount::try_from(&id).ok();
        Self(Arc::new(Inner { id, other_names, account, is_at_home }))
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

    /// The service account, as far as it is as certain as that.
    pub(super) fn account(&self, claim: Claim) -> Option<&ServiceAccount> {
        self.0.account.as_ref().filter(|_| self.0.is_at_home || claim == Claim::Possible)
    }
}
