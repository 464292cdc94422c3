//! [`BundleDocument`]: a bundle as it is published (SPIFFE Trust Domain and Bundle §4).

mod error;
mod jwk;

use std::fmt;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::error::DocumentError;
use self::jwk::Jwk;
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::error::{AuthorityError, BundleError};
use crate::pem;
use crate::trust_domain::TrustDomain;

/// The largest document: sixty-four roots with RSA-4096 keys, told twice each, take half of it.
const MAX_BYTES: usize = 1024 * 1024;

/// How often to look for a newer document that does not say how often (SPIFFE Federation §4.1).
const DEFAULT_REFRESH: Duration = Duration::from_secs(5 * 60);

/// A SPIFFE bundle document: the roots of a trust domain, as a JSON Web Key Set (RFC 7517).
///
/// It does not say of which trust domain it is: that is for whoever fetched it to know, by how it was fetched (SPIFFE
/// Federation §5.1). Keys for other uses than X.509-SVIDs are skipped, and not kept.
///
/// ```
/// # #[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use inpod_identity::{BundleDocument, Ca};
///
/// let ca = Ca::generate("example.org".parse()?)?;
/// let json = BundleDocument::new(ca.bundle()).with_sequence(1).to_json()?;
/// let bundle = BundleDocument::parse(json.as_bytes())?.bundle("example.org".parse()?)?;
/// assert_eq!(bundle.roots(), ca.bundle().roots());
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring"))))]
/// # fn main() {}
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BundleDocument {
    sequence: Option<u64>,
    refresh_hint: Option<Duration>,
    roots: Vec<CertificateDer<'static>>,
}

impl BundleDocument {
    /// The roots of `bundle`.
    pub fn new(bundle: &Bundle) -> Self {
        Self { sequence: None, refresh_hint: None, roots: bundle.roots().to_vec() }
    }

    /// This, with a sequence number, which grows with every change (§4.1.1).
    #[must_use]
    pub fn with_sequence(self, sequence: u64) -> Self {
        Self { sequence: Some(sequence), ..self }
    }

    /// This, with how often to look for a newer one, in whole seconds (§4.1.2).
    #[must_use]
    pub fn with_refresh_hint(self, hint: Duration) -> Self {
        Self { refresh_hint: Some(Duration::from_secs(hint.as_secs())), ..self }
    }

    /// Reads a document of at most 1 MiB.
    ///
    /// Of each key: one of another use, of a kind that is not known, or without a certificate is skipped (§4.2.1, §4.2.2,
    /// X509-SVID §6.2). One whose certificate cannot be read, is no CA, or has another key than the entry tells is an error.
    /// No usable key is none: it says that the trust domain has taken back what it published (§4.1.3).
    pub fn parse(json: &[u8]) -> Result<Self, DocumentError> {
        if json.len() > MAX_BYTES {
            return Err(DocumentError::TooLarge { limit: MAX_BYTES, actual: json.len() });
        }
        let document: Document = serde_json::from_slice(json).map_err(|error| DocumentError::json(&error))?;
        let keys = document.keys.iter().enumerate();
        let roots =
            keys.filter_map(|(index, key)| read_key(index, key).transpose()).collect::<Result<_, _>>()?;
        let refresh_hint = document.spiffe_refresh_hint.map(Duration::from_secs);
        Ok(Self { sequence: document.spiffe_sequence, refresh_hint, roots })
    }

    /// The document as JSON.
    pub fn to_json(&self) -> Result<String, DocumentError> {
        let keys = self.roots.iter().enumerate().map(|(index, root)| write_key(index, root));
        let document = Document {
            spiffe_sequence: self.sequence,
            spiffe_refresh_hint: self.refresh_hint.map(|hint| hint.as_secs()),
            keys: keys.collect::<Result<_, _>>()?,
        };
        serde_json::to_string(&document).map_err(|error| DocumentError::json(&error))
    }

    /// Its bundle, which is of `trust_domain`. If there is no root in it, the bundle vouches for nobody.
    pub fn bundle(&self, trust_domain: TrustDomain) -> Result<Bundle, BundleError> {
        match self.roots.is_empty() {
            true => Ok(Bundle::of_nobody(trust_domain)),
            false => Bundle::new(trust_domain, self.roots.clone()),
        }
    }

    /// Its sequence number, if it has one.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// How often to look for a newer one: as it says, or every five minutes.
    pub fn refresh_interval(&self) -> Duration {
        self.refresh_hint.unwrap_or(DEFAULT_REFRESH)
    }

    /// Whether this document, fetched after `earlier`, should take its place: unless both tell a sequence number and this
    /// one's is lower (SPIFFE Federation §4.2).
    pub fn supersedes(&self, earlier: &Self) -> bool {
        match (self.sequence, earlier.sequence) {
            (Some(own), Some(earlier)) => own >= earlier,
            _ => true,
        }
    }
}

/// The outermost object. Members that are not named here are skipped.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_refresh_hint: Option<u64>,
    keys: Vec<Map<String, Value>>,
}

/// The root in one entry, if there is one (X509-SVID §6.2).
fn read_key(
    index: usize,
    key: &Map<String, Value>,
) -> Result<Option<CertificateDer<'static>>, DocumentError> {
    let text = |member| key.get(member).and_then(Value::as_str);
    let is_known = text("kty").is_some_and(|kind| jwk::KINDS.contains(&kind));
    let first = key.get("x5c").and_then(Value::as_array).and_then(|certificates| certificates.first());
    let (true, Some("x509-svid"), Some(first)) = (is_known, text("use"), first) else { return Ok(None) };
    let root = first.as_str().and_then(decode).ok_or(DocumentError::Base64 { index })?;
    let refuse = |source: AuthorityError| DocumentError::Root { index, source };
    let certificate = Certificate::parse(&root).map_err(|error| refuse(error.into()))?;
    certificate.check_authority().map_err(refuse)?;
    // RFC 7517 §4.7: the certificate's key is the one that the other members tell.
    let own = Jwk::of(certificate.public_key_info()).ok_or(DocumentError::UnknownKey { index })?;
    match own.agrees_with(key) {
        true => Ok(Some(root)),
        false => Err(DocumentError::OtherKey { index }),
    }
}

/// The entry of one root (X509-SVID §6.1).
fn write_key(index: usize, root: &CertificateDer<'_>) -> Result<Map<String, Value>, DocumentError> {
    let refuse = |source: AuthorityError| DocumentError::Root { index, source };
    let certificate = Certificate::parse(root).map_err(|error| refuse(error.into()))?;
    let key = Jwk::of(certificate.public_key_info()).ok_or(DocumentError::UnknownKey { index })?;
    let mut entry = Map::from_iter([
        ("use".into(), "x509-svid".into()),
        ("x5c".into(), vec![crate::base64::encode(root).collect::<String>()].into()),
    ]);
    entry.extend(key.members());
    Ok(entry)
}

/// The certificate that `text` is the Base64 of. PEM is Base64 between two lines, and its decoder is a well-kept one.
fn decode(text: &str) -> Option<CertificateDer<'static>> {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    match text.bytes().all(is_digit) {
        true => CertificateDer::from_pem_slice(pem::between("CERTIFICATE", text).as_bytes()).ok(),
        false => None,
    }
}

impl fmt::Debug for BundleDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleDocument")
            .field("sequence", &self.sequence)
            .field("refresh_hint", &self.refresh_hint)
            .field("roots", &self.roots.len())
            .finish()
    }
}
