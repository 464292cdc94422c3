//! [`Material`]: an SVID, and whom its owner trusts.

use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use super::error::MaterialError;
use crate::bundle::Bundle;
use crate::spiffe_id::SpiffeId;
use crate::svid::Svid;
use crate::trust::Trust;
use crate::verify::{Role, unix_time, verify};

/// All that a workload needs for TLS: what proves its identity, and whom it believes.
///
/// The SVID's own trust domain is among those that are trusted, and both were current at the same time: they are given,
/// held and replaced together. Cloning shares; printing hides the key.
#[derive(Debug, Clone)]
pub struct Material {
    svid: Svid,
    trust: Trust,
    /// The one that vouches for the SVID.
    bundle: Bundle,
}

impl Material {
    /// An SVID and the roots of its trust domain.
    pub fn new(svid: Svid, bundle: Bundle) -> Result<Self, MaterialError> {
        if svid.id().trust_domain() != *bundle.trust_domain() {
            return Err(MaterialError::TrustDomain {
                svid: svid.id().trust_domain(),
                bundle: bundle.trust_domain().clone(),
            });
        }
        Ok(Self { svid, trust: Trust::from(&bundle), bundle })
    }

    /// An SVID and whom else its owner believes: other trust domains about their own, and what is revoked.
    pub fn with_trust(svid: Svid, trust: Trust) -> Result<Self, MaterialError> {
        let trust_domain = svid.id().trust_domain();
        match trust.bundle(&trust_domain).cloned() {
            Some(bundle) => Ok(Self { svid, trust, bundle }),
            None => Err(MaterialError::NoBundle { trust_domain }),
        }
    }

    /// Whose it is.
    pub fn id(&self) -> &SpiffeId {
        self.svid.id()
    }

    /// What proves the identity.
    pub fn svid(&self) -> &Svid {
        &self.svid
    }

    /// Whom it believes.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Whom it believes about its own trust domain.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Checks all that a peer with the same trust would at `now`, in both roles, and that the key is the certificate's.
    ///
    /// Sources that get their material from outside do so before they give it out. An SVID that no peer would believe
    /// must not take the place of one that they do.
    pub fn check(&self, provider: &CryptoProvider, now: SystemTime) -> Result<(), MaterialError> {
        self.check_dates(now)?;
        let algorithms = provider.signature_verification_algorithms.all;
        for role in [Role::Client, Role::Server] {
            verify(self.svid.chain(), &self.trust, role, algorithms, unix_time(now))?;
        }
        self.check_key(provider)
    }

    /// Checks that the SVID is the one that was asked for.
    pub(super) fn check_id(&self, expected: &SpiffeId) -> Result<(), MaterialError> {
        match self.id() == expected {
            true => Ok(()),
            false => Err(MaterialError::Id { expected: expected.clone(), actual: self.id().clone() }),
        }
    }

    /// Checks that the SVID is valid at `now`.
    pub(super) fn check_dates(&self, now: SystemTime) -> Result<(), MaterialError> {
        let (not_before, not_after) = (self.svid.not_before(), self.svid.not_after());
        if now < not_before {
            return Err(MaterialError::NotYetValid { not_before });
        }
        match now > not_after {
            true => Err(MaterialError::Expired { not_after }),
            false => Ok(()),
        }
    }

    /// Some key files keep silent about their public half, so that only a crypto library can tell.
    fn check_key(&self, provider: &CryptoProvider) -> Result<(), MaterialError> {
        let key = provider.key_provider.load_private_key(self.svid.key().clone_key());
        let certified = CertifiedKey::new(self.svid.chain().to_vec(), key.map_err(MaterialError::Key)?);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
            Err(error) => Err(MaterialError::Key(error)),
        }
    }
}
