//! A new key, and the request to sign it (RFC 2986).

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::ca::SignError;
use crate::spiffe_id::SpiffeId;

/// A P-256 key, and a request in PEM that has the id as its only name.
pub(super) fn request(id: &SpiffeId) -> Result<(PrivateKeyDer<'static>, String), SignError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id.as_str())?)];
    let request = params.serialize_request(&key)?.pem()?;
    Ok((PrivatePkcs8KeyDer::from(key.serialize_der()).into(), request))
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::extensions::{GeneralName, ParsedExtension};
    use x509_parser::prelude::FromDer as _;

    use super::*;

    #[test]
    fn a_request_has_the_id_as_its_only_name() {
        let id: SpiffeId = "spiffe://td/ns/shop/sa/cart".parse().unwrap();
        let (_, pem) = request(&id).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        assert_eq!(pem.label, "CERTIFICATE REQUEST");
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        assert_eq!(request.certification_request_info.subject.iter().count(), 0);
        let names: Vec<_> = request
            .requested_extensions()
            .unwrap()
            .filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(names, [GeneralName::URI("spiffe://td/ns/shop/sa/cart")]);
    }
}
