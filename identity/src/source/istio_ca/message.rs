//! The messages of `istio.v1.auth.IstioCertificateService`, with the fields that are used here.

use std::collections::HashMap;
use std::time::Duration;

use crate::spiffe_id::SpiffeId;

/// The method.
pub(super) const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// The key in the metadata that says for whom a node's proxy asks (istiod reads it if the caller may ask for others).
const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";

/// `IstioCertificateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CertificateRequest {
    /// PEM.
    #[prost(string, tag = "1")]
    csr: String,
    /// Seconds.
    #[prost(int64, tag = "3")]
    validity_duration: i64,
    #[prost(message, optional, tag = "4")]
    metadata: Option<Struct>,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CertificateResponse {
    /// PEM: the leaf, intermediates, and last the roots, which may be several in one text.
    #[prost(string, repeated, tag = "1")]
    pub(super) cert_chain: Vec<String>,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
struct Struct {
    #[prost(map = "string, message", tag = "1")]
    fields: HashMap<String, Value>,
}

/// `google.protobuf.Value`, of one kind.
#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(string, optional, tag = "3")]
    string_value: Option<String>,
}

impl CertificateRequest {
    pub(super) fn new(csr: String, lifetime: Duration, impersonated: Option<&SpiffeId>) -> Self {
        let validity_duration = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let metadata = impersonated.map(|id| {
            let value = Value { string_value: Some(id.to_string()) };
            Struct { fields: HashMap::from([(IMPERSONATED_IDENTITY.to_owned(), value)]) }
        });
        Self { csr, validity_duration, metadata }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_request_has_the_fields_of_the_protocol() {
        let id: SpiffeId = "spiffe://td/x".parse().unwrap();
        let bytes = CertificateRequest::new("C".into(), Duration::from_secs(5), Some(&id)).encode_to_vec();
        let value = [&[0x1a, 13][..], b"spiffe://td/x"].concat();
        let entry = [&[0x0a, 20][..], b"ImpersonatedIdentity", &[0x12, 15], &value].concat();
        let metadata = [&[0x0a, 39][..], &entry].concat();
        assert_eq!(bytes, [&[0x0a, 1, b'C', 0x18, 5, 0x22, 41][..], &metadata].concat());
        let bytes = CertificateRequest::new("C".into(), Duration::from_secs(5), None).encode_to_vec();
        assert_eq!(bytes, [0x0a, 1, b'C', 0x18, 5]);
    }
}
