//! Identities in TLS: both ends prove who they are, or there is no connection.
//!
//! This is the only code that knows rustls's traits, and the only part of the crate whose API names its types. Every
//! configuration it makes
//!
//! - speaks TLS 1.3 and nothing older,
//! - demands a certificate of the peer, verifies it with [`verify`](crate::verify()), and asks the
//!   [`Authorizer`](crate::Authorizer) that it cannot be made without,
//! - looks up what is trusted at the moment when the certificate arrives (a [`SharedTrust`](crate::SharedTrust)),
//! - never resumes: a resumed session would skip all of that,
//! - ignores names: the client sends none and checks none, since the id says who the peer is.
//!
//! `alpn_protocols` is left empty for the caller to set.
//!
//! # Resumption
//!
//! It is off, and nothing here turns it on. A caller can: by `resumption` of the client's configuration, and by
//! `session_storage` (or `ticketer`) and `send_tls13_tickets` of the server's. The consequences: in a resumed handshake
//! neither end verifies anything. A peer that was let in once is let in again although its certificate has expired or
//! was revoked, its root was taken away, or the authorizer would refuse it now, for as long as both ends keep the
//! session (up to a week, RFC 8446 §4.6.1). Configurations made with other authorizers or for other SVIDs must share no
//! session storage, or one lets in whom only the other would.

mod client;
mod peer;
mod provider;
mod server;
mod verifier;

pub use client::{client_config, unnamed};
pub use peer::{peer_id, peer_proof};
#[cfg(feature = "aws-lc-rs")]
pub use provider::aws_lc_rs;
#[cfg(feature = "ring")]
pub use provider::ring;
pub use server::server_config;
