//! SPIFFE identities: parse them, hold them, prove them, and check them in TLS.
//!
//! **The one rule: say who you expect.** A certificate proves who a peer is, not that it is the one you want. No TLS
//! configuration is made here without an [`Authorizer`], and there is none that lets anyone in.
//!
//! ```text
//!      Ca, or PEM                                                   Trust     Authorizer
//!          |                                                           |          |
//!          v          client_config                                    v          v
//!        Svid ------> server_config ------> TLS 1.3 ------> chain -> verify -> authorize -> SpiffeId
//!   chain and key     (rustls)              both ends prove          an identity            peer_id
//! ```
//!
//! [`Trust`] has a [`Bundle`] of roots for each trust domain, and what is revoked; where one trust domain is all there
//! is, a `Bundle` will do for it. A [`SharedTrust`] is a `Trust` that can be replaced while configurations use it.
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
//! Two trust domains that believe each other about their own, and a root that is taken away while everything runs:
//!
//! ```
//! # #[cfg(all(feature = "aws-lc-rs", feature = "ca"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::sync::Arc;
//! # use std::time::{Duration, SystemTime};
//! # use inpod_identity::{Ca, Expected, SpiffeId, Trust, SharedTrust, tls};
//! # let (ours, theirs) = (Ca::generate("cluster.local".parse()?)?, Ca::generate("example.org".parse()?)?);
//! # let cart: SpiffeId = "spiffe://cluster.local/cart".parse()?;
//! # let cart_svid = ours.issue(&cart, Duration::from_secs(3600), SystemTime::now())?;
//! # let provider = tls::aws_lc_rs();
//! let trust = SharedTrust::new(Trust::new([ours.bundle().clone(), theirs.bundle().clone()])?);
//! let anyone_there = Arc::new(Expected::in_trust_domain("example.org".parse()?));
//! let client = tls::client_config(&provider, &cart_svid, &trust, anyone_there)?;
//! // Later: no handshake of `client` accepts a peer of example.org any more.
//! trust.replace(trust.current().without(&"example.org".parse()?));
//! # let _ = client;
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "aws-lc-rs", feature = "ca")))]
//! # fn main() {}
//! ```
//!
//! # What is checked
//!
//! [`verify()`] says it in order. The vectors of `tests/vectors` say it case by case, each with the section of SPIFFE's
//! texts or of an RFC. Where a text leaves a choice, the narrower one is taken: ids are at most 2048 bytes, nothing is
//! folded or normalised, and [`Rules`] says how much of what issuers must keep is asked of what peers show.
//!
//! # Features
//!
//! - `aws-lc-rs` (default), `ring`: each adds a constructor of a crypto provider, `tls::aws_lc_rs` and `tls::ring`.
//!   With neither, bring your own rustls `CryptoProvider`. None is ever installed for the process.
//! - `ca` (default): `Ca`, the embedded certificate authority. It is there with one of the two providers.
//! - `bundle-document`: `BundleDocument`, in which trust domains tell each other their roots.
//! - `sources`: the module `source`, where SVIDs come from and how they are renewed: fixed, files, the embedded CA, and a
//!   keyed cache for the pods of a node. It needs tokio's timer, and spawns nothing.
//! - `istio-ca`, `workload-api`: each adds a source to it, `source::IstioCa` (with one of the two providers) and
//!   `source::WorkloadApi`, which need tokio's sockets.
//!
//! Types of other crates in the API: those of `rustls-pki-types` (certificates, keys, time), `tokio`'s `watch::Receiver`
//! in [`SharedTrust::watch`], and in [`tls`] and `source` those of `rustls` 0.23.

#![forbid(unsafe_code)]

mod base64;
mod bundle;
#[cfg(feature = "bundle-document")]
mod bundle_document;
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
mod ca;
mod certificate;
mod chain;
mod der;
mod error;
mod expected;
mod pem;
mod private_key;
mod proof;
mod revocation;
mod service_account;
mod shared_trust;
#[cfg(feature = "sources")]
pub mod source;
mod spiffe_id;
mod svid;
pub mod tls;
mod trust;
mod trust_domain;
mod verify;

pub use bundle::Bundle;
#[cfg(feature = "bundle-document")]
pub use bundle_document::{BundleDocument, DocumentError};
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
pub use ca::{Ca, CaError, IssueError, SignError};
pub use certificate::Rules;
pub use error::{
    AuthorityError, BundleError, ChainError, KeyError, LeafError, MalformedCertificate, ParseError,
    PathError, PemError, ServiceAccountError, SvidError, TlsError, TrustError, Unexpected, VerifyError,
};
pub use expected::{Authorizer, Expected};
pub use proof::Proof;
pub use revocation::{Crls, CrlsError, ExpiredCrl, RevocationError, RevocationPolicy, UnknownStatus};
pub use service_account::ServiceAccount;
pub use shared_trust::SharedTrust;
pub use spiffe_id::SpiffeId;
pub use svid::Svid;
pub use trust::Trust;
pub use trust_domain::TrustDomain;
pub use verify::{Role, verify};
