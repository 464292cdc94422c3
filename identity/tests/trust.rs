//! Who is believed: each trust domain by its own roots, changes at once, and what is revoked.

#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod lab;

use std::sync::Arc;

use inpod_identity::{
    Bundle, BundleError, Ca, Expected, Role, SharedTrust, SpiffeId, Svid, Trust, TrustDomain, TrustError,
    VerifyError, tls, verify,
};
use lab::{HOUR, Outcome, domain, handshake, id, now, provider, unix};
use proptest::prelude::*;
use rustls::{CertificateError, Error};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

fn ca(domain: &str) -> Ca {
    Ca::generate_at(domain.parse().unwrap(), now()).unwrap()
}

fn issue(ca: &Ca, path: &str) -> Svid {
    let id = SpiffeId::new(ca.bundle().trust_domain(), path).unwrap();
    ca.issue(&id, HOUR, now()).unwrap()
}

fn believed(svid: &Svid, trust: &Trust) -> Result<SpiffeId, VerifyError> {
    verify(svid.chain(), trust, Role::Client, provider().signature_verification_algorithms.all, unix(now()))
}

/// A client with `client` and a server with `server`, which both look at `trust`.
fn meet(client: &Svid, server: &Svid, trust: &SharedTrust) -> Outcome {
    let [to_client, to_server] = [client, server].map(|svid| Arc::new(Expected::one(svid.id().clone())));
    handshake(
        tls::client_config(&provider(), client, trust, to_server).unwrap(),
        tls::server_config(&provider(), server, trust, to_client).unwrap(),
    )
}

#[test]
fn two_trust_domains_meet_each_by_its_own_roots() {
    let (ours, theirs) = (ca("cluster.local"), ca("example.org"));
    let trust = Trust::new([ours.bundle().clone(), theirs.bundle().clone()]).unwrap();
    let outcome = meet(&issue(&ours, "/x"), &issue(&theirs, "/x"), &trust.into());
    assert_eq!(outcome.client.unwrap().unwrap().as_str(), "spiffe://example.org/x");
    assert_eq!(outcome.server.unwrap().unwrap().as_str(), "spiffe://cluster.local/x");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Whatever domains are trusted by whichever authorities: a chain is believed exactly if its signer is the one whose
    /// root is in the bundle of the id's domain, or of what the domain is an alias of.
    #[test]
    fn no_root_of_one_domain_vouches_for_another(
        roots in prop::collection::vec(prop::option::of(0..3_usize), 4),
        alias in 0..4_usize,
        of in 0..4_usize,
        claimed in 0..4_usize,
        signer in 0..3_usize,
    ) {
        static NAMES: [&str; 4] = ["a.test", "b.test", "a.test.b.test", "c"];
        let names: Vec<TrustDomain> = NAMES.iter().map(|name| name.parse().unwrap()).collect();
        let root = |authority: &usize| AUTHORITIES[*authority].certificate.clone();
        let bundles = roots.iter().zip(&names).filter_map(|(root_of, name)| {
            root_of.as_ref().map(|authority| Bundle::new(name.clone(), vec![root(authority)]).unwrap())
        });
        let mut trust = Trust::new(bundles).unwrap();
        let is_alias = match trust.with_alias(names[alias].clone(), names[of].clone()) {
            Ok(with_alias) => {
                trust = with_alias;
                true
            }
            Err(_) => false,
        };
        prop_assert_eq!(is_alias, roots[alias].is_none() && roots[of].is_some());
        let speaks = if is_alias && claimed == alias { of } else { claimed };
        let text = format!("spiffe://{}/x", NAMES[claimed]);
        let (leaf, _) = AUTHORITIES[signer].leaf(|leaf| leaf.subject_alt_names = vec![lab::uri(&text)]);
        let algorithms = provider().signature_verification_algorithms.all;
        let found = verify(&[leaf], &trust, Role::Server, algorithms, unix(now()));
        prop_assert_eq!(found.is_ok(), roots[speaks] == Some(signer), "{:?}", found);
        if let Ok(id) = found {
            prop_assert_eq!(id.as_str(), &text);
            let canonical = trust.canonical(&id).map(|id| id.trust_domain());
            prop_assert_eq!(canonical, (speaks != claimed).then(|| names[speaks].clone()));
        }
    }
}

/// Made once: making keys is what takes time. They share a name, so that only keys tell them apart.
static AUTHORITIES: std::sync::LazyLock<[lab::Authority; 3]> =
    std::sync::LazyLock::new(|| [(); 3].map(|()| lab::Authority::root("root")));

#[test]
fn bundles_and_aliases_do_not_contradict_each_other() {
    let (a, b): (TrustDomain, TrustDomain) = ("a".parse().unwrap(), "b".parse().unwrap());
    let bundle = Bundle::of_nobody(a.clone());
    let two = Trust::new([bundle.clone(), bundle.clone()]).map(|_| ());
    assert_eq!(two, Err(TrustError::TwoBundles { trust_domain: a.clone() }));
    let trust = Trust::new([bundle]).unwrap().with_alias(b.clone(), a.clone()).unwrap();
    let refusal = trust.with_bundle(Bundle::of_nobody(b.clone())).map(|_| ());
    assert_eq!(refusal, Err(TrustError::IsAlias { trust_domain: b.clone() }));
    let chained = trust.with_alias("c".parse().unwrap(), b.clone()).map(|_| ());
    assert_eq!(chained, Err(TrustError::NoBundle { trust_domain: b.clone() }));
    let own = trust.with_alias(a.clone(), a.clone()).map(|_| ());
    assert_eq!(own, Err(TrustError::HasBundle { trust_domain: a.clone() }));
    assert!(trust.without(&a).bundle(&b).is_none(), "an alias goes with what it is an alias of");
    assert!(trust.without(&b).bundle(&a).is_some());
}

/// An alias says who vouches and not who is expected.
#[test]
fn an_alias_is_no_other_identity() {
    let old = ca("old.local");
    let new_name = Bundle::new(domain(), old.bundle().roots().to_vec()).unwrap();
    let trust = Trust::from(new_name).with_alias("old.local".parse().unwrap(), domain()).unwrap();
    let svid = issue(&old, "/ns/shop/sa/cart");
    assert_eq!(believed(&svid, &trust).as_ref(), Ok(svid.id()));
    assert_eq!(trust.canonical(svid.id()), Some(id("/ns/shop/sa/cart")));

    let expected = Arc::new(Expected::one(id("/ns/shop/sa/cart")));
    let client = tls::client_config(&provider(), &svid, &trust, expected).unwrap();
    let anyone = Arc::new(lab::Anyone);
    let server = tls::server_config(&provider(), &svid, &trust, anyone).unwrap();
    assert!(handshake(client, server).client.is_err());
}

/// A trust domain that took back all its keys (SPIFFE Trust Domain and Bundle §4.1.3).
#[test]
fn a_bundle_of_nobody_vouches_for_nobody() {
    let ca = ca("cluster.local");
    let trust = Trust::from(Bundle::of_nobody(domain()));
    let refusal = believed(&issue(&ca, "/x"), &trust);
    assert_eq!(refusal, Err(VerifyError::NoRootNow { trust_domain: domain() }));
}

#[test]
fn roots_rotate_without_a_failure_and_the_old_one_is_refused_once_it_is_gone() {
    let (old, new) = (ca("cluster.local"), ca("cluster.local"));
    let both = || {
        let roots = [old.bundle(), new.bundle()].into_iter().flat_map(Bundle::roots).cloned().collect();
        Trust::from(Bundle::new(domain(), roots).unwrap())
    };
    let [old_svid, new_svid] = [&old, &new].map(|ca| issue(ca, "/x"));
    let trust = SharedTrust::from(old.bundle());

    // The configurations of before are those of after, too.
    let config = |svid: &Svid| {
        let anyone = || Arc::new(Expected::in_trust_domain(domain()));
        let client = tls::client_config(&provider(), svid, &trust, anyone()).unwrap();
        (client, tls::server_config(&provider(), svid, &trust, anyone()).unwrap())
    };
    let (old_configs, new_configs) = (config(&old_svid), config(&new_svid));
    let meet = |client: &rustls::ClientConfig, server: &rustls::ServerConfig| {
        handshake(client.clone(), server.clone())
    };

    meet(&old_configs.0, &old_configs.1).server.unwrap();
    assert!(meet(&new_configs.0, &old_configs.1).server.is_err(), "before its root is trusted");
    trust.replace(both());
    for client in [&old_configs.0, &new_configs.0] {
        for server in [&old_configs.1, &new_configs.1] {
            meet(client, server).server.unwrap();
        }
    }
    trust.replace(new.bundle().into());
    meet(&new_configs.0, &new_configs.1).server.unwrap();
    let refused = meet(&old_configs.0, &new_configs.1).server.unwrap_err();
    assert_eq!(refused, Error::InvalidCertificate(CertificateError::UnknownIssuer));
    let refused = meet(&new_configs.0, &old_configs.1).client.unwrap_err();
    assert_eq!(refused, Error::InvalidCertificate(CertificateError::UnknownIssuer));
}

/// While it is replaced all the time, handshakes on other threads see the old value or the new one, and nothing between.
#[test]
fn trust_is_replaced_under_load() {
    let (old, new) = (ca("cluster.local"), ca("cluster.local"));
    let roots = |bundles: &[&Bundle]| {
        let roots = bundles.iter().flat_map(|bundle| bundle.roots()).cloned().collect();
        Trust::from(Bundle::new(domain(), roots).unwrap())
    };
    let values = [roots(&[old.bundle(), new.bundle()]), roots(&[new.bundle(), old.bundle()])];
    let trust = SharedTrust::new(values[0].clone());
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut changes = 0_usize;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                changes += 1;
                trust.replace(values[changes % 2].clone());
            }
            changes
        });
        for round in 0..100 {
            let (a, b) = if round % 2 == 0 { (&old, &new) } else { (&new, &old) };
            meet(&issue(a, "/client"), &issue(b, "/server"), &trust).server.unwrap();
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(changer.join().unwrap() > 0);
    });
}

#[test]
fn nothing_that_is_printed_has_a_key_in_it() {
    let ca = ca("cluster.local");
    let svid = issue(&ca, "/x");
    let trust = SharedTrust::from(ca.bundle());
    let anyone = Arc::new(Expected::in_trust_domain(domain()));
    let printed = format!(
        "{svid:?} {svid:#?} {ca:?} {:?} {trust:?} {:?} {:?}",
        ca.bundle(),
        tls::client_config(&provider(), &svid, &trust, anyone.clone()).unwrap(),
        tls::server_config(&provider(), &svid, &trust, anyone).unwrap(),
    );
    // The secret number of the key, as bytes are printed: decimal and hexadecimal, in a row or one a line.
    let der = svid.key().secret_der();
    let start = der.windows(2).position(|window| window == [0x04, 0x20]).unwrap() + 2;
    let secret = &der[start..start + 8];
    let decimal: Vec<String> = secret.iter().map(u8::to_string).collect();
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    assert!(plain(&format!("{secret:#?}")).contains(&decimal.join(",")), "it would be found");
    let plain = plain(&printed);
    let hexadecimal: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    for form in [decimal.join(","), hexadecimal.clone(), hexadecimal.to_uppercase()] {
        assert!(!plain.contains(&form), "{form}");
    }
    assert!(plain.contains("spiffe://cluster.local/x"), "the id is printed");
}

/// A signature algorithm that counts how often it is asked.
#[derive(Debug)]
struct Counting(&'static dyn SignatureVerificationAlgorithm);

static ASKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

impl SignatureVerificationAlgorithm for Counting {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }
}

/// As many roots of one name as a bundle may have, and a chain of that name signed by strangers: every signature could be
/// any root's.
#[test]
fn the_signatures_that_are_tried_are_bounded() {
    let roots: Vec<_> = (0..64).map(|_| lab::Authority::root("root").certificate).collect();
    let mut above = vec![lab::Authority::root("root")];
    for _ in 0..2 {
        above.push(above.last().unwrap().intermediate("root"));
    }
    let (leaf, _) = above.last().unwrap().leaf(|_| {});
    let chain: Vec<_> = std::iter::once(leaf).chain(above.into_iter().map(|ca| ca.certificate)).collect();
    let bundle = Bundle::new(domain(), roots.clone()).unwrap();
    let counting: Vec<_> = provider()
        .signature_verification_algorithms
        .all
        .iter()
        .map(|algorithm| Counting(*algorithm))
        .collect();
    let algorithms: Vec<_> =
        counting.iter().map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm).collect();
    assert!(verify(&chain, &bundle, Role::Client, &algorithms, unix(now())).is_err());
    let asked = ASKED.load(std::sync::atomic::Ordering::Relaxed);
    assert!((64..=100).contains(&asked), "{asked} signatures were tried");

    let many = roots.iter().chain(&roots[..1]).cloned().collect();
    let refusal = Bundle::new(domain(), many).map(|_| ());
    assert!(matches!(refusal, Err(BundleError::TooMany { limit: 64, actual: 65 })));
}
