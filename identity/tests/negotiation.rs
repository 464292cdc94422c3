//! What two ends agree on, and what follows from turning resumption on.

#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod lab;

use std::sync::Arc;

use inpod_identity::{Ca, Expected, SharedTrust, Svid, Trust, tls};
use lab::{HOUR, domain, id, now, provider, providers, stopped};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::ServerSessionMemoryCache;
use rustls::{CipherSuite, ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig};

struct Mesh {
    client: Svid,
    server: Svid,
    trust: SharedTrust,
}

impl Mesh {
    fn new() -> Self {
        let ca = Ca::generate_at(domain(), now()).unwrap();
        let [client, server] = ["/client", "/server"].map(|path| ca.issue(&id(path), HOUR, now()).unwrap());
        Self { client, server, trust: ca.bundle().into() }
    }

    fn configs(&self, a: &Arc<CryptoProvider>, b: &Arc<CryptoProvider>) -> (ClientConfig, ServerConfig) {
        let [to_client, to_server] = ["/client", "/server"].map(|path| Arc::new(Expected::one(id(path))));
        let mut client = tls::client_config(a, &self.client, &self.trust, to_server).unwrap();
        let mut server = tls::server_config(b, &self.server, &self.trust, to_client).unwrap();
        client.time_provider = stopped(now());
        server.time_provider = stopped(now());
        (client, server)
    }
}

/// The provider's name is its first key exchange: only AWS-LC has ML-KEM.
fn has_ml_kem(provider: &CryptoProvider) -> bool {
    provider.kx_groups.iter().any(|group| group.name() == NamedGroup::X25519MLKEM768)
}

#[test]
fn both_ends_agree_on_tls_1_3_aes_128_and_the_hybrid_key_exchange_where_both_have_it() {
    let mesh = Mesh::new();
    for a in providers() {
        for b in providers() {
            let (client, server) = mesh.configs(&a, &b);
            let (mut client, mut server) = lab::ends(&Arc::new(client), &Arc::new(server));
            lab::shake(&mut client, &mut server).server.unwrap();
            let group = match has_ml_kem(&a) && has_ml_kem(&b) {
                true => NamedGroup::X25519MLKEM768,
                false => NamedGroup::X25519,
            };
            for end in [&**client, &**server] {
                assert_eq!(end.protocol_version(), Some(ProtocolVersion::TLSv1_3));
                let suite = end.negotiated_cipher_suite().unwrap().suite();
                assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
                assert_eq!(end.negotiated_key_exchange_group().unwrap().name(), group);
                // One that does not agree on the first share asks for another, which costs a round trip.
                assert_eq!(end.handshake_kind(), Some(HandshakeKind::Full));
            }
        }
    }
}

#[test]
#[cfg(feature = "aws-lc-rs")]
fn aws_lc_has_the_hybrid_key_exchange_first() {
    let groups: Vec<_> = tls::aws_lc_rs().kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups.first(), Some(&NamedGroup::X25519MLKEM768));
    assert_eq!(groups.get(1), Some(&NamedGroup::X25519));
}

/// A peer that prefers another suite or key exchange gets it, as long as it is one of ours.
#[test]
fn a_peer_that_knows_less_is_met() {
    let mesh = Mesh::new();
    for suite in provider().cipher_suites.clone() {
        for group in provider().kx_groups.clone() {
            let less = CryptoProvider {
                cipher_suites: vec![suite],
                kx_groups: vec![group],
                ..(*provider()).clone()
            };
            let (client, server) = mesh.configs(&Arc::new(less), &provider());
            let (mut client, mut server) = lab::ends(&Arc::new(client), &Arc::new(server));
            lab::shake(&mut client, &mut server).server.unwrap();
            assert_eq!(server.negotiated_cipher_suite(), Some(suite));
            assert_eq!(server.negotiated_key_exchange_group().unwrap().name(), group.name());
        }
    }
}

/// What the documentation of `tls` says of callers that turn resumption on.
#[test]
fn who_turns_resumption_on_does_not_verify_again() {
    let mesh = Mesh::new();
    let (mut client, mut server) = mesh.configs(&provider(), &provider());
    client.resumption = Resumption::in_memory_sessions(4);
    server.session_storage = ServerSessionMemoryCache::new(4);
    server.send_tls13_tickets = 1;
    let (client, server) = (Arc::new(client), Arc::new(server));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (mut client, mut server) = lab::ends(&client, &server);
        lab::shake(&mut client, &mut server).server.unwrap();
        kinds.push(client.handshake_kind().unwrap());
    }
    mesh.trust.replace(Trust::new([]).unwrap());
    let (mut near, mut far) = lab::ends(&client, &server);
    lab::shake(&mut near, &mut far).server.unwrap();
    kinds.push(near.handshake_kind().unwrap());
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);

    // Who does not, does.
    let (client, server) = mesh.configs(&provider(), &provider());
    assert!(lab::handshake(client, server).client.is_err());
}
