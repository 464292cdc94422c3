//! What an answer means. Pure: the time comes in.

use std::collections::BTreeMap;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivatePkcs8KeyDer};

use super::error::WorkloadApiError;
use super::message::X509SvidResponse;
use super::pick::Pick;
use crate::bundle::Bundle;
use crate::der::{SEQUENCE, take};
use crate::revocation::{Crls, RevocationPolicy};
use crate::source::material::Material;
use crate::spiffe_id::SpiffeId;
use crate::svid::Svid;
use crate::trust::Trust;

/// The SVID that is picked of `answer`, and whom the answer says to trust, such that peers with that trust believe it at
/// `now`.
///
/// An answer is taken whole or not at all, and takes the place of the one before: what it does not say any more, roots of
/// others or revocations, is taken back (SPIFFE Workload API §4.4).
pub(super) fn read(
    answer: X509SvidResponse,
    pick: &Pick,
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<Material, WorkloadApiError> {
    let count = answer.svids.len();
    if count == 0 {
        return Err(WorkloadApiError::Empty);
    }
    let not_there = || WorkloadApiError::NotThere { count, wanted: pick.clone() };
    let picked = pick.of(answer.svids).ok_or_else(not_there)?;
    let id: SpiffeId = picked.spiffe_id.parse()?;
    if picked.x509_svid_key.is_empty() {
        return Err(WorkloadApiError::Key);
    }
    let svid =
        Svid::new(certificates(&picked.x509_svid)?, PrivatePkcs8KeyDer::from(picked.x509_svid_key).into())?;
    let own = Bundle::new(id.trust_domain(), certificates(&picked.bundle)?)?;
    let trust = trust(own, &answer.federated_bundles, &answer.crl, provider)?;
    let material = Material::with_trust(svid, trust)?;
    material.check_id(&id)?;
    material.check(provider, now)?;
    Ok(material)
}

/// The own trust domain, those that it is federated with, and what is revoked.
fn trust(
    own: Bundle,
    federated: &BTreeMap<String, Vec<u8>>,
    crls: &[Vec<u8>],
    provider: &CryptoProvider,
) -> Result<Trust, WorkloadApiError> {
    let mut bundles = vec![own];
    for (id, roots) in federated {
        bundles.push(federated_bundle(id, roots)?);
    }
    let trust = Trust::new(bundles)?;
    let crls = Crls::new(crls.iter().map(|list| CertificateRevocationListDer::from(list.as_slice())))?;
    let algorithms = provider.signature_verification_algorithms.all;
    Ok(trust.with_crls(&crls, RevocationPolicy::default(), algorithms)?)
}

/// One that has no roots has taken them back, which is no reason to do without all others.
fn federated_bundle(id: &str, roots: &[u8]) -> Result<Bundle, WorkloadApiError> {
    let refuse = |source| WorkloadApiError::Federated { id: id.to_owned(), source };
    let domain = id.parse::<SpiffeId>().ok().filter(|id| id.path().is_empty()).map(|id| id.trust_domain());
    let domain = domain.ok_or_else(|| WorkloadApiError::FederatedId { id: id.to_owned() })?;
    match certificates(roots)? {
        roots if roots.is_empty() => Ok(Bundle::of_nobody(domain)),
        roots => Bundle::new(domain, roots).map_err(refuse),
    }
}

/// The certificates that stand one after the other in `der`. What each of them is, others find out.
fn certificates(mut der: &[u8]) -> Result<Vec<CertificateDer<'static>>, WorkloadApiError> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (_, rest) = take(der, SEQUENCE).ok_or(WorkloadApiError::Certificates)?;
        let (certificate, rest) = der.split_at(der.len().saturating_sub(rest.len()));
        found.push(CertificateDer::from(certificate.to_vec()));
        der = rest;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_cut_where_they_end() {
        let found = certificates(&[0x30, 1, 7, 0x30, 0x81, 2, 8, 9, 0x30, 0]).unwrap();
        let expected: [&[u8]; 3] = [&[0x30, 1, 7], &[0x30, 0x81, 2, 8, 9], &[0x30, 0]];
        assert_eq!(found, expected.map(CertificateDer::from));
        assert_eq!(certificates(&[]).unwrap(), []);
        for malformed in [&[0x30][..], &[0x30, 2, 1], &[0x30, 0, 0], &[0x31, 0], &[0x30, 0x80]] {
            assert!(matches!(certificates(malformed), Err(WorkloadApiError::Certificates)), "{malformed:?}");
        }
    }
}
