//! What the file of a private key says of its public half, without a crypto library.
//!
//! An RSA key always says it; an ECDSA key nearly always; an Ed25519 key seldom. What is said must be true of the
//! certificate. What is left unsaid, and whether it is true of the secret half, the crypto provider checks when the key
//! is first used.

use rustls_pki_types::PrivateKeyDer;

#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
use crate::der;
use crate::der::{
    BIT_STRING, EXPLICIT_1, IMPLICIT_1, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, find, take,
    whole_bytes,
};
use crate::error::KeyError;

/// 1.2.840.113549.1.1.1 (RFC 8017 §A.1).
pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1 (RFC 5480 §2.1.1).
pub(crate) const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.3.101.112 (RFC 8410 §3).
pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Checks what `key` says of its public half against a certificate's SubjectPublicKeyInfo.
pub(crate) fn check_matches(key: &PrivateKeyDer<'_>, public_key_info: &[u8]) -> Result<(), KeyError> {
    let (algorithm, public_key) = read_public_key_info(public_key_info).ok_or(KeyError::Mismatch)?;
    let (oid, said) = match key {
        PrivateKeyDer::Pkcs8(key) => read_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Sec1(key) => read_sec1(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs1(key) => read_pkcs1(key.secret_pkcs1_der()),
        _ => None,
    }
    .ok_or(KeyError::Malformed)?;
    let matches = match said {
        Said::Bits(bits) => bits == public_key,
        // An RSA public key is the sequence of the two numbers (RFC 8017 §A.1.1).
        Said::RsaNumbers(numbers) => {
            take(public_key, SEQUENCE).is_some_and(|(own, rest)| own == numbers && rest.is_empty())
        }
        Said::Nothing => true,
    };
    match matches && take(algorithm, OBJECT_IDENTIFIER).is_some_and(|(own, _)| own == oid) {
        true => Ok(()),
        false => Err(KeyError::Mismatch),
    }
}

/// `key` as PKCS#8 (RFC 5958), which every crypto library takes. The certificate's algorithm is the key's own.
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
pub(crate) fn to_pkcs8(key: &PrivateKeyDer<'_>, public_key_info: &[u8]) -> Result<Vec<u8>, KeyError> {
    let bare = match key {
        PrivateKeyDer::Pkcs8(key) => return Ok(key.secret_pkcs8_der().to_vec()),
        PrivateKeyDer::Sec1(key) => key.secret_sec1_der(),
        PrivateKeyDer::Pkcs1(key) => key.secret_pkcs1_der(),
        _ => return Err(KeyError::Malformed),
    };
    let (algorithm, _) = read_public_key_info(public_key_info).ok_or(KeyError::Mismatch)?;
    let version = der::wrap(INTEGER, &[0]);
    let (algorithm, bare) = (der::wrap(SEQUENCE, algorithm), der::wrap(OCTET_STRING, bare));
    Ok(der::wrap(SEQUENCE, &[version, algorithm, bare].concat()))
}

/// What a key says of its public half.
enum Said<'a> {
    Bits(&'a [u8]),
    RsaNumbers(&'a [u8]),
    Nothing,
}

/// The contents of the AlgorithmIdentifier, and the key's bits (RFC 5280 §4.1).
pub(crate) fn read_public_key_info(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (info, _) = take(der, SEQUENCE)?;
    let (algorithm, info) = take(info, SEQUENCE)?;
    let (bits, _) = take(info, BIT_STRING)?;
    Some((algorithm, whole_bytes(bits)?))
}

/// OneAsymmetricKey (RFC 5958 §2).
fn read_pkcs8(der: &[u8]) -> Option<(&[u8], Said<'_>)> {
    let (key, _) = take(der, SEQUENCE)?;
    let (_version, key) = take(key, INTEGER)?;
    let (algorithm, key) = take(key, SEQUENCE)?;
    let (oid, _) = take(algorithm, OBJECT_IDENTIFIER)?;
    let (bare, attributes) = take(key, OCTET_STRING)?;
    match oid {
        RSA => read_pkcs1(bare),
        ECDSA => read_sec1(bare),
        ED25519 => Some((ED25519, find(attributes, IMPLICIT_1).map_or(Some(Said::Nothing), said_bits)?)),
        _ => None,
    }
}

/// ECPrivateKey (RFC 5915 §3).
fn read_sec1(der: &[u8]) -> Option<(&'static [u8], Said<'_>)> {
    let (key, _) = take(der, SEQUENCE)?;
    let (_version, key) = take(key, INTEGER)?;
    let (_secret, optional) = take(key, OCTET_STRING)?;
    let Some(public_key) = find(optional, EXPLICIT_1) else { return Some((ECDSA, Said::Nothing)) };
    let (bits, _) = take(public_key, BIT_STRING)?;
    Some((ECDSA, said_bits(bits)?))
}

/// RSAPrivateKey (RFC 8017 §A.1.2): after the version come the numbers of the public half, as they stand in it.
fn read_pkcs1(der: &[u8]) -> Option<(&'static [u8], Said<'_>)> {
    let (key, _) = take(der, SEQUENCE)?;
    let (_version, numbers) = take(key, INTEGER)?;
    let (_modulus, rest) = take(numbers, INTEGER)?;
    let (_exponent, rest) = take(rest, INTEGER)?;
    Some((RSA, Said::RsaNumbers(numbers.get(..numbers.len().checked_sub(rest.len())?)?)))
}

fn said_bits(bits: &[u8]) -> Option<Said<'_>> {
    whole_bytes(bits).map(Said::Bits)
}
