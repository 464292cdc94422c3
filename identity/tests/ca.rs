//! The embedded CA: what it loads, what it refuses and how it says so, and what it issues.

#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod lab;

use std::error::Error;
use std::time::{Duration, SystemTime};

use inpod_identity::{Bundle, Ca, CaError, IssueError, KeyError, Role, SpiffeId, Svid, TrustDomain, verify};
use lab::{Authority, HOUR, domain, id, now, pem, providers, unix};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, PKCS_ED25519};
use x509_parser::prelude::{FromDer, X509Certificate};

const RSA_ROOT: &[u8] = include_bytes!("data/rsa-root.pem");
const RSA_PKCS8: &[u8] = include_bytes!("data/rsa-root.pkcs8.pem");
const RSA_PKCS1: &[u8] = include_bytes!("data/rsa-root.pkcs1.pem");
const EC_ROOT: &[u8] = include_bytes!("data/ec-root.pem");
const EC_SEC1: &[u8] = include_bytes!("data/ec-root.sec1.pem");
const ODD_NAME_ROOT: &[u8] = include_bytes!("data/odd-name-root.pem");
const ODD_NAME_KEY: &[u8] = include_bytes!("data/odd-name-root.pkcs8.pem");

/// What every provider makes of an SVID, in both roles.
fn assert_believed(svid: &Svid, bundle: &Bundle, time: SystemTime) {
    for provider in providers() {
        for role in [Role::Client, Role::Server] {
            let algorithms = provider.signature_verification_algorithms.all;
            let believed = verify(svid.chain(), bundle, role, algorithms, unix(time));
            assert_eq!(believed.as_ref(), Ok(svid.id()));
        }
    }
}

/// An error and its causes, as a program shows them.
fn told(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", told(cause)),
        None => error.to_string(),
    }
}

#[test]
fn loads_roots_that_openssl_made_and_issues_from_them() {
    for (root, key) in
        [(RSA_ROOT, RSA_PKCS8), (RSA_ROOT, RSA_PKCS1), (EC_ROOT, EC_SEC1), (ODD_NAME_ROOT, ODD_NAME_KEY)]
    {
        let ca = Ca::from_pem(domain(), root, key).unwrap();
        let svid = ca.issue(&id("/ns/shop/sa/cart"), HOUR, now()).unwrap();
        assert_eq!(svid.chain().len(), 1);
        assert_believed(&svid, &Bundle::from_pem(domain(), root).unwrap(), now());
        assert_believed(&svid, ca.bundle(), now());
    }
}

/// The kind of a name's component is encoded so that it is none (X.660 §7.6): copied all the same.
#[test]
fn the_name_of_a_root_is_copied_and_not_understood() {
    let (root, key) = Authority::root("root").into_parts();
    let mut root = root.to_vec();
    let common_name = [0x06, 0x03, 0x55, 0x04, 0x03];
    let at: Vec<_> = (0..root.len() - 5).filter(|at| root[*at..at + 5] == common_name).collect();
    assert_eq!(at.len(), 2, "as issuer and as subject");
    for at in at {
        root[at + 2] = 0x96;
    }
    let root = pem("CERTIFICATE", &root);
    let ca = Ca::from_pem(domain(), root.as_bytes(), pem("PRIVATE KEY", &key).as_bytes()).unwrap();
    assert_believed(&ca.issue(&id("/x"), HOUR, now()).unwrap(), ca.bundle(), now());
}

#[test]
fn what_is_issued_is_what_x509_svid_asks_for() {
    let ca = Ca::from_pem(domain(), RSA_ROOT, RSA_PKCS8).unwrap();
    let [svid, other] = [(); 2].map(|()| ca.issue(&id("/ns/shop/sa/cart"), HOUR, now()).unwrap());
    assert_eq!(svid.not_before(), now() - Duration::from_secs(60));
    assert_eq!(svid.not_after(), now() + HOUR);
    assert_ne!(svid.key().secret_der(), other.key().secret_der());

    let (_, leaf) = X509Certificate::from_der(&svid.chain()[0]).unwrap();
    let (_, root) = X509Certificate::from_der(&ca.bundle().roots()[0]).unwrap();
    assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
    assert_eq!(leaf.raw_serial().len(), 16);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(usage.value.flags, 1, "digitalSignature and nothing else");
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any);
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical, "the subject is empty");
    assert_eq!(names.value.general_names.len(), 1);

    let (_, other) = X509Certificate::from_der(&other.chain()[0]).unwrap();
    assert_ne!(leaf.raw_serial(), other.raw_serial());
    let keys = identifiers(&leaf);
    assert!(keys.0.is_some());
    assert_eq!(keys.1, identifiers(&root).0, "the leaf points at the root's key");
}

/// The identifiers of a certificate's own key and of its issuer's.
fn identifiers(certificate: &X509Certificate<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    use x509_parser::extensions::ParsedExtension::{AuthorityKeyIdentifier, SubjectKeyIdentifier};
    let (mut own, mut issuer) = (None, None);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            SubjectKeyIdentifier(key) => own = Some(key.0.to_vec()),
            AuthorityKeyIdentifier(key) => issuer = key.key_identifier.as_ref().map(|key| key.0.to_vec()),
            _ => {}
        }
    }
    (own, issuer)
}

#[test]
fn a_root_of_our_own_is_one_that_others_can_trust() {
    let ca = Ca::generate_at(domain(), now()).unwrap();
    let svid = ca.issue(&id("/x"), HOUR, now()).unwrap();
    let pem = ca.bundle().to_pem();
    assert_believed(&svid, &Bundle::from_pem(domain(), pem.as_bytes()).unwrap(), now());

    let (_, root) = X509Certificate::from_der(&ca.bundle().roots()[0]).unwrap();
    let constraints = root.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    root.verify_signature(None).unwrap();
    let other = Ca::generate_at(domain(), now()).unwrap();
    let (_, other) = X509Certificate::from_der(&other.bundle().roots()[0]).unwrap();
    assert_ne!(root.subject().as_raw(), other.subject().as_raw());
}

#[test]
fn what_is_printed_has_no_key() {
    let ca = Ca::generate_at(domain(), now()).unwrap();
    let svid = ca.issue(&id("/x"), HOUR, now()).unwrap();
    let printed = format!("{ca:?} {svid:?}");
    assert!(printed.contains("spiffe://cluster.local/x"));
    assert!(!printed.contains("key"), "{printed}");
    assert!(printed.len() < 500, "{printed}");
}

#[test]
fn nothing_issued_outlives_the_ca() {
    let ca = Ca::generate_at(domain(), now()).unwrap();
    let end = now() + 10 * 365 * 24 * HOUR;
    let svid = ca.issue(&id("/x"), Duration::MAX, now()).unwrap();
    assert_eq!(svid.not_after(), end);
    let svid = ca.issue(&id("/x"), 2 * HOUR, end - HOUR).unwrap();
    assert_eq!(svid.not_after(), end);
    assert_believed(&svid, ca.bundle(), end);
    assert!(matches!(
        ca.issue(&id("/x"), HOUR, end + Duration::from_secs(1)),
        Err(IssueError::Expired { not_after }) if not_after == end
    ));
}

#[test]
fn nothing_is_issued_before_the_ca_is_valid() {
    let ca = Ca::generate_at(domain(), now()).unwrap();
    let start = now() - Duration::from_secs(60);
    let svid = ca.issue(&id("/x"), HOUR, start).unwrap();
    assert_eq!(svid.not_before(), start);
    for time in [start - Duration::from_secs(1), SystemTime::UNIX_EPOCH - HOUR] {
        assert!(matches!(
            ca.issue(&id("/x"), HOUR, time),
            Err(IssueError::NotYetValid { not_before }) if not_before == start
        ));
    }
}

#[test]
fn only_workloads_of_its_own_trust_domain_are_issued_for() {
    let ca = Ca::generate_at(domain(), now()).unwrap();
    let other: SpiffeId = "spiffe://other/x".parse().unwrap();
    assert_eq!(
        told(&ca.issue(&other, HOUR, now()).unwrap_err()),
        "id is of trust domain other, and the CA issues for cluster.local"
    );
    assert_eq!(
        told(&ca.issue(&id(""), HOUR, now()).unwrap_err()),
        "nothing acceptable was issued: first certificate is not a workload's: \
         id names the trust domain cluster.local and no workload"
    );
    assert!(matches!(ca.issue(&id("/x"), Duration::from_millis(999), now()), Err(IssueError::Lifetime)));
}

#[test]
fn the_longest_id_is_issued() {
    let longest: TrustDomain = "d".repeat(255).parse().unwrap();
    let ca = Ca::generate_at(longest.clone(), now()).unwrap();
    let id = SpiffeId::new(&longest, &format!("/{}", "p".repeat(2048 - 9 - 255 - 1))).unwrap();
    assert_believed(&ca.issue(&id, HOUR, now()).unwrap(), ca.bundle(), now());
}

#[test]
fn an_unreadable_ca_is_one_clear_error() {
    let refused = |certificate: &[u8], key: &[u8]| -> (CaError, String) {
        let error = Ca::from_pem(domain(), certificate, key).unwrap_err();
        let text = told(&error);
        (error, text)
    };
    let leaf = {
        let svid = Ca::generate_at(domain(), now()).unwrap().issue(&id("/x"), HOUR, now()).unwrap();
        pem("CERTIFICATE", &svid.chain()[0])
    };
    let no_sign = Authority::root_with("root", |root| {
        root.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    for (certificate, key, text) in [
        (&b""[..], RSA_PKCS8, "CA certificate is unreadable: no certificate in PEM"),
        (RSA_PKCS8, RSA_PKCS8, "CA certificate is unreadable: no certificate in PEM"),
        (RSA_ROOT, b"", "CA key is unreadable: no private key in PEM"),
        (RSA_ROOT, RSA_ROOT, "CA key is unreadable: no private key in PEM"),
        (RSA_ROOT, EC_SEC1, "CA key is not usable: key does not match certificate"),
        (RSA_ROOT, ODD_NAME_KEY, "CA key is not usable: key does not match certificate"),
        (EC_ROOT, ODD_NAME_KEY, "CA key is not usable: key does not match certificate"),
        (leaf.as_bytes(), RSA_PKCS8, "certificate 0 of the CA chain cannot sign: certificate is not a CA"),
        (
            pem("CERTIFICATE", &no_sign.certificate).as_bytes(),
            RSA_PKCS8,
            "certificate 0 of the CA chain cannot sign: key usage does not let it sign certificates",
        ),
        (
            pem("CERTIFICATE", b"nonsense").as_bytes(),
            RSA_PKCS8,
            "certificate 0 of the CA chain cannot sign: certificate is malformed: ",
        ),
        (
            RSA_ROOT,
            pem("PRIVATE KEY", b"nonsense").as_bytes(),
            "CA key is not usable: private key is malformed or of an unknown kind",
        ),
    ] {
        let (_, told) = refused(certificate, key);
        assert!(told.starts_with(text), "{told}");
    }
    let cut = &RSA_ROOT[..RSA_ROOT.len() / 2];
    assert!(refused(cut, RSA_PKCS8).1.starts_with("CA certificate is unreadable: malformed PEM: "));
}

/// The file of a key may keep silent about its public half, or lie.
#[test]
fn the_key_of_another_root_is_refused() {
    let root_of = |key: &KeyPair| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(key).unwrap().pem()
    };
    let load = |root: &KeyPair, key: Vec<u8>| {
        Ca::from_pem(domain(), root_of(root).as_bytes(), pem("PRIVATE KEY", &key).as_bytes()).map(|_| ())
    };
    let [own, other] = [(); 2].map(|()| KeyPair::generate_for(&PKCS_ED25519).unwrap());
    load(&own, lab::silent_pkcs8(&own)).unwrap();
    let refusal = load(&own, lab::silent_pkcs8(&other));
    assert!(matches!(refusal, Err(CaError::Key(KeyError::Mismatch))));

    let [own, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
    load(&own, own.serialize_der()).unwrap();
    let refusal = load(&own, lab::lying_pkcs8(&other, &own));
    assert!(matches!(refusal, Err(CaError::Sign(_) | CaError::Key(KeyError::Mismatch))));
}

#[test]
fn a_signing_chain_is_served_but_for_its_root() {
    let root = Authority::root("root");
    let (signer, key) = root.intermediate("signer").into_parts();
    let chain = [&signer, &root.certificate].map(|der| pem("CERTIFICATE", der)).concat();
    let key = pem("PRIVATE KEY", &key);
    let ca = Ca::from_pem(domain(), chain.as_bytes(), key.as_bytes()).unwrap();
    let svid = ca.issue(&id("/x"), HOUR, now()).unwrap();
    assert_eq!(&svid.chain()[1..], std::slice::from_ref(&signer));
    assert_believed(&svid, &root.bundle(), now());
    assert_eq!(ca.bundle().roots(), [root.certificate]);

    let other = pem("CERTIFICATE", &Authority::root("other").certificate);
    let wrong = [pem("CERTIFICATE", &signer), other].concat();
    assert!(matches!(
        Ca::from_pem(domain(), wrong.as_bytes(), key.as_bytes()),
        Err(CaError::Order { index: 0 })
    ));
    let long = std::iter::repeat_n(chain.as_str(), 3).collect::<String>();
    assert!(matches!(Ca::from_pem(domain(), long.as_bytes(), key.as_bytes()), Err(CaError::Chain(_))));
}
