//! Two TLS ends: what is accepted, and every way of being refused, with each end as the one that refuses.

#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod lab;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use inpod_identity::{
    Authorizer, Bundle, Ca, ChainError, Expected, KeyError, LeafError, ParseError, SpiffeId, Svid, SvidError,
    TlsError, Unexpected, VerifyError, tls,
};
use lab::{
    Authority, Chain, HOUR, at_both_ends, careless_client, careless_server, cause, dns, domain, handshake,
    handshake_at, id, now, provider, providers, stopped, uri,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, SanType,
};
use rustls::crypto::CryptoProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, HandshakeKind, ServerConfig,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

fn anyone() -> Arc<dyn Authorizer> {
    Arc::new(Expected::in_trust_domain(domain()))
}

fn only(id: SpiffeId) -> Arc<dyn Authorizer> {
    Arc::new(Expected::one(id))
}

fn new_ca() -> Ca {
    Ca::generate_at(domain(), now()).unwrap()
}

fn issue(ca: &Ca, path: &str) -> Svid {
    ca.issue(&id(path), HOUR, now()).unwrap()
}

/// Both ends, with SVIDs of one CA, each expecting the other.
fn configs(ca: &Ca) -> (ClientConfig, ServerConfig) {
    let (client, server) = (issue(ca, "/client"), issue(ca, "/server"));
    (
        tls::client_config(&provider(), &client, ca.bundle(), only(id("/server"))).unwrap(),
        tls::server_config(&provider(), &server, ca.bundle(), only(id("/client"))).unwrap(),
    )
}

/// Both configurations by the tests' clock, for use more than once.
fn still((mut client, mut server): (ClientConfig, ServerConfig)) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    client.time_provider = stopped(now());
    server.time_provider = stopped(now());
    (Arc::new(client), Arc::new(server))
}

// What is accepted.

#[test]
fn both_ends_know_each_other_with_any_pair_of_providers() {
    let ca = new_ca();
    let (client, server) = (issue(&ca, "/client"), issue(&ca, "/server"));
    for a in providers() {
        for b in providers() {
            let client = tls::client_config(&a, &client, ca.bundle(), only(id("/server"))).unwrap();
            let server = tls::server_config(&b, &server, ca.bundle(), only(id("/client"))).unwrap();
            let outcome = handshake(client, server);
            assert_eq!(outcome.client.unwrap(), Some(id("/server")));
            assert_eq!(outcome.server.unwrap(), Some(id("/client")));
        }
    }
    assert!(CryptoProvider::get_default().is_none(), "none is installed for the process");
}

#[test]
fn nobody_is_there_before_the_handshake_is_finished() {
    let (client, mut server) = configs(&new_ca());
    // Records so small that the last one of the certificate is not the last one of the handshake.
    server.max_fragment_size = Some(32);
    let (client, server) = still((client, server));
    let (mut client, mut server) = lab::ends(&client, &server);
    let mut asked_after_the_certificate = 0;
    lab::shake_slowly(&mut client, &mut server, |client| {
        if client.is_handshaking() {
            asked_after_the_certificate += usize::from(client.peer_certificates().is_some());
            assert_eq!(tls::peer_id(client), None);
        }
    });
    assert!(asked_after_the_certificate > 0);
    assert_eq!(tls::peer_id(&client), Some(id("/server")));
    assert_eq!(tls::peer_id(&server), None, "the client's certificate has not arrived");
}

#[test]
fn no_name_is_sent_whatever_it_is() {
    let (client, server) = still(configs(&new_ca()));
    let (_, mut server) = lab::ends(&client, &server);
    let mut client = ClientConnection::new(client, "shop.example".try_into().unwrap()).unwrap();
    lab::shake(&mut client, &mut server).server.unwrap();
    assert_eq!(server.server_name(), None);
}

/// Not even with a peer that would.
#[test]
fn nothing_is_resumed() {
    let ca = new_ca();
    let (own_client, own_server) = configs(&ca);
    let shown = |path| {
        let svid = issue(&ca, path);
        (svid.chain().to_vec(), svid.key().clone_key())
    };
    let other_client = careless_client(&provider(), Some(shown("/client")));
    let mut other_server = careless_server(&provider(), shown("/server"));
    other_server.session_storage = rustls::server::ServerSessionMemoryCache::new(16);

    for (configs, tickets) in [((other_client, own_server), 0), ((own_client, other_server), 2)] {
        let (client, server) = still(configs);
        for _ in 0..2 {
            let (mut client, mut server) = lab::ends(&client, &server);
            lab::shake(&mut client, &mut server).server.unwrap();
            assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(client.tls13_tickets_received(), tickets);
        }
    }
}

/// Leafs as other meshes' authorities make them.
#[test]
fn leafs_of_other_authorities_are_accepted_at_both_ends() {
    type Change = fn(&mut CertificateParams);
    let variants: [(&str, Change); 6] = [
        ("no key usage", |leaf| leaf.key_usages.clear()),
        ("key encipherment too", |leaf| leaf.key_usages.push(KeyUsagePurpose::KeyEncipherment)),
        ("no extended key usage", |leaf| leaf.extended_key_usages.clear()),
        ("basic constraints", |leaf| leaf.is_ca = IsCa::ExplicitNoCa),
        ("a subject", |leaf| leaf.distinguished_name.push(DnType::OrganizationName, "cluster.local")),
        ("names of other kinds", |leaf| {
            leaf.subject_alt_names.insert(0, dns("cart.shop.svc"));
            leaf.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()));
        }),
    ];
    let root = Authority::root("root");
    for (what, change) in variants {
        let (leaf, key) = root.leaf(change);
        for outcome in at_both_ends((vec![leaf], key), root.bundle()) {
            assert_eq!(outcome.unwrap(), Some(id("/ns/shop/sa/cart")), "{what}");
        }
    }
}

#[test]
fn intermediates_are_followed_as_far_as_the_budget_goes() {
    let root = Authority::root("root");
    let mut authorities = vec![root.intermediate("1")];
    for depth in ["2", "3", "4"] {
        authorities.insert(0, authorities[0].intermediate(depth));
    }
    let chain_from = |first: usize| {
        let (leaf, key) = authorities[first].leaf(|_| {});
        let above = authorities[first..].iter().map(|authority| authority.certificate.clone());
        (std::iter::once(leaf).chain(above).collect::<Chain>(), key)
    };
    for result in at_both_ends(chain_from(1), root.bundle()) {
        assert_eq!(result.unwrap(), Some(id("/ns/shop/sa/cart")));
    }
    for result in at_both_ends(chain_from(0), root.bundle()) {
        let error = VerifyError::Chain(ChainError::TooLong { limit: 4, actual: 5 });
        assert_eq!(why(&result.unwrap_err()), Some(&error));
    }
}

#[test]
fn any_root_of_a_bundle_will_do() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let roots = vec![new.certificate.clone(), old.certificate.clone()];
    let bundle = Bundle::new(domain(), roots).unwrap();
    for root in [old, new] {
        let (leaf, key) = root.leaf(|_| {});
        for result in at_both_ends((vec![leaf], key), &bundle) {
            assert!(result.is_ok());
        }
    }
}

// What is refused.

/// One broken rule each, and the error that names it.
#[test]
fn a_leaf_that_breaks_one_rule_is_refused_at_both_ends() {
    type Change = fn(&mut CertificateParams);
    let rules: [(Change, LeafError); 15] = [
        (
            |leaf| leaf.subject_alt_names.push(uri("spiffe://cluster.local/other")),
            LeafError::SeveralUris { count: 2 },
        ),
        (
            |leaf| leaf.subject_alt_names.insert(0, uri("https://cluster.local/")),
            LeafError::SeveralUris { count: 2 },
        ),
        (
            |leaf| leaf.subject_alt_names.push(leaf.subject_alt_names[0].clone()),
            LeafError::SeveralUris { count: 2 },
        ),
        (|leaf| leaf.subject_alt_names = vec![dns("cart.shop.svc")], LeafError::NoUri),
        (|leaf| leaf.subject_alt_names.clear(), LeafError::NoUri),
        (
            |leaf| leaf.subject_alt_names = vec![uri("https://cluster.local/ns/shop/sa/cart")],
            LeafError::NotSpiffe(ParseError::NotSpiffe),
        ),
        (
            |leaf| leaf.subject_alt_names = vec![uri("spiffe://cluster.local/ns/shop/sa/cart\0.evil")],
            LeafError::NotSpiffe(ParseError::PathByte { byte: 0, at: 38 }),
        ),
        (
            |leaf| leaf.subject_alt_names = vec![uri("spiffe://cluster.local/")],
            LeafError::NotSpiffe(ParseError::EmptySegment { at: 23 }),
        ),
        (
            |leaf| leaf.subject_alt_names = vec![uri("spiffe://cluster.local")],
            LeafError::NoPath { trust_domain: domain() },
        ),
        (|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)), LeafError::Authority),
        (|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign), LeafError::MaySign),
        (|leaf| leaf.key_usages.push(KeyUsagePurpose::CrlSign), LeafError::MaySign),
        (|leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyEncipherment], LeafError::NoDigitalSignature),
        (
            |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            LeafError::ExtendedKeyUsage,
        ),
        (
            |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            LeafError::ExtendedKeyUsage,
        ),
    ];
    let root = Authority::root("root");
    for (change, error) in rules {
        let (leaf, key) = root.leaf(change);
        // What we refuse in others we do not hold ourselves.
        let held = Svid::new(vec![leaf.clone()], key.clone_key()).unwrap_err();
        assert_eq!(held.source().unwrap().to_string(), error.to_string());
        for result in at_both_ends((vec![leaf], key), root.bundle()) {
            assert_eq!(why(&result.unwrap_err()), Some(&VerifyError::Leaf(error.clone())));
        }
    }
}

#[test]
fn another_trust_domain_is_refused_even_when_the_root_signed_it() {
    let root = Authority::root("root");
    let (leaf, key) =
        root.leaf(|leaf| leaf.subject_alt_names = vec![uri("spiffe://cluster.locale/ns/shop/sa/cart")]);
    let error = VerifyError::TrustDomain { trust_domain: "cluster.locale".parse().unwrap() };
    for result in at_both_ends((vec![leaf], key), root.bundle()) {
        assert_eq!(why(&result.unwrap_err()), Some(&error));
    }
}

#[test]
fn another_root_is_refused_even_with_the_same_name() {
    let (leaf, key) = Authority::root("another").leaf(|_| {});
    for result in at_both_ends((vec![leaf], key), Authority::root("root").bundle()) {
        assert_eq!(result.unwrap_err(), Error::InvalidCertificate(CertificateError::UnknownIssuer));
    }
    let (leaf, key) = Authority::root("root").leaf(|_| {});
    for result in at_both_ends((vec![leaf], key), Authority::root("root").bundle()) {
        assert!(matches!(why(&result.unwrap_err()), Some(VerifyError::Path(_))));
    }
}

#[test]
fn a_leaf_does_not_vouch_for_another() {
    let root = Authority::root("root");
    let signer = root.intermediate("not really");
    let (not_a_ca, _) = root.leaf(|leaf| leaf.distinguished_name.push(DnType::CommonName, "not really"));
    let (leaf, key) = signer.leaf(|_| {});
    for result in at_both_ends((vec![leaf, not_a_ca], key), root.bundle()) {
        assert!(result.is_err());
    }
}

#[test]
fn a_huge_chain_is_refused_unread() {
    let root = Authority::root("root");
    let (leaf, key) = root.leaf(|leaf| {
        leaf.subject_alt_names.extend((0..2000).map(|n| dns(&format!("{n}.example"))));
    });
    for result in at_both_ends((vec![leaf], key), root.bundle()) {
        let error = result.unwrap_err();
        assert!(
            matches!(why(&error), Some(VerifyError::Chain(ChainError::TooLarge { limit: 16384, .. }))),
            "{error:?}"
        );
    }
}

#[test]
fn a_leaf_is_refused_before_and_after_its_time() {
    let root = Authority::root("root");
    let early = root.leaf(|leaf| leaf.not_before = (now() + Duration::from_secs(1)).into());
    for result in at_both_ends((vec![early.0], early.1), root.bundle()) {
        let error = result.unwrap_err();
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })),
            "{error:?}"
        );
    }
    let late = root.leaf(|leaf| leaf.not_after = (now() - Duration::from_secs(1)).into());
    for result in at_both_ends((vec![late.0], late.1), root.bundle()) {
        let error = result.unwrap_err();
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::ExpiredContext { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn a_root_outside_its_time_vouches_for_nobody() {
    let root = Authority::root_with("root", |root| root.not_after = (now() - HOUR).into());
    let (leaf, key) = root.leaf(|_| {});
    for result in at_both_ends((vec![leaf], key), root.bundle()) {
        let error = VerifyError::NoRootNow { trust_domain: domain() };
        assert_eq!(why(&result.unwrap_err()), Some(&error));
    }
}

#[test]
fn an_issued_svid_expires() {
    let ca = new_ca();
    let last = now() + HOUR;
    let (client, server) = configs(&ca);
    handshake_at(last, client, server).server.unwrap();
    let (client, server) = configs(&ca);
    let outcome = handshake_at(last + Duration::from_secs(1), client, server);
    assert!(matches!(
        outcome.client,
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
    ));
    assert_eq!(outcome.server.unwrap_err(), Error::AlertReceived(AlertDescription::CertificateExpired));
}

#[test]
fn a_peer_that_is_not_expected_is_refused_by_either_end() {
    let ca = new_ca();
    let (client, server) = (issue(&ca, "/client"), issue(&ca, "/server"));
    let nobody = || -> Arc<dyn Authorizer> { Arc::new(Expected::any_of([])) };
    for authorizer in [only(id("/other")), nobody()] {
        let client = tls::client_config(&provider(), &client, ca.bundle(), authorizer).unwrap();
        let server = tls::server_config(&provider(), &server, ca.bundle(), anyone()).unwrap();
        let error = handshake(client, server).client.unwrap_err();
        assert_eq!(cause::<Unexpected>(&error).unwrap().peer, id("/server"));
    }
    for authorizer in [only(id("/other")), nobody()] {
        let client = tls::client_config(&provider(), &client, ca.bundle(), anyone()).unwrap();
        let server = tls::server_config(&provider(), &server, ca.bundle(), authorizer).unwrap();
        let error = handshake(client, server).server.unwrap_err();
        assert_eq!(cause::<Unexpected>(&error).unwrap().peer, id("/client"));
    }
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let (_, server) = configs(&new_ca());
    let outcome = handshake(careless_client(&provider(), None), server);
    assert_eq!(outcome.server.unwrap_err(), Error::NoCertificatesPresented);
    assert_eq!(outcome.client.unwrap_err(), Error::AlertReceived(AlertDescription::CertificateRequired));
}

#[test]
fn a_peer_that_speaks_only_tls_1_2_is_refused() {
    // Providers of ours know no TLS 1.2, so that the peer needs rustls's own.
    #[cfg(feature = "aws-lc-rs")]
    let old = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(not(feature = "aws-lc-rs"))]
    let old = Arc::new(rustls::crypto::ring::default_provider());
    let old_client = ClientConfig::builder_with_provider(Arc::clone(&old))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let ca = new_ca();
    let svid = issue(&ca, "/server");
    let old_server = ServerConfig::builder_with_provider(old)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(svid.chain().to_vec(), svid.key().clone_key())
        .unwrap();

    let (client, server) = configs(&ca);
    assert!(matches!(handshake(old_client, server).server, Err(Error::PeerIncompatible(_))));
    assert!(matches!(
        handshake(client, old_server).client,
        Err(Error::AlertReceived(AlertDescription::ProtocolVersion))
    ));
}

#[test]
fn the_key_of_another_certificate_makes_no_svid() {
    let root = Authority::root("root");
    let [(own, own_key), (_, other_key)] = [(); 2].map(|()| root.leaf(|_| {}));
    Svid::new(vec![own.clone()], own_key).unwrap();
    let refusal = Svid::new(vec![own], other_key);
    assert!(matches!(refusal, Err(SvidError::Key(KeyError::Mismatch))));

    // An RSA key says its public half in numbers.
    let (pkcs8, pkcs1) = (key_in("rsa-root.pkcs8.pem"), key_in("rsa-root.pkcs1.pem"));
    let leaf = root.leaf_of(&KeyPair::try_from(&pkcs8).unwrap());
    Svid::new(vec![leaf.clone()], pkcs8).unwrap();
    Svid::new(vec![leaf.clone()], pkcs1.clone_key()).unwrap();
    let mut other = pkcs1.secret_der().to_vec();
    other[100] ^= 1;
    let refusal = Svid::new(vec![leaf], PrivateKeyDer::Pkcs1(other.into()));
    assert!(matches!(refusal, Err(SvidError::Key(KeyError::Mismatch))));
}

fn key_in(file: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The file of a key may keep silent about its public half, or lie; its use shows.
#[test]
fn the_key_of_another_certificate_makes_no_configuration() {
    let root = Authority::root("root");
    let config = |leaf: &KeyPair, key: Vec<u8>| {
        let svid = Svid::new(vec![root.leaf_of(leaf)], PrivateKeyDer::Pkcs8(key.into())).unwrap();
        tls::client_config(&provider(), &svid, root.bundle(), anyone()).map(|_| ())
    };
    let [own, other] = [(); 2].map(|()| KeyPair::generate_for(&PKCS_ED25519).unwrap());
    config(&own, lab::silent_pkcs8(&own)).unwrap();
    assert!(matches!(config(&own, lab::silent_pkcs8(&other)), Err(TlsError::Key { .. })));

    let [own, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
    config(&own, own.serialize_der()).unwrap();
    assert!(matches!(config(&own, lab::lying_pkcs8(&other, &own)), Err(TlsError::Key { .. })));
}

fn why(error: &Error) -> Option<&VerifyError> {
    cause(error)
}
