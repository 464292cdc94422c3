//! PEM (RFC 7468), both ways.

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::base64;
use crate::error::PemError;

/// Every certificate in `pem`, in order: at least one. Other sections are skipped.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(PemError::Malformed)?;
    match found.is_empty() {
        true => Err(PemError::NoCertificate),
        false => Ok(found),
    }
}

/// The first private key in `pem`: PKCS#8, SEC1 or PKCS#1. Other sections are skipped.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        Error::NoItemsFound => PemError::NoPrivateKey,
        error => PemError::Malformed(error),
    })
}

/// The certificate as PEM.
pub(crate) fn encode(certificate: &CertificateDer<'_>) -> String {
    section("CERTIFICATE", certificate)
}

/// The private key as PEM: RFC 7468 section 10 for PKCS#8, RFC 5915 section 4 for SEC1, and OpenSSL's label for PKCS#1.
pub(crate) fn encode_key(key: &PrivateKeyDer<'_>) -> String {
    let label = match key {
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    section(label, key.secret_der())
}

fn section(label: &str, der: &[u8]) -> String {
    const LINE: usize = 64;
    let mut text = String::new();
    for (position, digit) in base64::encode(der).enumerate() {
        if position > 0 && position % LINE == 0 {
            text.push('\n');
        }
        text.push(digit);
    }
    between(label, &text)
}

/// `base64` between the lines that say what it is.
pub(crate) fn between(label: &str, base64: &str) -> String {
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls_pki_types::{PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

    use super::*;

    #[test]
    fn says_what_is_missing() {
        assert!(matches!(certificates(b""), Err(PemError::NoCertificate)));
        assert!(matches!(private_key(b"no PEM at all"), Err(PemError::NoPrivateKey)));
        let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(matches!(certificates(cut), Err(PemError::Malformed(_))));
        let noise = b"-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----\n";
        assert!(matches!(private_key(noise), Err(PemError::Malformed(_))));
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(matches!(private_key(encrypted), Err(PemError::NoPrivateKey)));
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            let certificate = CertificateDer::from(bytes);
            let pem = encode(&certificate);
            prop_assert!(pem.lines().all(|line| line.len() <= 64));
            prop_assert_eq!(certificates(pem.as_bytes()).unwrap(), vec![certificate]);
        }

        #[test]
        fn a_key_reads_back_as_what_it_is(bytes in prop::collection::vec(any::<u8>(), 1..200), kind in 0..3) {
            let key: PrivateKeyDer<'static> = match kind {
                0 => PrivatePkcs8KeyDer::from(bytes).into(),
                1 => PrivateSec1KeyDer::from(bytes).into(),
                _ => PrivatePkcs1KeyDer::from(bytes).into(),
            };
            prop_assert_eq!(private_key(encode_key(&key).as_bytes()).unwrap(), key);
        }
    }
}
