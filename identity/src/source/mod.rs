//! Where SVIDs come from, and how a holder learns of the next one.
//!
//! ```text
//!   Fixed ----------------+
//!   Files ----------------+--> Source --> Watch --> Material (SVID and roots), never an expired one
//!   WorkloadApi ----------+       ^
//!                                 |
//!   EmbeddedCa --+                |
//!   IstioCa -----+--> Issuer --> Cache --> Lease: one identity's share of the cache
//! ```
//!
//! A [`Source`] has one identity and says when it changes. An [`Issuer`] makes an SVID for any identity that it is asked
//! for; a [`Cache`] asks it no more than needed, and its [`Lease`]s are sources.
//!
//! Nothing here spawns a task. What must go on in the background is a driver: a future that the caller runs, on the
//! runtime of its choice, and stops by dropping it. What it gave out stays readable until it expires.
//!
//! ```
//! # #[cfg(all(feature = "aws-lc-rs", feature = "ca"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::{Duration, SystemTime};
//!
//! use inpod_identity::source::{Cache, EmbeddedCa, Limits, Source};
//! use inpod_identity::{Ca, ServiceAccount, TrustDomain};
//!
//! let domain: TrustDomain = "cluster.local".parse()?;
//! let issuer = EmbeddedCa::new(Ca::generate(domain.clone())?, Duration::from_secs(3600));
//! let (cache, driver) = Cache::new(issuer, Limits::default());
//! tokio::spawn(driver.run());
//!
//! let cart = cache.lease(&ServiceAccount::new("shop", "cart")?.spiffe_id(&domain))?;
//! let material = cart.material().await?;
//! println!("{} until {:?}", material.id(), material.svid().not_after());
//!
//! // Where there is no time to wait: what is valid now.
//! let watch = cart.watch();
//! assert_eq!(watch.at(SystemTime::now())?.id(), material.id());
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "aws-lc-rs", feature = "ca")))]
//! # fn main() {}
//! ```

mod backoff;
mod cache;
mod clock;
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
mod embedded_ca;
mod error;
mod files;
mod fixed;
#[cfg(any(
    feature = "workload-api",
    all(feature = "istio-ca", any(feature = "aws-lc-rs", feature = "ring"))
))]
mod grpc;
mod issuer;
#[cfg(all(feature = "istio-ca", any(feature = "aws-lc-rs", feature = "ring")))]
mod istio_ca;
mod material;
mod watch;
#[cfg(feature = "workload-api")]
mod workload_api;

pub use cache::{Cache, CacheDriver, CacheError, Lease, LeaseError, Limits};
pub use clock::Clock;
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
pub use embedded_ca::EmbeddedCa;
pub use error::{MaterialError, SourceError, Unavailable};
pub use files::{Files, FilesDriver, FilesError, Layout};
pub use fixed::Fixed;
#[cfg(any(
    feature = "workload-api",
    all(feature = "istio-ca", any(feature = "aws-lc-rs", feature = "ring"))
))]
pub use grpc::{GrpcError, Status};
pub use issuer::{Issuer, Issuing};
#[cfg(all(feature = "istio-ca", any(feature = "aws-lc-rs", feature = "ring")))]
pub use istio_ca::{IstioCa, IstioCaConfig, IstioCaError, Roots};
pub use material::Material;
pub use watch::{Ended, Publisher, Watch};
#[cfg(feature = "workload-api")]
pub use workload_api::{Endpoint, EndpointError, Pick, WorkloadApi, WorkloadApiDriver, WorkloadApiError};

/// Holds one identity, and says when it changes.
///
/// An implementation of one's own keeps a [`Publisher`] and gives out its watches.
pub trait Source: std::fmt::Debug + Send + Sync {
    /// What is held, now and as it changes.
    fn watch(&self) -> Watch;
}
