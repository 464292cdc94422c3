//! What an answer means. Pure: the time comes in.

use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::error::WorkloadApiError;
use super::message::X509SvidResponse;
use super::pick::Pick;
use crate::bundle::Bundle;
use crate::der::{SEQUENCE, take};
use crate::source::material::Material;
use crate::spiffe_id::SpiffeId;
use crate::svid::Svid;

/// The SVID that is picked of `answer`, with its roots, such that peers with these roots believe it at `now`.
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
    let material = Material::new(svid, Bundle::new(id.trust_domain(), certificates(&picked.bundle)?)?)?;
    material.check_id(&id)?;
    material.check(provider, now)?;
    Ok(material)
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
