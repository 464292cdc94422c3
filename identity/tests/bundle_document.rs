//! Bundle documents (SPIFFE Trust Domain and Bundle §4, X509-SVID §6): what is read, skipped and refused, and what is written.

#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod lab;

use std::time::Duration;

use inpod_identity::{AuthorityError, Bundle, BundleDocument, DocumentError, Trust, VerifyError};
use lab::{Authority, domain};
use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::{Value, json};

/// Three roots that openssl made, among keys of other uses; written by another program.
const PUBLISHED: &str = include_str!("data/bundle.json");
const ROOTS: [&[u8]; 3] = [
    include_bytes!("data/rsa-root.pem"),
    include_bytes!("data/ec-root.pem"),
    include_bytes!("data/odd-name-root.pem"),
];

fn parse(json: &Value) -> Result<BundleDocument, DocumentError> {
    BundleDocument::parse(json.to_string().as_bytes())
}

fn count(json: &Value) -> usize {
    parse(json).unwrap().bundle(domain()).unwrap().roots().len()
}

/// The entry of a root, as it is written.
fn entry(root: &Authority) -> Value {
    let json = BundleDocument::new(&root.bundle()).to_json().unwrap();
    serde_json::from_str::<Value>(&json).unwrap()["keys"][0].take()
}

#[test]
fn what_another_program_wrote_is_read_and_written_alike() {
    let document = BundleDocument::parse(PUBLISHED.as_bytes()).unwrap();
    assert_eq!(document.sequence(), Some(12_035_488));
    assert_eq!(document.refresh_interval(), Duration::from_secs(300));
    let bundle = document.bundle(domain()).unwrap();
    let expected = Bundle::from_pem(domain(), &ROOTS.concat()).unwrap();
    assert_eq!(bundle.roots(), expected.roots());

    let mut published: Value = serde_json::from_str(PUBLISHED).unwrap();
    published.as_object_mut().unwrap().remove("something_new");
    published["keys"].as_array_mut().unwrap().retain(|key| key["use"] == "x509-svid");
    let written = document.to_json().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), published);
    assert!(!written.contains("\"kid\""), "X509-SVID §6.1");
}

#[test]
fn every_kind_of_root_reads_back() {
    let roots = [
        Authority::root("p256"),
        Authority::root_of("p384", KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()),
        Authority::root_of("ed25519", KeyPair::generate_for(&PKCS_ED25519).unwrap()),
    ];
    for root in roots {
        let document = BundleDocument::new(&root.bundle()).with_sequence(u64::MAX);
        let document = document.with_refresh_hint(Duration::from_millis(1500));
        let read = BundleDocument::parse(document.to_json().unwrap().as_bytes()).unwrap();
        assert_eq!(read, document);
        assert_eq!(read.refresh_interval(), Duration::from_secs(1));
        let (leaf, _) = root.leaf(|_| {});
        let algorithms = lab::provider().signature_verification_algorithms.all;
        let trust = Trust::from(read.bundle(domain()).unwrap());
        inpod_identity::verify(
            &[leaf],
            trust,
            inpod_identity::Role::Client,
            algorithms,
            lab::unix(lab::now()),
        )
        .unwrap();
    }
}

/// SPIFFE Trust Domain and Bundle §4.2.1, §4.2.2; X509-SVID §6.2.
#[test]
fn keys_for_others_are_skipped() {
    let good = entry(&Authority::root("root"));
    let with = |member: &str, value: Value| {
        let mut other = entry(&Authority::root("other"));
        other[member] = value;
        json!({"keys": [other, good]})
    };
    let without = |member: &str| {
        let mut other = entry(&Authority::root("other"));
        other.as_object_mut().unwrap().remove(member);
        json!({"keys": [good, other]})
    };
    for skipped in [
        with("use", json!("jwt-svid")),
        with("use", json!("X509-SVID")),
        with("use", json!("sig")),
        with("use", json!(5)),
        with("use", json!(null)),
        with("kty", json!("ec")),
        with("kty", json!("AKP")),
        with("kty", json!({})),
        with("x5c", json!([])),
        with("x5c", json!("text")),
        with("x5c", json!(null)),
        without("use"),
        without("kty"),
        without("x5c"),
    ] {
        assert_eq!(count(&skipped), 1, "{skipped}");
    }
    for kept in [with("kid", json!("abc")), with("alg", json!("ES256")), without("x"), without("crv")] {
        assert_eq!(count(&kept), 2, "{kept}");
    }
    // Of several certificates the first one counts, whatever the others are.
    let mut several = good.clone();
    several["x5c"].as_array_mut().unwrap().extend([json!("*"), json!(5)]);
    assert_eq!(count(&json!({"keys": [several]})), 1);
}

/// SPIFFE Trust Domain and Bundle §4.1.3.
#[test]
fn no_usable_key_is_a_bundle_of_nobody() {
    let root = Authority::root("root");
    for empty in
        [json!({"keys": []}), json!({"keys": [{}]}), json!({"keys": [{"kty": "EC", "use": "jwt-svid"}]})]
    {
        let trust = Trust::from(parse(&empty).unwrap().bundle(domain()).unwrap());
        let (leaf, _) = root.leaf(|_| {});
        let algorithms = lab::provider().signature_verification_algorithms.all;
        let found = inpod_identity::verify(
            &[leaf],
            &trust,
            inpod_identity::Role::Server,
            algorithms,
            lab::unix(lab::now()),
        );
        assert_eq!(found, Err(VerifyError::NoRootNow { trust_domain: domain() }));
    }
}

#[test]
fn a_root_that_is_none_is_refused() {
    let good = entry(&Authority::root("root"));
    let with = |value: Value| {
        let mut bad = entry(&Authority::root("bad"));
        bad["x5c"] = json!([value]);
        parse(&json!({"keys": [good, bad]})).unwrap_err()
    };
    let base64 = DocumentError::Base64 { index: 1 };
    for text in [
        json!(5),
        json!("*"),
        json!("AAA A"),
        json!("A\nA="),
        json!("AA==\n-----END CERTIFICATE-----"),
        json!("-----BEGIN CERTIFICATE-----"),
        json!("A"),
    ] {
        assert_eq!(with(text.clone()), base64, "{text}");
    }
    assert!(matches!(
        with(json!("AAAA")),
        DocumentError::Root { index: 1, source: AuthorityError::Malformed(_) }
    ));
    let (leaf, _) = Authority::root("root").leaf(|_| {});
    let leaf: String = lab::pem("x", &leaf).lines().nth(1).unwrap().into();
    assert_eq!(with(json!(leaf)), DocumentError::Root { index: 1, source: AuthorityError::NotAuthority });
}

/// RFC 7517 §4.7.
#[test]
fn the_certificate_has_the_key_that_is_told() {
    let (own, other) = (entry(&Authority::root("own")), entry(&Authority::root("other")));
    for member in ["x", "y"] {
        let mut entry = own.clone();
        entry[member] = other[member].clone();
        assert_eq!(parse(&json!({"keys": [entry]})), Err(DocumentError::OtherKey { index: 0 }));
    }
    for (member, value) in
        [("crv", json!("P-384")), ("kty", json!("RSA")), ("x", json!(7)), ("y", json!(null))]
    {
        let mut entry = own.clone();
        entry[member] = value;
        assert_eq!(parse(&json!({"keys": [entry]})), Err(DocumentError::OtherKey { index: 0 }));
    }
}

#[test]
fn the_shape_is_checked() {
    for bad in [
        "",
        "[]",
        "{}",
        "null",
        r#"{"keys": {}}"#,
        r#"{"keys": null}"#,
        r#"{"keys": [5]}"#,
        r#"{"keys": []} x"#,
        r#"{"keys": [], "keys": []}"#,
        r#"{"keys": [], "spiffe_sequence": -1}"#,
        r#"{"keys": [], "spiffe_sequence": 1.5}"#,
        r#"{"keys": [], "spiffe_sequence": "1"}"#,
        r#"{"keys": [], "spiffe_sequence": 18446744073709551616}"#,
        r#"{"keys": [], "spiffe_refresh_hint": -1}"#,
        r#"{"keys": [], "spiffe_refresh_hint": "a secret that the error must not quote"}"#,
    ] {
        let error = BundleDocument::parse(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::Json { .. }), "{bad}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
    assert!(BundleDocument::parse(br#"{"keys": [], "spiffe_sequence": 18446744073709551615}"#).is_ok());
    let deep = format!("{{\"keys\": [], \"x\": {}}}", "[".repeat(100_000));
    assert!(matches!(BundleDocument::parse(deep.as_bytes()), Err(DocumentError::Json { .. })));
    let limit = 1024 * 1024;
    let large = BundleDocument::parse(&vec![b' '; limit + 1]);
    assert_eq!(large, Err(DocumentError::TooLarge { limit, actual: limit + 1 }));
}

/// SPIFFE Federation §4.1 and §4.2.
#[test]
fn a_lower_sequence_number_is_older() {
    let document = |sequence: Option<u64>| parse(&json!({"keys": [], "spiffe_sequence": sequence})).unwrap();
    for (own, earlier, supersedes) in [
        (Some(2), Some(1), true),
        (Some(2), Some(2), true),
        (Some(1), Some(2), false),
        (None, Some(2), true),
        (Some(1), None, true),
        (None, None, true),
    ] {
        assert_eq!(document(own).supersedes(&document(earlier)), supersedes, "{own:?} after {earlier:?}");
    }
    assert_eq!(document(None).refresh_interval(), Duration::from_secs(300));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn a_changed_document_is_an_error_or_reads_back(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = PUBLISHED.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(document) = BundleDocument::parse(&bytes) {
            let again = BundleDocument::parse(document.to_json().unwrap().as_bytes()).unwrap();
            prop_assert_eq!(again, document);
        }
    }

    #[test]
    fn any_bytes_at_all_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(BundleDocument::parse(&bytes).is_err());
    }
}
