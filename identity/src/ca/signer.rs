//! [`Signer`]: the key of a certificate, signing in its name.

use rcgen::{
    CertificateParams, DistinguishedName, Error, Issuer, KeyIdMethod, KeyPair, PublicKeyData,
    SignatureAlgorithm, SigningKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::error::{CaError, SignError};
use crate::certificate::Certificate;
use crate::der::{BIT_STRING, EXPLICIT_0, INTEGER, SEQUENCE, take, wrap};
use crate::error::KeyError;
use crate::private_key;

/// Signs what rcgen drafts.
///
/// The issuer's name is copied, byte for byte, from the certificate that it is the subject of: paths are built by
/// comparing bytes. rcgen would understand the name and write it anew, which loses what it does not know (two
/// components of one kind, such as the DC=.., DC=.. of a directory's CA).
pub(super) struct Signer {
    key: KeyPair,
    /// The subject of the signing certificate, in DER.
    name: Vec<u8>,
    /// How issued certificates point at the signing key: by the identifier that its certificate has, or by its hash.
    key_identifier: KeyIdMethod,
}

impl Signer {
    pub(super) fn new(certificate: &CertificateDer<'_>, key: &PrivateKeyDer<'_>) -> Result<Self, CaError> {
        let certificate = Certificate::parse(certificate)
            .map_err(|error| CaError::Certificate { index: 0, source: error.into() })?;
        private_key::check_matches(key, certificate.public_key_info())?;
        let key = private_key::to_pkcs8(key, certificate.public_key_info())?;
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key)).map_err(SignError)?;
        // The file's word for its public half is not enough: what signs must be what the certificate names.
        if key.subject_public_key_info() != certificate.public_key_info() {
            return Err(KeyError::Mismatch.into());
        }
        let key_identifier = match certificate.key_identifier() {
            Some(identifier) => KeyIdMethod::PreSpecified(identifier.to_vec()),
            None => KeyIdMethod::Sha256,
        };
        Ok(Self { key, name: certificate.subject().to_vec(), key_identifier })
    }

    /// The certificate of `subject_key` that `params` describe.
    pub(super) fn sign(
        &self,
        params: &CertificateParams,
        subject_key: &KeyPair,
    ) -> Result<CertificateDer<'static>, Error> {
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = DistinguishedName::new();
        issuer.key_identifier_method = self.key_identifier.clone();
        let draft = params.signed_by(subject_key, &Issuer::from_params(&issuer, Drafting(&self.key)))?;
        let (head, tail, algorithm) = cut_at_issuer(draft.der()).ok_or(Error::CouldNotParseCertificate)?;
        let signed = wrap(SEQUENCE, &[head, &self.name, tail].concat());
        // A bit string begins with how many bits of its last byte are unused: none.
        let signature = [&[0], &self.key.sign(&signed)?[..]].concat();
        let parts = [signed, wrap(SEQUENCE, algorithm), wrap(BIT_STRING, &signature)];
        Ok(wrap(SEQUENCE, &parts.concat()).into())
    }
}

/// Of a certificate (RFC 5280 §4.1): what is to be signed, before and after the issuer's name, and the contents of the
/// signature's AlgorithmIdentifier.
fn cut_at_issuer(certificate: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (certificate, _) = take(certificate, SEQUENCE)?;
    let (signed, signature) = take(certificate, SEQUENCE)?;
    let (algorithm, _) = take(signature, SEQUENCE)?;
    let (_version, rest) = take(signed, EXPLICIT_0)?;
    let (_serial, rest) = take(rest, INTEGER)?;
    let (_algorithm, at_issuer) = take(rest, SEQUENCE)?;
    let (_issuer, tail) = take(at_issuer, SEQUENCE)?;
    let head = signed.get(..signed.len().checked_sub(at_issuer.len())?)?;
    Some((head, tail, algorithm))
}

/// A key that signs drafts with nothing: what it would sign is not finished, and signing is what takes time.
struct Drafting<'a>(&'a KeyPair);

impl PublicKeyData for Drafting<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Drafting<'_> {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }
}
