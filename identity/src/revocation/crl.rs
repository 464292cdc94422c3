//! [`Crls`]: revocation lists, read and not yet believed.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateRevocationListDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::error::CrlsError;
use crate::der::{BIT_STRING, SEQUENCE, take, whole_bytes};
use crate::error::PathError;

/// The most lists: a root and an intermediate for each of two dozen trust domains, and their successors.
const MAX_LISTS: usize = 64;

/// The most bytes of all lists together: what a Kubernetes ConfigMap or Secret holds, which is how they are delivered.
const MAX_BYTES: usize = 1024 * 1024;

/// Certificate revocation lists (RFC 5280 §5), as read. [`Trust::with_crls`](crate::Trust::with_crls) puts them in force.
///
/// They are whole lists of version 2 with a next update; delta and partial lists are refused, since taking one for the
/// whole would let revoked certificates in. At most 64 lists and 1 MiB. Cloning shares.
#[derive(Clone, Default)]
pub struct Crls(Arc<[Crl]>);

impl Crls {
    /// These lists, each in DER. None at all are no error: then nothing is revoked.
    pub fn new<'a>(
        lists: impl IntoIterator<Item = CertificateRevocationListDer<'a>>,
    ) -> Result<Self, CrlsError> {
        let lists: Vec<_> = lists.into_iter().collect();
        if lists.len() > MAX_LISTS {
            return Err(CrlsError::TooMany { limit: MAX_LISTS, actual: lists.len() });
        }
        check_bytes(lists.iter().map(|list| list.len()).sum())?;
        let lists = lists.iter().enumerate().map(|(index, list)| Crl::parse(index, list));
        Ok(Self(lists.collect::<Result<_, _>>()?))
    }

    /// Every list in a PEM text: at least one. Other sections are skipped.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CrlsError> {
        // PEM is longer than what it holds by a third, and has lines between.
        check_bytes(pem.len() / 2)?;
        let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| CrlsError::Pem)?;
        match lists.is_empty() {
            true => Err(CrlsError::None),
            false => Self::new(lists),
        }
    }

    pub(super) fn lists(&self) -> &[Crl] {
        &self.0
    }
}

fn check_bytes(actual: usize) -> Result<(), CrlsError> {
    match actual > MAX_BYTES {
        true => Err(CrlsError::TooLarge { limit: MAX_BYTES, actual }),
        false => Ok(()),
    }
}

impl fmt::Debug for Crls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crls").field("lists", &self.0.len()).finish()
    }
}

/// One list.
#[derive(Clone)]
pub(super) struct Crl(Arc<Inner>);

struct Inner {
    list: CertRevocationList<'static>,
    der: Box<[u8]>,
    /// The authority key identifier (RFC 5280 §5.2.1), which tells issuers of one name apart.
    issuer_key: Option<Box<[u8]>>,
    this_update: i64,
    next_update: UnixTime,
    /// The SubjectPublicKeyInfo of whom the signature is, once it was found: it is checked once and not in each handshake.
    signer: OnceLock<Box<[u8]>>,
}

/// What a list makes of a certificate of its issuer.
pub(super) enum Standing {
    Revoked,
    Good,
    Expired(SystemTime),
}

impl Crl {
    fn parse(index: usize, der: &CertificateRevocationListDer<'_>) -> Result<Self, CrlsError> {
        let refuse = |error| CrlsError::Malformed { index, source: PathError(error) };
        let list = CertRevocationList::from(OwnedCertRevocationList::from_der(der).map_err(refuse)?);
        if list.issuing_distribution_point().is_some() {
            return Err(CrlsError::Partial { index });
        }
        let malformed = || refuse(webpki::Error::BadDer);
        let (rest, dates) = CertificateRevocationList::from_der(der).map_err(|_| malformed())?;
        let next_update = dates
            .next_update()
            .and_then(|time| u64::try_from(time.timestamp()).ok())
            .ok_or_else(malformed)?;
        if !rest.is_empty() {
            return Err(malformed());
        }
        let mut extensions = dates.extensions().iter();
        let issuer_key = extensions.find(|extension| extension.oid == OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER);
        Ok(Self(Arc::new(Inner {
            list,
            der: der.as_ref().into(),
            issuer_key: issuer_key.map(|extension| extension.value.into()),
            this_update: dates.last_update().timestamp(),
            next_update: UnixTime::since_unix_epoch(Duration::from_secs(next_update)),
            signer: OnceLock::new(),
        })))
    }

    /// The issuer's name, the contents of its DER.
    pub(super) fn issuer(&self) -> &[u8] {
        self.0.list.issuer()
    }

    /// Whether taking this one for `other` would bring revoked certificates back.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.issuer() == other.issuer()
            && self.0.issuer_key == other.0.issuer_key
            && self.0.this_update < other.0.this_update
    }

    pub(super) fn standing(&self, serial: &[u8], now: UnixTime) -> Standing {
        match self.0.list.find_serial(serial) {
            Ok(None) if now < self.0.next_update => Standing::Good,
            Ok(None) => {
                Standing::Expired(SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.next_update.as_secs()))
            }
            Ok(Some(_)) | Err(_) => Standing::Revoked,
        }
    }

    /// Whether the key of `info`, the contents of a SubjectPublicKeyInfo, signed it.
    pub(super) fn is_signed_by(
        &self,
        info: &[u8],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        if let Some(signer) = self.0.signer.get() {
            return **signer == *info;
        }
        let is_signer = self.check_signature(info, algorithms).unwrap_or(false);
        if is_signer {
            // Another thread may have found the same.
            let _ = self.0.signer.set(info.into());
        }
        is_signer
    }

    /// RFC 5280 §5.1: what is signed, the algorithm, and the signature; with the contents of the key's info.
    fn check_signature(
        &self,
        info: &[u8],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Option<bool> {
        let (key_algorithm, key) = take(info, SEQUENCE)?;
        let (key, _) = take(key, BIT_STRING)?;
        let (list, _) = take(&self.0.der, SEQUENCE)?;
        let (_, after) = take(list, SEQUENCE)?;
        let signed = list.get(..list.len().checked_sub(after.len())?)?;
        let (algorithm, after) = take(after, SEQUENCE)?;
        let (signature, _) = take(after, BIT_STRING)?;
        let (key, signature) = (whole_bytes(key)?, whole_bytes(signature)?);
        let mut candidates = algorithms.iter().filter(|candidate| {
            candidate.signature_alg_id().as_ref() == algorithm
                && candidate.public_key_alg_id().as_ref() == key_algorithm
        });
        Some(candidates.any(|candidate| candidate.verify_signature(key, signed, signature).is_ok()))
    }
}
