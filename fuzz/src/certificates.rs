//! Targets of `identity` that take certificates and what belongs to them.

use std::time::Duration;

use identity::{
    Bundle, BundleDocument, Crls, RevocationPolicy, Role, Svid, Trust, TrustDomain, UnknownStatus,
    VerifyError, verify,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};

/// A root, a leaf that it signed, and the list in which it revokes the leaf.
pub(crate) const ROOT: &[u8] = include_bytes!("../seeds/root.der");
/// The root as PEM.
pub(crate) const ROOT_PEM: &[u8] = include_bytes!("../seeds/root.pem");
/// The leaf, of serial number 7.
pub(crate) const LEAF: &[u8] = include_bytes!("../seeds/leaf.der");
/// The list.
pub(crate) const CRL: &[u8] = include_bytes!("../seeds/crl.der");
/// The list as PEM.
pub(crate) const CRL_PEM: &[u8] = include_bytes!("../seeds/crl.pem");

/// Only the leaf is believed, and a certificate is never its own root.
pub(crate) fn leaf(bytes: &[u8]) {
    let chain = [CertificateDer::from(bytes)];
    if let Some(trust) = trust(ROOT) {
        match believed(&chain, &trust) {
            Ok(()) => assert!(bytes == LEAF, "another certificate is believed"),
            Err(error) => assert_short(&error),
        }
    }
    let key = PrivateKeyDer::Pkcs8(bytes.to_vec().into());
    let _ = Svid::new(vec![CertificateDer::from(bytes.to_vec())], key);
}

/// The leaf is believed by no other root than the one of its key.
pub(crate) fn root(bytes: &[u8]) {
    let Some(trust) = trust(bytes) else { return };
    if believed(&[CertificateDer::from(LEAF)], &trust).is_ok() {
        // What its own signature covers does not matter: it is trusted for being there. Its key does: a bit string of 65
        // bytes, a point that is not compressed.
        let key = ROOT.windows(68).find(|window| window.starts_with(&[3, 66, 0, 4]));
        assert!(
            key.is_some_and(|key| bytes.windows(68).any(|window| window == key)),
            "a root of another key"
        );
    }
}

/// An intermediate of any bytes does no harm.
pub(crate) fn intermediate(bytes: &[u8]) {
    if let Some(trust) = trust(ROOT) {
        let chain = [CertificateDer::from(LEAF), CertificateDer::from(bytes)];
        let _ = believed(&chain, &trust);
    }
}

/// What is taken is written back as what is the same.
pub(crate) fn bundle_pem(bytes: &[u8]) {
    let Some(domain) = domain() else { return };
    if let Ok(bundle) = Bundle::from_pem(domain.clone(), bytes) {
        let again = Bundle::from_pem(domain, bundle.to_pem().as_bytes());
        assert!(again.is_ok_and(|again| again.roots() == bundle.roots()), "{bundle:?} is written as another");
    }
}

/// What is taken is written back as what is the same.
pub(crate) fn bundle_document(bytes: &[u8]) {
    let Ok(document) = BundleDocument::parse(bytes) else { return };
    let again = document.to_json().ok().and_then(|json| BundleDocument::parse(json.as_bytes()).ok());
    assert!(again.as_ref() == Some(&document), "{document:?} is written as another");
    if let Some(domain) = domain() {
        let _ = document.bundle(domain);
    }
}

/// Where everyone must be on a list that was signed, no bytes let the revoked leaf in.
pub(crate) fn crl(bytes: &[u8]) {
    let lists = [
        Crls::new([CertificateRevocationListDer::from(bytes)]),
        Crls::from_pem(bytes),
        CertificateRevocationListDer::from_pem_slice(bytes)
            .map_or_else(|_| Ok(Crls::default()), |list| Crls::new([list])),
    ];
    let policy = RevocationPolicy { unknown: UnknownStatus::Refuse, ..RevocationPolicy::default() };
    for crls in lists.into_iter().flatten() {
        let trust = trust(ROOT).and_then(|trust| trust.with_crls(&crls, policy, algorithms()).ok());
        if let Some(trust) = trust {
            let found = believed(&[CertificateDer::from(LEAF)], &trust);
            assert!(matches!(found, Err(VerifyError::Revocation(_))), "{found:?}");
        }
    }
}

fn trust(root: &[u8]) -> Option<Trust> {
    Bundle::new(domain()?, vec![CertificateDer::from(root.to_vec())]).ok().map(Trust::from)
}

fn domain() -> Option<TrustDomain> {
    "cluster.local".parse().ok()
}

fn believed(chain: &[CertificateDer<'_>], trust: &Trust) -> Result<(), VerifyError> {
    // 2030, when all seeds are valid.
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_893_456_000));
    verify(chain, trust, Role::Client, algorithms(), now).map(|id| assert!(!id.path().is_empty()))
}

fn algorithms() -> &'static [&'static dyn rustls_pki_types::SignatureVerificationAlgorithm] {
    use std::sync::LazyLock;
    static PROVIDER: LazyLock<std::sync::Arc<rustls::crypto::CryptoProvider>> =
        LazyLock::new(identity::tls::aws_lc_rs);
    PROVIDER.signature_verification_algorithms.all
}

/// What is told of a refusal fits in a line of a log.
fn assert_short(error: &dyn std::error::Error) {
    let text = error.to_string();
    assert!(text.len() < 500 && !text.contains(char::is_control), "{text:?}");
    if let Some(cause) = error.source() {
        assert_short(cause);
    }
}
