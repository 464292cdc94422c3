//! Revocation lists: whom they refuse, which of them count, and what becomes of bad ones.

#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod lab;

use inpod_identity::{
    Bundle, Crls, CrlsError, ExpiredCrl, RevocationError, RevocationPolicy, Role, SharedTrust, SpiffeId,
    Trust, UnknownStatus, VerifyError, verify,
};
use lab::{Authority, Chain, HOUR, at_both_ends, domain, id, now, pem, provider, unix};
use proptest::prelude::*;
use rcgen::{CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, KeyUsagePurpose, SerialNumber};
use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateRevocationListDer, PrivateKeyDer, SignatureVerificationAlgorithm};

type Crl = CertificateRevocationListDer<'static>;

fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    provider().signature_verification_algorithms.all
}

/// A leaf with this serial number, and what is shown with it.
fn leaf(issuer: &Authority, serial: u64, above: &[&Authority]) -> (Chain, PrivateKeyDer<'static>) {
    let (leaf, key) = issuer.leaf(|leaf| leaf.serial_number = Some(SerialNumber::from(serial)));
    let above = above.iter().map(|authority| authority.certificate.clone());
    (std::iter::once(leaf).chain(above).collect(), key)
}

fn with_crls(trust: impl Into<Trust>, crls: &[&Crl], policy: RevocationPolicy) -> Result<Trust, CrlsError> {
    let crls = Crls::new(crls.iter().map(|crl| (*crl).clone()))?;
    trust.into().with_crls(&crls, policy, algorithms())
}

fn lenient() -> RevocationPolicy {
    RevocationPolicy::default()
}

fn believed(chain: &Chain, trust: &Trust) -> Result<SpiffeId, RevocationError> {
    verify(chain, trust, Role::Client, algorithms(), unix(now())).map_err(|error| match error {
        VerifyError::Revocation(error) => error,
        other => unreachable!("{other:?}"),
    })
}

fn revoked(serial: &str) -> Result<SpiffeId, RevocationError> {
    Err(RevocationError::Revoked { serial: serial.into() })
}

// Who is refused.

#[test]
fn a_revoked_leaf_is_refused_at_both_ends_and_others_are_not() {
    let root = Authority::root("root");
    let trust = with_crls(root.bundle(), &[&root.crl(&[6, 7, 8], |_| {})], lenient()).unwrap();
    for result in at_both_ends(leaf(&root, 7, &[]), &trust) {
        assert_eq!(result, Err(Error::InvalidCertificate(CertificateError::Revoked)));
    }
    for result in at_both_ends(leaf(&root, 9, &[]), &trust) {
        assert_eq!(result, Ok(Some(id("/ns/shop/sa/cart"))));
    }
    assert_eq!(believed(&leaf(&root, 7, &[]).0, &trust), revoked("07"));
}

#[test]
fn a_revoked_intermediate_takes_with_it_what_it_signed() {
    let root = Authority::root("root");
    let serial =
        |serial: u64| move |ca: &mut rcgen::CertificateParams| ca.serial_number = Some(serial.into());
    let (good, bad) = (root.intermediate_with("good", serial(1)), root.intermediate_with("bad", serial(2)));
    let below = bad.intermediate("below");
    let trust = with_crls(root.bundle(), &[&root.crl(&[2], |_| {})], lenient()).unwrap();
    assert_eq!(believed(&leaf(&good, 2, &[&good]).0, &trust), Ok(id("/ns/shop/sa/cart")));
    assert_eq!(believed(&leaf(&bad, 1, &[&bad]).0, &trust), revoked("02"));
    assert_eq!(believed(&leaf(&below, 1, &[&below, &bad]).0, &trust), revoked("02"));
    for result in at_both_ends(leaf(&bad, 1, &[&bad]), &trust) {
        assert_eq!(result, Err(Error::InvalidCertificate(CertificateError::Revoked)));
    }
}

#[test]
fn a_leaf_is_refused_by_the_list_of_the_intermediate_that_signed_it() {
    let root = Authority::root("root");
    let intermediate = root.intermediate("intermediate");
    let crl = intermediate.crl(&[7], |_| {});
    let trust = with_crls(root.bundle(), &[&crl], lenient()).unwrap();
    assert_eq!(believed(&leaf(&intermediate, 7, &[&intermediate]).0, &trust), revoked("07"));
    assert!(believed(&leaf(&intermediate, 8, &[&intermediate]).0, &trust).is_ok());
}

/// From the moment of the change, by configurations of before.
#[test]
fn what_is_revoked_now_is_refused_now() {
    let root = Authority::root("root");
    let shown = leaf(&root, 7, &[]);
    let trust = SharedTrust::from(root.bundle());
    let own =
        inpod_identity::Ca::generate_at(domain(), now()).unwrap().issue(&id("/own"), HOUR, now()).unwrap();
    let server =
        inpod_identity::tls::server_config(&provider(), &own, &trust, std::sync::Arc::new(lab::Anyone))
            .unwrap();
    let meet = || {
        let client = lab::careless_client(&provider(), Some((shown.0.clone(), shown.1.clone_key())));
        lab::handshake(client, server.clone())
    };
    meet().server.unwrap();
    trust.update(|trust| with_crls(trust, &[&root.crl(&[7], |_| {})], lenient())).unwrap();
    let outcome = meet();
    assert_eq!(outcome.server, Err(Error::InvalidCertificate(CertificateError::Revoked)));
    let alert = rustls::AlertDescription::CertificateRevoked;
    assert_eq!(outcome.client, Err(Error::AlertReceived(alert)), "the peer hears why");
    trust.update(|trust| with_crls(trust, &[&root.crl(&[], |_| {})], lenient())).unwrap();
    meet().server.unwrap();
}

// Which lists count.

#[test]
fn only_the_list_of_the_issuer_counts() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let intermediate = root.intermediate("intermediate");
    let lists = [&other.crl(&[7], |_| {}), &intermediate.crl(&[7], |_| {})];
    let trust = with_crls(root.bundle(), &lists, lenient()).unwrap();
    assert!(believed(&leaf(&root, 7, &[]).0, &trust).is_ok());
}

/// As in the rotation of a root that keeps its name: each one's list is about its own certificates.
#[test]
fn roots_of_one_name_are_told_apart_by_their_keys() {
    let (old, new) = (Authority::root("root"), Authority::root("root"));
    let roots = vec![old.certificate.clone(), new.certificate.clone()];
    let bundle = Bundle::new(domain(), roots).unwrap();
    let older = |crl: &mut rcgen::CertificateRevocationListParams| crl.this_update = (now() - HOUR).into();
    let (of_old, of_new) = (old.crl(&[7], |_| {}), new.crl(&[8], older));
    for lists in [[&of_old, &of_new], [&of_new, &of_old]] {
        let trust = with_crls(&bundle, &lists, lenient()).unwrap();
        // The newer list of the old root does not make the new root's an old one.
        let trust = with_crls(&trust, &lists, lenient()).unwrap();
        assert_eq!(believed(&leaf(&old, 7, &[]).0, &trust), revoked("07"));
        assert_eq!(believed(&leaf(&new, 8, &[]).0, &trust), revoked("08"));
        assert!(believed(&leaf(&old, 8, &[]).0, &trust).is_ok());
        assert!(believed(&leaf(&new, 7, &[]).0, &trust).is_ok());
    }
}

#[test]
fn a_list_of_a_stranger_with_the_name_of_an_intermediate_counts_for_nothing() {
    let root = Authority::root("root");
    let (intermediate, stranger) = (root.intermediate("ca"), Authority::root("ca"));
    let trust = with_crls(root.bundle(), &[&stranger.crl(&[7], |_| {})], lenient()).unwrap();
    assert!(believed(&leaf(&intermediate, 7, &[&intermediate]).0, &trust).is_ok());
    let strict = RevocationPolicy { unknown: UnknownStatus::Refuse, ..lenient() };
    let lists = [&stranger.crl(&[], |_| {}), &root.crl(&[], |_| {})];
    let trust = with_crls(root.bundle(), &lists, strict).unwrap();
    assert_eq!(believed(&leaf(&intermediate, 7, &[&intermediate]).0, &trust), Err(RevocationError::Unknown));
}

/// RFC 5280 §6.3.3 (f).
#[test]
fn a_list_of_one_who_may_not_sign_lists_counts_for_nothing() {
    let no_crl_sign = |ca: &mut rcgen::CertificateParams| ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = Authority::root("root");
    let mut intermediate = root.intermediate_with("intermediate", no_crl_sign);
    intermediate.may_sign_crls();
    let trust = with_crls(root.bundle(), &[&intermediate.crl(&[7], |_| {})], lenient()).unwrap();
    assert!(believed(&leaf(&intermediate, 7, &[&intermediate]).0, &trust).is_ok());

    let mut root = Authority::root_with("root", no_crl_sign);
    root.may_sign_crls();
    let refusal = with_crls(root.bundle(), &[&root.crl(&[7], |_| {})], lenient()).map(|_| ());
    assert_eq!(refusal, Err(CrlsError::Signature { index: 0 }), "of a root it is known beforehand");
}

// What silence means.

#[test]
fn without_a_list_the_policy_decides_for_leafs_and_intermediates() {
    let root = Authority::root("root");
    let intermediate = root.intermediate("intermediate");
    let (chain, _) = leaf(&intermediate, 7, &[&intermediate]);
    let strict = RevocationPolicy { unknown: UnknownStatus::Refuse, ..lenient() };
    let (of_root, of_intermediate) = (root.crl(&[], |_| {}), intermediate.crl(&[], |_| {}));
    let all: [&[&Crl]; 4] = [&[], &[&of_root], &[&of_intermediate], &[&of_root, &of_intermediate]];
    for lists in all {
        let found = believed(&chain, &with_crls(root.bundle(), lists, lenient()).unwrap());
        assert!(found.is_ok());
        let found = believed(&chain, &with_crls(root.bundle(), lists, strict).unwrap());
        match lists.len() {
            2 => assert!(found.is_ok()),
            _ => assert_eq!(found, Err(RevocationError::Unknown)),
        }
    }
}

#[test]
fn an_overdue_list_still_revokes_and_the_policy_decides_about_the_others() {
    let root = Authority::root("root");
    let overdue = root.crl(&[7], |crl| {
        crl.this_update = (now() - HOUR).into();
        crl.next_update = now().into();
    });
    let decide = |serial, unknown, expired| {
        let policy = RevocationPolicy { unknown, expired };
        believed(&leaf(&root, serial, &[]).0, &with_crls(root.bundle(), &[&overdue], policy).unwrap())
    };
    for unknown in [UnknownStatus::Accept, UnknownStatus::Refuse] {
        for expired in [ExpiredCrl::StillRevokes, ExpiredCrl::Refuse] {
            assert_eq!(decide(7, unknown, expired), revoked("07"));
        }
        assert_eq!(
            decide(8, unknown, ExpiredCrl::Refuse),
            Err(RevocationError::Expired { next_update: now() })
        );
    }
    assert!(decide(8, UnknownStatus::Accept, ExpiredCrl::StillRevokes).is_ok());
    assert_eq!(decide(8, UnknownStatus::Refuse, ExpiredCrl::StillRevokes), Err(RevocationError::Unknown));
}

// Bad lists.

#[test]
fn a_bad_list_is_an_error_that_says_which_and_the_last_good_one_stays() {
    let (root, stranger) = (Authority::root("root"), Authority::root("root"));
    let good = root.crl(&[7], |_| {});
    let trust = SharedTrust::from(with_crls(root.bundle(), &[&good], lenient()).unwrap());
    let watch = trust.watch();
    let chain = leaf(&root, 7, &[]).0;

    let mut broken = good.to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let partial = root.crl(&[], |crl| {
        let distribution_point = CrlDistributionPoint { uris: vec!["http://crl.test/".into()] };
        let scope = Some(CrlScope::UserCertsOnly);
        crl.issuing_distribution_point = Some(CrlIssuingDistributionPoint { distribution_point, scope });
    });
    let malformed = || Crls::new([CertificateRevocationListDer::from(good.get(..20).unwrap())]).unwrap_err();
    assert!(matches!(malformed(), CrlsError::Malformed { index: 0, .. }));
    let older = root.crl(&[], |crl| crl.this_update = (now() - HOUR).into());
    for (bad, error) in [
        (broken.into(), CrlsError::Signature { index: 1 }),
        (stranger.crl(&[], |_| {}), CrlsError::Signature { index: 1 }),
        (partial, CrlsError::Partial { index: 1 }),
        (older, CrlsError::Older { index: 1 }),
        (Vec::new().into(), malformed()),
    ] {
        let lists = [&Authority::root("other").crl(&[], |_| {}), &bad];
        let refusal = trust.update(|trust| with_crls(trust, &lists, lenient())).unwrap_err();
        match error {
            CrlsError::Malformed { .. } => assert!(matches!(refusal, CrlsError::Malformed { index: 1, .. })),
            error => assert_eq!(refusal, error),
        }
        assert_eq!(believed(&chain, &trust.current()), revoked("07"));
    }
    assert!(!watch.has_changed().unwrap());

    // A newer one is taken, and so is the same one again.
    for crl in [&good, &root.crl(&[], |crl| crl.this_update = now().into())] {
        trust.update(|trust| with_crls(trust, &[crl], lenient())).unwrap();
    }
    assert!(believed(&chain, &trust.current()).is_ok());
}

#[test]
fn lists_come_in_pem_too() {
    let root = Authority::root("root");
    let list = pem("X509 CRL", &root.crl(&[7], |_| {}));
    let other = pem("X509 CRL", &Authority::root("other").crl(&[], |_| {}));
    let crls = Crls::from_pem(format!("{other}{}{list}", pem("CERTIFICATE", b"x")).as_bytes()).unwrap();
    let trust = Trust::from(root.bundle()).with_crls(&crls, lenient(), algorithms()).unwrap();
    assert_eq!(believed(&leaf(&root, 7, &[]).0, &trust), revoked("07"));

    assert_eq!(Crls::from_pem(b"").map(|_| ()), Err(CrlsError::None));
    assert_eq!(Crls::from_pem(pem("CERTIFICATE", b"x").as_bytes()).map(|_| ()), Err(CrlsError::None));
    let cut = list.get(..list.len() - 10).unwrap();
    assert_eq!(Crls::from_pem(cut.as_bytes()).map(|_| ()), Err(CrlsError::Pem));
}

#[test]
fn lists_are_bounded() {
    let root = Authority::root("root");
    let crl = root.crl(&[7], |_| {});
    let many = |count| Crls::new(std::iter::repeat_n(crl.clone(), count)).map(|_| ());
    assert_eq!(many(64), Ok(()));
    assert_eq!(many(65), Err(CrlsError::TooMany { limit: 64, actual: 65 }));
    // The largest that is taken lists some thirty thousand certificates, and one byte more is not taken.
    let serials: Vec<u64> = (0x1000_0000..0x1000_7800).collect();
    let large = root.crl(&serials, |_| {});
    let trust = with_crls(root.bundle(), &[&large], lenient()).unwrap();
    assert_eq!(believed(&leaf(&root, 0x1000_77ff, &[]).0, &trust), revoked("100077ff"));
    let limit = 1024 * 1024;
    let larger = CertificateRevocationListDer::from(vec![0; limit + 1]);
    assert_eq!(Crls::new([larger]).map(|_| ()), Err(CrlsError::TooLarge { limit, actual: limit + 1 }));
    let text = vec![b'-'; 2 * limit + 2];
    assert_eq!(Crls::from_pem(&text).map(|_| ()), Err(CrlsError::TooLarge { limit, actual: limit + 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    /// A changed list is refused, or it is the same list still: what it revoked stays revoked.
    #[test]
    fn a_changed_list_brings_nobody_back(at in any::<prop::sample::Index>(), mask in 1..=u8::MAX, cut in any::<bool>()) {
        static ROOT: std::sync::LazyLock<(Authority, Crl, Chain)> = std::sync::LazyLock::new(|| {
            let root = Authority::root("root");
            let (crl, chain) = (root.crl(&[7], |_| {}), leaf(&root, 7, &[]).0);
            (root, crl, chain)
        });
        let (root, crl, chain) = &*ROOT;
        let mut bytes = crl.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        if cut {
            bytes.truncate(at);
        }
        // One that names another issuer is about other certificates: here, everyone must have a list.
        let strict = RevocationPolicy { unknown: UnknownStatus::Refuse, ..lenient() };
        if let Ok(trust) = with_crls(root.bundle(), &[&bytes.into()], strict) {
            prop_assert!(believed(chain, &trust).is_err());
        }
    }

    #[test]
    fn any_bytes_at_all_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Crls::from_pem(&bytes).is_err());
        prop_assert!(Crls::new([bytes.into()]).is_err());
    }
}
