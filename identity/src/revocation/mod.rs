//! What is revoked: certificate revocation lists (RFC 5280 §5), and what their silence means.

mod crl;
mod error;
mod policy;

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::VerifiedPath;

pub use self::crl::Crls;
use self::crl::{Crl, Standing};
pub use self::error::{CrlsError, RevocationError};
pub use self::policy::{ExpiredCrl, RevocationPolicy, UnknownStatus};
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::der::{SEQUENCE, take};

/// The revocation lists in force, and the policy for what they do not say.
#[derive(Clone, Default)]
pub(crate) struct Revocation {
    crls: Arc<[Crl]>,
    policy: RevocationPolicy,
}

impl Revocation {
    /// `crls` in place of these, if they are no worse.
    pub(crate) fn replaced<'a>(
        &self,
        crls: &Crls,
        policy: RevocationPolicy,
        bundles: impl Iterator<Item = &'a Bundle> + Clone,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Self, CrlsError> {
        for (index, crl) in crls.lists().iter().enumerate() {
            if self.crls.iter().any(|current| crl.is_older_than(current)) {
                return Err(CrlsError::Older { index });
            }
            let mut is_of_root = false;
            let mut is_signed = false;
            for (root, may_sign) in bundles.clone().flat_map(Bundle::crl_signers) {
                if root.subject.as_ref() == crl.issuer() {
                    is_of_root = true;
                    is_signed |= may_sign && crl.is_signed_by(&root.subject_public_key_info, algorithms);
                }
            }
            if is_of_root && !is_signed {
                return Err(CrlsError::Signature { index });
            }
        }
        Ok(Self { crls: crls.lists().into(), policy })
    }

    /// Whether there is nothing to look at.
    pub(crate) fn is_idle(&self) -> bool {
        self.crls.is_empty() && self.policy.unknown == UnknownStatus::Accept
    }

    /// Checks every certificate of `path` but the root, which is trusted for being in the bundle and not for what it says.
    pub(crate) fn check(
        &self,
        path: &VerifiedPath<'_>,
        bundle: &Bundle,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        now: UnixTime,
    ) -> Result<(), RevocationError> {
        let mut below: &webpki::Cert<'_> = path.end_entity();
        for issuer in path.intermediate_certificates() {
            let key = issuer.subject_public_key_info();
            let key = take(&key, SEQUENCE).map(|(key, _)| key).unwrap_or_default();
            let may_sign = intermediate_may_sign(&issuer.der());
            self.check_one(below, |crl| may_sign && crl.is_signed_by(key, algorithms), now)?;
            below = issuer;
        }
        let root: &TrustAnchor<'_> = path.anchor();
        let key = root.subject_public_key_info.as_ref();
        let may_sign = bundle.crl_signers().any(|(signer, may_sign)| may_sign && signer == root);
        self.check_one(below, |crl| may_sign && crl.is_signed_by(key, algorithms), now)
    }

    /// Checks one certificate by the lists of its issuer.
    fn check_one(
        &self,
        certificate: &webpki::Cert<'_>,
        is_of_issuer: impl Fn(&Crl) -> bool,
        now: UnixTime,
    ) -> Result<(), RevocationError> {
        let mut is_known = false;
        let mut expired = None;
        for crl in self.crls.iter().filter(|crl| crl.issuer() == certificate.issuer() && is_of_issuer(crl)) {
            match crl.standing(certificate.serial(), now) {
                Standing::Revoked => return Err(RevocationError::revoked(certificate.serial())),
                Standing::Good => is_known = true,
                Standing::Expired(next_update) => expired = Some(next_update),
            }
        }
        match (is_known, expired) {
            (true, _) => Ok(()),
            (false, Some(next_update)) if self.policy.expired == ExpiredCrl::Refuse => {
                Err(RevocationError::Expired { next_update })
            }
            (false, _) if self.policy.unknown == UnknownStatus::Refuse => Err(RevocationError::Unknown),
            (false, _) => Ok(()),
        }
    }
}

/// RFC 5280 §6.3.3 (f): if the issuer's certificate has a key usage, it must have cRLSign.
fn intermediate_may_sign(certificate: &CertificateDer<'_>) -> bool {
    Certificate::parse(certificate).is_ok_and(|certificate| certificate.may_sign_crls())
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").field("crls", &self.crls.len()).field("policy", &self.policy).finish()
    }
}
