//! Root: a CA certificate and key, of which CAs for any trust domain can be made.

use std::time::{Duration, SystemTime};

use identity::{Bundle, Ca, SpiffeId, Svid, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Result;

pub(crate) struct Root {
    trust_domain: TrustDomain,
    certificate: String,
    key: String,
}

impl Root {
    /// A new root, for SVIDs of `trust_domain`.
    pub(crate) fn generate(trust_domain: TrustDomain) -> Result<Self> {
        let params = params_of_root();
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

    /// A revocation list, in PEM, with these SVIDs.
    pub(crate) fn crl(&self, svids: &[Svid]) -> Result<String> {
        let now = SystemTime::now();
        let revoked = |svid: &Svid| -> Result<RevokedCertParams> {
            let leaf = svid.chain().first().ok_or("no certificate")?;
            let (_, leaf) = X509Certificate::from_der(leaf)?;
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(leaf.raw_serial()),
                revocation_time: now.into(),
                reason_code: None,
                invalidity_date: None,
            })
        };
        let params = CertificateRevocationListParams {
            this_update: (now - Duration::from_secs(60)).into(),
            next_update: (now + Duration::from_secs(3600)).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: svids.iter().map(revoked).collect::<Result<_>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::new(params_of_root(), KeyPair::from_pem(&self.key)?);
        Ok(params.signed_by(&issuer)?.pem()?)
    }

    /// An SVID on this root, of whatever trust domain `id` is.
    pub(crate) fn svid(&self, id: &SpiffeId) -> Result<Svid> {
        Ok(self.ca(id.trust_domain())?.issue(id, Duration::from_secs(600), SystemTime::now())?)
    }
}

fn params_of_root() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
