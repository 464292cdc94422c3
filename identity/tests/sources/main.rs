//! Sources, each with a real other end, and the cache in virtual time.

#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "../lab/mod.rs"]
mod lab;

mod cache;
mod files;
#[cfg(any(feature = "istio-ca", feature = "workload-api"))]
mod grpc_server;
mod issuer;
#[cfg(feature = "istio-ca")]
mod istio_ca;
mod rotation;
mod secrets;
mod virtual_time;
#[cfg(feature = "workload-api")]
mod workload_api;

use inpod_identity::source::Material;

/// An error and its causes, as a program shows them.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", told(cause)),
        None => error.to_string(),
    }
}

/// What makes an SVID another one.
fn serial(material: &Material) -> Vec<u8> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    X509Certificate::from_der(&material.svid().chain()[0]).unwrap().1.raw_serial().to_vec()
}
