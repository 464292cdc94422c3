//! Identities in TLS: both ends prove who they are, or there is no connection.
//!
//! This is the only code that knows rustls's traits, and the only part of the crate whose API names its types. Every
//! configuration it makes
//!
//! - speaks TLS 1.3 and nothing older,
//! - demands a certificate of the peer, verifies it with [`verify`](crate::verify()), and asks the
//!   [`Authorizer`](crate::Authorizer) that it cannot be made without,
//! - never resumes: a resumed session would skip both,
//! - ignores names: the client sends none and checks none, since the id says who the peer is.
//!
//! `alpn_protocols` is left empty for the caller to set.

mod client;
mod peer;
mod provider;
mod server;
mod verifier;

pub use client::{client_config, unnamed};
pub use peer::peer_id;
#[cfg(feature = "aws-lc-rs")]
pub use provider::aws_lc_rs;
#[cfg(feature = "ring")]
pub use provider::ring;
pub use server::server_config;
