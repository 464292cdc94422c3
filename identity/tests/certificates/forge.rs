//! Makes the certificates of a case, to the byte where it matters: every extension is written here.

use std::time::SystemTime;

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::case::Case;
use crate::lab::{Chain, now};
use crate::vectors::unescape;

const YEAR: i64 = 365 * 24 * 3600;

/// Object identifiers of RFC 5280 §4.2.1.
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const NAMES: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];
const PURPOSES: &[u64] = &[2, 5, 29, 37];
/// Nobody's (RFC 5612's enterprise number for examples).
const UNKNOWN: &[u64] = &[1, 3, 6, 1, 4, 1, 32473, 1];

const SEQUENCE: u8 = 0x30;

/// What a case comes to: what is shown, and the two roots.
pub(crate) struct Forged {
    pub(crate) chain: Chain,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) root: CertificateDer<'static>,
    pub(crate) other: CertificateDer<'static>,
}

struct Made {
    name: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

pub(crate) fn forge(case: &Case) -> Forged {
    let mut made: Vec<Made> = Vec::new();
    for root in ["root", "other", "twin"] {
        let mut draft = Draft::authority(if root == "twin" { "root" } else { root });
        draft.signer = "self".into();
        made.push(change(draft, root, case).make(root, &made));
    }
    let mut below: Vec<&str> = Vec::new();
    for (name, _) in &case.changes {
        if !["root", "other", "leaf"].contains(&name.as_str()) && !below.contains(&name.as_str()) {
            let mut draft = Draft::authority(name);
            draft.signer = (*below.last().unwrap_or(&"root")).into();
            made.push(change(draft, name, case).make(name, &made));
            below.push(name);
        }
    }
    let mut draft = Draft::leaf();
    draft.signer = (*below.last().unwrap_or(&"root")).into();
    let leaf = change(draft, "leaf", case).make("leaf", &made);
    let key = PrivateKeyDer::Pkcs8(leaf.issuer.key().serialize_der().into());
    made.push(leaf);

    let find = |name: &str| {
        made.iter().find(|made| made.name == name).expect("a certificate of the case").certificate.clone()
    };
    let usual =
        || std::iter::once("leaf".into()).chain(below.iter().rev().map(|name| (*name).into())).collect();
    let shown: Vec<String> = case.shown.clone().unwrap_or_else(usual);
    let chain = shown.iter().map(|name| find(name)).collect();
    Forged { chain, key, root: find("root"), other: find("other") }
}

/// A certificate to be.
struct Draft {
    subject: Option<String>,
    valid: (i64, i64),
    key: String,
    signer: String,
    /// Whole names, in DER.
    names: Vec<Vec<u8>>,
    names_are: String,
    usage: String,
    purposes: String,
    basic: String,
    others: Vec<CustomExtension>,
}

impl Draft {
    fn authority(name: &str) -> Self {
        Self {
            subject: Some(name.into()),
            valid: (-YEAR, YEAR),
            key: "p256".into(),
            signer: String::new(),
            names: Vec::new(),
            names_are: "plain".into(),
            usage: "keyCertSign cRLSign".into(),
            purposes: "none".into(),
            basic: "ca".into(),
            others: Vec::new(),
        }
    }

    fn leaf() -> Self {
        Self {
            subject: None,
            valid: (-3600, 3600),
            names: vec![name("uri", "spiffe://cluster.local/ns/shop/sa/cart")],
            names_are: "critical".into(),
            usage: "digitalSignature".into(),
            purposes: "server client".into(),
            basic: "none".into(),
            ..Self::authority("")
        }
    }

    fn make(self, name: &str, made: &[Made]) -> Made {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(subject) = &self.subject {
            params.distinguished_name.push(DnType::CommonName, subject.as_str());
        }
        params.not_before = at(self.valid.0).into();
        params.not_after = at(self.valid.1).into();
        params.custom_extensions = self.extensions();
        let key = new_key(&self.key);
        let certificate = match made.iter().find(|made| made.name == self.signer) {
            Some(signer) => params.signed_by(&key, &signer.issuer),
            None => params.self_signed(&key),
        };
        let certificate = certificate.expect("a certificate").into();
        Made { name: name.into(), certificate, issuer: Issuer::new(params, key) }
    }

    fn extensions(&self) -> Vec<CustomExtension> {
        let mut extensions = self.others.clone();
        let has_names = !self.names.is_empty() || self.names_are == "critical";
        if has_names && self.names_are != "none" {
            let mut content = der(SEQUENCE, &self.names.concat());
            if self.names_are == "cut" {
                content.pop();
            }
            let extension = extension(NAMES, self.names_are != "plain", content);
            extensions.push(extension.clone());
            if self.names_are == "twice" {
                extensions.push(extension);
            }
        }
        if self.usage != "none" {
            extensions.push(extension(KEY_USAGE, !self.usage.ends_with("plain"), usage_bits(&self.usage)));
        }
        if self.purposes != "none" {
            let purposes: Vec<u8> = self.purposes.split(' ').flat_map(purpose).collect();
            let is_critical = self.purposes.ends_with("critical");
            extensions.push(extension(PURPOSES, is_critical, der(SEQUENCE, &purposes)));
        }
        if self.basic != "none" {
            extensions.push(extension(BASIC_CONSTRAINTS, !self.basic.ends_with("plain"), basic(&self.basic)));
        }
        extensions
    }
}

/// `draft` with what `case` says of the certificate with `name`.
fn change(mut draft: Draft, certificate: &str, case: &Case) -> Draft {
    for (_, change) in case.changes.iter().filter(|(name, change)| name == certificate && !change.is_empty())
    {
        let (what, value) = change.split_once(' ').unwrap_or((change, ""));
        match what {
            "uri" => {
                let rest = draft.names.split_off(draft.names.len().min(1));
                draft.names = if value == "-" { rest } else { [vec![name("uri", value)], rest].concat() };
            }
            "also" | "first" => {
                let (kind, value) = value.split_once(' ').expect("a kind and a value");
                let at = if what == "first" { 0 } else { draft.names.len() };
                draft.names.insert(at, name(kind, value));
            }
            "names" => match value.strip_prefix("filled ") {
                Some(count) => {
                    draft
                        .names
                        .resize_with(count.parse().expect("a number"), || name("dns", "cart.shop.svc"));
                }
                None => draft.names_are = value.into(),
            },
            "usage" => draft.usage = value.into(),
            "purposes" => draft.purposes = value.into(),
            "basic" => draft.basic = value.into(),
            "subject" => draft.subject = (value != "-").then(|| unescape(value)),
            "valid" => {
                let (from, to) = value.split_once(' ').expect("two times");
                draft.valid = (from.parse().expect("seconds"), to.parse().expect("seconds"));
            }
            "key" => draft.key = value.into(),
            "signer" => draft.signer = value.into(),
            "extension" => draft.others.push(extension(UNKNOWN, value == "critical", vec![5, 0])),
            "constraint" => {
                let subtree = der(SEQUENCE, &der(0x86, value.as_bytes()));
                let content = der(SEQUENCE, &der(0xa0, &subtree));
                draft.others.push(extension(NAME_CONSTRAINTS, true, content));
            }
            other => unreachable!("{case}: nothing is known of {other}"),
        }
    }
    draft
}

fn at(seconds: i64) -> SystemTime {
    let distance = std::time::Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { now() - distance } else { now() + distance }
}

fn new_key(kind: &str) -> KeyPair {
    let algorithm = match kind {
        "p256" => &PKCS_ECDSA_P256_SHA256,
        "p384" => &PKCS_ECDSA_P384_SHA384,
        "ed25519" => &PKCS_ED25519,
        "rsa2048" => {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rsa-root.pkcs8.pem");
            let key = PrivateKeyDer::from_pem_file(file).expect("a key");
            return KeyPair::try_from(&key).expect("a key");
        }
        other => unreachable!("no kind of key is {other}"),
    };
    KeyPair::generate_for(algorithm).expect("a key")
}

fn extension(oid: &[u64], is_critical: bool, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(is_critical);
    extension
}

/// GeneralName (RFC 5280 §4.2.1.6).
fn name(kind: &str, value: &str) -> Vec<u8> {
    let text = unescape(value);
    match kind {
        "other" => {
            // [0] of a type and, explicitly, a UTF8String.
            let value = der(0xa0, &der(0x0c, text.as_bytes()));
            der(0xa0, &[vec![0x06, 0x03, 0x2a, 0x03, 0x04], value].concat())
        }
        "email" => der(0x81, text.as_bytes()),
        "dns" => der(0x82, text.as_bytes()),
        "uri" => der(0x86, text.as_bytes()),
        "ip" => match text.parse().expect("an address") {
            std::net::IpAddr::V4(ip) => der(0x87, &ip.octets()),
            std::net::IpAddr::V6(ip) => der(0x87, &ip.octets()),
        },
        "id" => der(0x88, &[0x2b, 0x06, 0x01, 0x04, 0x01]),
        "raw" => (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal"))
            .collect(),
        other => unreachable!("no kind of name is {other}"),
    }
}

/// KeyUsage (RFC 5280 §4.2.1.3): a string of bits without zeros at its end.
fn usage_bits(words: &str) -> Vec<u8> {
    const BITS: [&str; 7] = [
        "digitalSignature",
        "nonRepudiation",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
    ];
    let set = words.split(' ').filter_map(|word| BITS.iter().position(|bit| *bit == word));
    let byte = set.fold(0_u8, |byte, bit| byte | 0x80 >> bit);
    match byte {
        0 => der(0x03, &[0]),
        byte => der(0x03, &[u8::try_from(byte.trailing_zeros()).expect("at most seven"), byte]),
    }
}

/// KeyPurposeId (RFC 5280 §4.2.1.12).
fn purpose(word: &str) -> Vec<u8> {
    match word {
        "server" => vec![6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1],
        "client" => vec![6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2],
        "code" => vec![6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 3],
        "email" => vec![6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 4],
        "any" => vec![6, 4, 0x55, 0x1d, 0x25, 0],
        _ => Vec::new(),
    }
}

/// BasicConstraints (RFC 5280 §4.2.1.9): false is said by saying nothing.
fn basic(words: &str) -> Vec<u8> {
    let mut words = words.split(' ');
    match words.next() {
        Some("ca") => der(SEQUENCE, &[1, 1, 0xff]),
        Some("path") => {
            let length = words.next().and_then(|word| word.parse().ok()).expect("a length");
            der(SEQUENCE, &[1, 1, 0xff, 2, 1, length])
        }
        _ => der(SEQUENCE, &[]),
    }
}

fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let head = match length {
        0..=0x7f => vec![tag, length as u8],
        0x80..=0xff => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&head, contents].concat()
}
