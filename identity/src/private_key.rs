//! What the file of a private key says of its public half, without a crypto library.
//!
//! An RSA key always says it; an ECDSA key nearly always; an Ed25519 key seldom. What is said must be true of the
//! certificate. What is left unsaid, and whether it is true of the secret half, the crypto provider checks when the key is first used.

use rustls_pki_types::PrivateKeyDer;

use crate::error::KeyError;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[1] EXPLICIT BIT STRING`, an ECDSA key's public half (RFC 5915 §3).
const EXPLICIT_1: u8 = 0xa1;
/// `[1] IMPLICIT BIT STRING`, any key's public half (RFC 5958 §2).
const IMPLICIT_1: u8 = 0x81;

/// 1.2.840.113549.1.1.1 (RFC 8017 §A.1).
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1 (RFC 5480 §2.1.1).
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.3.101.112 (RFC 8410 §3).
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

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
#[cfg(feature = "ca")]
pub(crate) fn to_pkcs8(key: &PrivateKeyDer<'_>, public_key_info: &[u8]) -> Result<Vec<u8>, KeyError> {
    let bare = match key {
        PrivateKeyDer::Pkcs8(key) => return Ok(key.secret_pkcs8_der().to_vec()),
        PrivateKeyDer::Sec1(key) => key.secret_sec1_der(),
        PrivateKeyDer::Pkcs1(key) => key.secret_pkcs1_der(),
        _ => return Err(KeyError::Malformed),
    };
    let (algorithm, _) = read_public_key_info(public_key_info).ok_or(KeyError::Mismatch)?;
    let version = wrap(INTEGER, &[0]);
    Ok(wrap(SEQUENCE, &[version, wrap(SEQUENCE, algorithm), wrap(OCTET_STRING, bare)].concat()))
}

/// What a key says of its public half.
enum Said<'a> {
    Bits(&'a [u8]),
    RsaNumbers(&'a [u8]),
    Nothing,
}

/// The contents of the AlgorithmIdentifier, and the key's bits (RFC 5280 §4.1).
fn read_public_key_info(der: &[u8]) -> Option<(&[u8], &[u8])> {
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

/// The contents of a bit string of whole bytes, as every key's is.
fn whole_bytes(bits: &[u8]) -> Option<&[u8]> {
    match bits.split_first() {
        Some((0, bytes)) => Some(bytes),
        _ => None,
    }
}

/// The contents of the first element with `tag` among those in a row.
fn find(mut der: &[u8], tag: u8) -> Option<&[u8]> {
    while let Some((&first, _)) = der.split_first() {
        let (contents, rest) = take(der, first)?;
        if first == tag {
            return Some(contents);
        }
        der = rest;
    }
    None
}

/// The contents of the element with `tag` that `der` begins with, and what follows it (X.690 §8.1).
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, der) = der.split_first()?;
    let (&length, der) = der.split_first()?;
    if first != tag {
        return None;
    }
    let (length, der) = match length {
        0..=0x7f => (usize::from(length), der),
        // Two bytes hold the length of any key that there is.
        0x81 | 0x82 => {
            let (length, der) = der.split_at_checked(usize::from(length & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), der)
        }
        _ => return None,
    };
    der.split_at_checked(length)
}

/// `contents` as an element with `tag` (X.690 §10.1: the shortest length).
#[cfg(feature = "ca")]
fn wrap(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let significant = length.get(zeros..).unwrap_or_default();
    let mut der = vec![tag];
    if contents.len() > 0x7f {
        der.extend(u8::try_from(significant.len()).map(|count| 0x80 | count));
    }
    if significant.is_empty() {
        der.push(0);
    }
    der.extend(significant);
    der.extend(contents);
    der
}
