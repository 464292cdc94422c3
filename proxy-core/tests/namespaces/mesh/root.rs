//! Root: a CA certificate and key, of which CAs for any trust domain can be made.

use std::time::{Duration, SystemTime};

use identity::{Bundle, Ca, SpiffeId, Svid, TrustDomain};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};

use super::Result;

pub(crate) struct Root {
    trust_domain: TrustDomain,
    certificate: String,
    key: String,
}

impl Root {
    /// A new root, for SVIDs of `trust_domain`.
    pub(crate) fn generate(trust_domain: TrustDomain) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { trust_domain, certificate, key: key.serialize_pem() })
    }

    /// A CA on this root. Nothing but the caller's word keeps it to a trust domain, as with any root.
    pub(crate) fn ca(&self, trust_domain: TrustDomain) -> Result<Ca> {
        Ok(Ca::from_pem(trust_domain, self.certificate.as_bytes(), self.key.as_bytes())?)
    }

    /// What vouches for its SVIDs.
    pub(crate) fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::from_pem(self.trust_domain.clone(), self.certificate.as_bytes())?)
    }

    /// An SVID on this root, of whatever trust domain `id` is.
    pub(crate) fn svid(&self, id: &SpiffeId) -> Result<Svid> {
        Ok(self.ca(id.trust_domain())?.issue(id, Duration::from_secs(600), SystemTime::now())?)
    }
}
