//! SPIFFE identities: parse them, hold them, prove them, and check them in TLS.
//!
//! **The one rule: say who you expect.** A certificate proves who a peer is, not that it is the one you want. No TLS
//! configuration is made here without an [`Authorizer`], and there is none that lets anyone in.
//!
//! ```text
//!      Ca, or PEM                                                   Bundle    Authorizer
//!          |                                                           |          |
//!          v          client_config                                    v          v
//!        Svid ------> server_config ------> TLS 1.3 ------> chain -> verify -> authorize -> SpiffeId
//!   chain and key     (rustls)              both ends prove          an identity            peer_id
//! ```
//!
//! The smallest program: two ends, who then know each other.
//!
//! ```
//! # #[cfg(all(feature = "aws-lc-rs", feature = "ca"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//!
//! use inpod_identity::{Ca, Expected, ServiceAccount, TrustDomain, tls};
//!
//! let domain: TrustDomain = "cluster.local".parse()?;
//! let ca = Ca::generate(domain.clone())?;
//! let cart = ServiceAccount::new("shop", "cart")?.spiffe_id(&domain);
//! let till = ServiceAccount::new("shop", "till")?.spiffe_id(&domain);
//!
//! let hour = Duration::from_secs(3600);
//! let cart_svid = ca.issue(&cart, hour, SystemTime::now())?;
//! let till_svid = ca.issue(&till, hour, SystemTime::now())?;
//!
//! let provider = tls::aws_lc_rs();
//! let client = tls::client_config(&provider, &cart_svid, ca.bundle(), Arc::new(Expected::one(till)))?;
//! let server = tls::server_config(&provider, &till_svid, ca.bundle(), Arc::new(Expected::one(cart)))?;
//! // Connect with `tls::unnamed()` as the server's name; then `tls::peer_id` says who is there.
//! # let (_, _) = (client, server);
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "aws-lc-rs", feature = "ca")))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! - `aws-lc-rs` (default), `ring`: each adds a constructor of a crypto provider, `tls::aws_lc_rs` and `tls::ring`.
//!   With neither, bring your own rustls `CryptoProvider`. None is ever installed for the process.
//! - `ca` (default): `Ca`, the embedded certificate authority. It needs one of the two providers.
//!
//! - `sources`: the module `source`, where SVIDs come from and how they are renewed: fixed, files, the embedded CA, and a
//!   keyed cache for the pods of a node. It needs tokio's timer, and spawns nothing.
//! - `istio-ca`, `workload-api`: each adds a source to it, `source::IstioCa` (with one of the two providers) and
//!   `source::WorkloadApi`, which need tokio's sockets.
//!
//! Types of other crates in the API: those of `rustls-pki-types` (certificates, keys, time), and in [`tls`] and `source` those
//! of `rustls` 0.23.

#![forbid(unsafe_code)]

mod bundle;
#[cfg(feature = "ca")]
mod ca;
mod certificate;
mod chain;
mod der;
mod error;
mod expected;
mod pem;
mod private_key;
mod service_account;
#[cfg(feature = "sources")]
pub mod source;
mod spiffe_id;
mod svid;
pub mod tls;
mod trust_domain;
mod verify;

pub use bundle::Bundle;
#[cfg(feature = "ca")]
pub use ca::{Ca, CaError, IssueError, SignError};
pub use error::{
    AuthorityError, BundleError, ChainError, KeyError, LeafError, MalformedCertificate, ParseError,
    PathError, PemError, ServiceAccountError, SvidError, TlsError, Unexpected, VerifyError,
};
pub use expected::{Authorizer, Expected};
pub use service_account::ServiceAccount;
pub use spiffe_id::SpiffeId;
pub use svid::Svid;
pub use trust_domain::TrustDomain;
pub use verify::{Role, verify};
