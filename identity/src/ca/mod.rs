//! [`Ca`]: an embedded certificate authority.

mod error;
mod signer;

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

pub use self::error::{CaError, IssueError, SignError};
use self::signer::Signer;
use crate::bundle::Bundle;
use crate::certificate::{Certificate, Validity};
use crate::chain::MAX_CERTIFICATES;
use crate::error::{AuthorityError, ChainError};
use crate::pem;
use crate::spiffe_id::SpiffeId;
use crate::svid::Svid;
use crate::trust_domain::TrustDomain;

/// How much earlier than now what is issued is valid, for peers whose clocks are behind. Istio allows two minutes and
/// SPIRE ten seconds; machines that keep time at all are within one minute.
const BACKDATED: Duration = Duration::from_secs(60);

/// How long a root that we make is valid: ten years, which no process outlives, because its key never leaves the process.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The bytes of a serial number: RFC 5280 §4.1.2.2 allows twenty, and sixteen are beyond guessing.
const SERIAL_BYTES: usize = 16;

/// A certificate authority for one trust domain, in memory.
///
/// It issues short-lived [`Svid`]s, each with a key of its own. Its own key is never given out and never printed.
pub struct Ca {
    bundle: Bundle,
    signer: Signer,
    /// What is served after every leaf: from the certificate that signs it up to the one below the root.
    intermediates: Vec<CertificateDer<'static>>,
    /// When every certificate from the signing one to the root is valid.
    validity: Validity,
}

impl Ca {
    /// The CA of a certificate and its key, as PEM: RSA, ECDSA (P-256, P-384) or Ed25519, in PKCS#8, SEC1 or PKCS#1.
    ///
    /// `certificates` is the signing certificate, followed by those that vouch for it up to the root, if it is not the
    /// root itself. The last one becomes the [`bundle`](Self::bundle); the others are served with every SVID.
    pub fn from_pem(trust_domain: TrustDomain, certificates: &[u8], key: &[u8]) -> Result<Self, CaError> {
        let chain = pem::certificates(certificates).map_err(CaError::CertificatePem)?;
        let key = pem::private_key(key).map_err(CaError::KeyPem)?;
        Self::new(trust_domain, chain, &key)
    }

    /// A CA with a new P-256 root, valid for ten years from a minute ago by this machine's clock.
    pub fn generate(trust_domain: TrustDomain) -> Result<Self, CaError> {
        Self::generate_at(trust_domain, SystemTime::now())
    }

    /// [`generate`](Self::generate), by a clock of the caller's.
    pub fn generate_at(trust_domain: TrustDomain, now: SystemTime) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(SignError)?;
        let root = root_params(&trust_domain, &key, now)?.self_signed(&key).map_err(SignError)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Self::new(trust_domain, vec![root.into()], &key)
    }

    fn new(
        trust_domain: TrustDomain,
        mut chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Self, CaError> {
        // The root is not served, and the leaf takes its place.
        if chain.len() > MAX_CERTIFICATES {
            return Err(ChainError::TooLong { limit: MAX_CERTIFICATES, actual: chain.len() }.into());
        }
        let validity = check_chain(&chain)?;
        let signer = Signer::new(chain.first().ok_or(ChainError::Empty)?, key)?;
        let root = chain.pop().ok_or(ChainError::Empty)?;
        Ok(Self { bundle: Bundle::new(trust_domain, vec![root])?, signer, intermediates: chain, validity })
    }

    /// An SVID for `id`, with a new P-256 key, valid from a minute before `now` until `lifetime` after it, but never
    /// longer than the CA is itself.
    pub fn issue(&self, id: &SpiffeId, lifetime: Duration, now: SystemTime) -> Result<Svid, IssueError> {
        if id.trust_domain() != *self.bundle.trust_domain() {
            return Err(IssueError::TrustDomain {
                expected: self.bundle.trust_domain().clone(),
                actual: id.trust_domain(),
            });
        }
        let (not_before, not_after) = leaf_validity(self.validity, lifetime, now)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(SignError)?;
        let leaf = leaf_params(id, &key, not_before, not_after)
            .and_then(|params| self.signer.sign(&params, &key))
            .map_err(SignError)?;
        let mut chain = vec![leaf];
        chain.extend_from_slice(&self.intermediates);
        Ok(Svid::new(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())?)
    }

    /// The root, for those who should trust what this CA issues.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("bundle", &self.bundle)
            .field("not_after", &self.validity.not_after())
            .finish_non_exhaustive()
    }
}

/// Checks that every certificate may sign and issued the one before it, and says when all of them are valid.
fn check_chain(chain: &[CertificateDer<'_>]) -> Result<Validity, CaError> {
    let mut below: Option<(Certificate<'_>, Validity)> = None;
    for (index, der) in chain.iter().enumerate() {
        let refuse = |source: AuthorityError| CaError::Certificate { index, source };
        let certificate = Certificate::parse(der).map_err(|error| refuse(error.into()))?;
        certificate.check_authority().map_err(refuse)?;
        let validity = match below {
            Some((below, _)) if below.issuer() != certificate.subject() => {
                return Err(CaError::Order { index: index.saturating_sub(1) });
            }
            Some((_, validity)) => validity.intersection(certificate.validity()),
            None => certificate.validity(),
        };
        below = Some((certificate, validity));
    }
    below.map(|(_, validity)| validity).ok_or_else(|| ChainError::Empty.into())
}

/// What stands in a root that we make (X509-SVID §4): it may sign workloads' certificates and nothing else.
fn root_params(
    trust_domain: &TrustDomain,
    key: &KeyPair,
    now: SystemTime,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(new_serial(key));
    // Two roots of one trust domain must differ in name, or a path could be tried with the wrong one.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("inpod root {}", hex(&key_bits(key))));
    params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}")).map_err(SignError)?];
    params.not_before = date(now.checked_sub(BACKDATED)).map_err(SignError)?;
    params.not_after = date(now.checked_add(ROOT_LIFETIME)).map_err(SignError)?;
    Ok(params)
}

/// What stands in a workload's certificate (X509-SVID §4). The subject is empty, so that rcgen marks the names critical.
fn leaf_params(
    id: &SpiffeId,
    key: &KeyPair,
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(new_serial(key));
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(id.as_str())?];
    params.not_before = date(Some(not_before))?;
    params.not_after = date(Some(not_after))?;
    Ok(params)
}

/// From when until when a leaf of this CA is valid. Certificates count in whole seconds, so its end is rounded down.
fn leaf_validity(
    ca: Validity,
    lifetime: Duration,
    now: SystemTime,
) -> Result<(SystemTime, SystemTime), IssueError> {
    if lifetime < Duration::from_secs(1) {
        return Err(IssueError::Lifetime);
    }
    let (not_before, not_after) = (ca.not_before(), ca.not_after());
    if now < not_before {
        return Err(IssueError::NotYetValid { not_before });
    }
    if now > not_after {
        return Err(IssueError::Expired { not_after });
    }
    Ok((
        now.checked_sub(BACKDATED).map_or(not_before, |early| early.max(not_before)),
        now.checked_add(lifetime).map_or(not_after, |late| late.min(not_after)),
    ))
}

fn uri(text: &str) -> Result<SanType, rcgen::Error> {
    Ia5String::try_from(text).map(SanType::URI)
}

fn date(time: Option<SystemTime>) -> Result<OffsetDateTime, rcgen::Error> {
    time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(rcgen::Error::Time)
}

/// A serial number out of the new key's hash: nobody can guess it before the key is made, and no two keys share one.
fn new_serial(key: &KeyPair) -> SerialNumber {
    let mut serial = key_bits(key);
    // Positive and of the same length always (RFC 5280 §4.1.2.2).
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    SerialNumber::from(serial)
}

/// 128 bits of the hash of the public key.
fn key_bits(key: &KeyPair) -> Vec<u8> {
    let mut hash = CertificateParams::default().key_identifier(key);
    hash.truncate(SERIAL_BYTES);
    hash
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
