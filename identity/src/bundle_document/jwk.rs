//! [`Jwk`]: a public key as members of a JSON Web Key.

use serde_json::{Map, Value};

use crate::base64;
use crate::der::{INTEGER, OBJECT_IDENTIFIER, SEQUENCE, take};
use crate::private_key::{ECDSA, ED25519, RSA, read_public_key_info};

/// The kinds of keys that certificates may have (RFC 7518 §6.1, RFC 8037 §2).
pub(super) const KINDS: [&str; 3] = ["EC", "RSA", "OKP"];

/// NIST's curves: object identifier (RFC 5480 §2.1.1.1), name (RFC 7518 §6.2.1.1), and bytes of a coordinate.
const CURVES: [(&[u8], &str, usize); 3] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "P-256", 32),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], "P-384", 48),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "P-521", 66),
];

/// The members that tell one key: names and values.
pub(super) struct Jwk(Vec<(&'static str, String)>);

impl Jwk {
    /// The key in a SubjectPublicKeyInfo.
    pub(super) fn of(public_key_info: &[u8]) -> Option<Self> {
        let (algorithm, key) = read_public_key_info(public_key_info)?;
        let (kind, parameters) = take(algorithm, OBJECT_IDENTIFIER)?;
        let members = match kind {
            RSA => rsa(key)?,
            ECDSA => ecdsa(parameters, key)?,
            ED25519 => vec![("kty", "OKP".into()), ("crv", "Ed25519".into()), ("x", number(key))],
            _ => return None,
        };
        Some(Self(members))
    }

    /// Whether the members of this kind that `entry` has are this key's. It may leave some out.
    pub(super) fn agrees_with(&self, entry: &Map<String, Value>) -> bool {
        self.0.iter().all(|(name, own)| entry.get(*name).is_none_or(|told| told.as_str() == Some(own)))
    }

    pub(super) fn members(self) -> impl Iterator<Item = (String, Value)> {
        self.0.into_iter().map(|(name, value)| (name.into(), value.into()))
    }
}

/// RFC 7518 §6.3.1, from RFC 8017 §A.1.1.
fn rsa(key: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let (numbers, _) = take(key, SEQUENCE)?;
    let (modulus, numbers) = take(numbers, INTEGER)?;
    let (exponent, _) = take(numbers, INTEGER)?;
    // A zero before a first bit that is set tells that a number is positive, and is no part of it.
    let magnitude = |number: &[u8]| self::number(number.strip_prefix(&[0]).unwrap_or(number));
    Some(vec![("kty", "RSA".into()), ("n", magnitude(modulus)), ("e", magnitude(exponent))])
}

/// RFC 7518 §6.2.1, from a point that is not compressed (SEC 1 §2.3.3).
fn ecdsa(parameters: &[u8], key: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let (curve, _) = take(parameters, OBJECT_IDENTIFIER)?;
    let (_, name, length) = CURVES.into_iter().find(|(oid, ..)| *oid == curve)?;
    let (x, y) = key.strip_prefix(&[4])?.split_at_checked(length)?;
    match y.len() == length {
        true => Some(vec![("kty", "EC".into()), ("crv", name.into()), ("x", number(x)), ("y", number(y))]),
        false => None,
    }
}

fn number(bytes: &[u8]) -> String {
    base64::encode_url(bytes).collect()
}
