//! [`Bundle`]: whose signatures a trust domain's identities rest on.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};

use crate::certificate::{Certificate, Validity};
use crate::error::{BundleError, PathError};
use crate::pem;
use crate::trust_domain::TrustDomain;

/// The roots of one trust domain.
///
/// Every root is a CA that may sign certificates, and there is at least one, but for [`of_nobody`](Self::of_nobody). A
/// bundle speaks for its own trust domain only: a root that signs an id of another one is not believed. A root outside
/// its validity vouches for nobody. At most 64 roots. Cloning shares.
#[derive(Clone)]
pub struct Bundle(Arc<Inner>);

struct Inner {
    trust_domain: TrustDomain,
    roots: Vec<CertificateDer<'static>>,
    /// What path building needs of each root, in the same order.
    anchors: Vec<Anchor>,
}

struct Anchor {
    anchor: TrustAnchor<'static>,
    validity: Validity,
    /// Whether its revocation lists count.
    may_sign_crls: bool,
}

/// The most roots of a trust domain: one in use, its successor, and a generation of each kind of key, many times over.
/// Each one more of the same name is a signature for us to check.
const MAX_ROOTS: usize = 64;

impl Bundle {
    /// The bundle of `trust_domain` with these `roots`.
    pub fn new(trust_domain: TrustDomain, roots: Vec<CertificateDer<'static>>) -> Result<Self, BundleError> {
        if roots.is_empty() {
            return Err(BundleError::Empty);
        }
        if roots.len() > MAX_ROOTS {
            return Err(BundleError::TooMany { limit: MAX_ROOTS, actual: roots.len() });
        }
        let anchors = roots
            .iter()
            .enumerate()
            .map(|(index, root)| read_anchor(index, root))
            .collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner { trust_domain, roots, anchors })))
    }

    /// The bundle of a trust domain that has taken back all its keys: it vouches for nobody (SPIFFE Trust Domain and Bundle
    /// §4.1.3). To have no keys is never an accident: [`new`](Self::new) refuses it.
    pub fn of_nobody(trust_domain: TrustDomain) -> Self {
        Self(Arc::new(Inner { trust_domain, roots: Vec::new(), anchors: Vec::new() }))
    }

    /// The bundle of `trust_domain` with every certificate in a PEM text.
    pub fn from_pem(trust_domain: TrustDomain, pem: &[u8]) -> Result<Self, BundleError> {
        Self::new(trust_domain, pem::certificates(pem)?)
    }

    /// Its roots as PEM.
    pub fn to_pem(&self) -> String {
        self.0.roots.iter().map(pem::encode).collect()
    }

    /// The trust domain that it speaks for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// Its roots.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.0.roots
    }

    /// The roots that are valid at `now`.
    pub(crate) fn anchors(&self, now: UnixTime) -> Vec<TrustAnchor<'_>> {
        let valid = self.0.anchors.iter().filter(|anchor| anchor.validity.contains(now));
        valid.map(|anchor| borrow(&anchor.anchor)).collect()
    }

    /// Every root, with whether its revocation lists count.
    pub(crate) fn crl_signers(&self) -> impl Iterator<Item = (&TrustAnchor<'static>, bool)> {
        self.0.anchors.iter().map(|anchor| (&anchor.anchor, anchor.may_sign_crls))
    }
}

fn read_anchor(index: usize, root: &CertificateDer<'static>) -> Result<Anchor, BundleError> {
    let certificate =
        Certificate::parse(root).map_err(|error| BundleError::Root { index, source: error.into() })?;
    certificate.check_authority().map_err(|source| BundleError::Root { index, source })?;
    let anchor = webpki::anchor_from_trusted_cert(root)
        .map_err(|error| BundleError::Anchor { index, source: PathError(error) })?;
    Ok(Anchor {
        anchor: anchor.to_owned(),
        validity: certificate.validity(),
        may_sign_crls: certificate.may_sign_crls(),
    })
}

/// The anchor without a copy of its bytes.
fn borrow<'a>(anchor: &'a TrustAnchor<'_>) -> TrustAnchor<'a> {
    TrustAnchor {
        subject: anchor.subject.as_ref().into(),
        subject_public_key_info: anchor.subject_public_key_info.as_ref().into(),
        name_constraints: anchor.name_constraints.as_deref().map(Into::into),
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("trust_domain", &self.0.trust_domain)
            .field("roots", &self.0.roots.len())
            .finish()
    }
}
