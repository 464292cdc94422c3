//! Crypto providers, with the choices that suit a mesh.
//!
//! AES-128-GCM comes first: it is about 15 % faster than AES-256-GCM where both are done in hardware, which is every
//! server of the last decade, and no less safe for keys that live as long as a connection. ChaCha20-Poly1305 is for the
//! machines without.

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
use {rustls::crypto::CryptoProvider, std::sync::Arc};

/// AWS-LC's algorithms.
///
/// X25519MLKEM768 comes first: the hybrid of X25519 and ML-KEM-768 (FIPS 203), so that what is recorded today stays
/// secret from a quantum computer of the future. It makes a handshake longer by 2.2 KiB. A client sends a share of
/// X25519 beside it, so that peers without ML-KEM lose no round trip. Who would rather have it the other way round
/// reorders `kx_groups` of what this returns.
#[cfg(feature = "aws-lc-rs")]
pub fn aws_lc_rs() -> Arc<CryptoProvider> {
    use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};

    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..default_provider()
    })
}

/// ring's algorithms: quicker to build than AWS-LC, slower with large records, and without ML-KEM.
#[cfg(feature = "ring")]
pub fn ring() -> Arc<CryptoProvider> {
    use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};

    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..default_provider()
    })
}
