//! [`WorkloadApi`]: an SVID from a SPIFFE Workload API.

mod answer;
mod driver;
mod endpoint;
mod error;
mod message;
mod pick;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use self::driver::WorkloadApiDriver;
pub use self::endpoint::Endpoint;
pub use self::error::{EndpointError, WorkloadApiError};
pub use self::pick::Pick;
use super::Source;
use super::clock::Clock;
#[cfg(doc)]
use super::material::Material;
use super::watch::{Publisher, Watch};

/// One of the SVIDs that a SPIFFE Workload API gives to this process, SPIRE's agent for example.
///
/// The server says when there is a new one. When the server is gone, what was given stays until it expires; when it takes
/// the SVID back (it answers without it, or with PERMISSION_DENIED), it is not given out any more. An answer that no peer
/// would believe changes nothing, but is told by [`Watch::trouble`].
///
/// An answer also says whom else to trust, about their own trust domains, and what is revoked: [`Material::trust`] has both.
/// It holds what the last answer said and nothing older, so that the server can take it back.
///
/// ```no_run
/// # #[cfg(feature = "aws-lc-rs")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use inpod_identity::source::{Endpoint, Pick, Source, WorkloadApi};
/// use inpod_identity::tls;
///
/// let (api, driver) = WorkloadApi::new(Endpoint::from_env()?, Pick::First, tls::aws_lc_rs());
/// tokio::spawn(driver.run());
///
/// let mut watch = api.watch();
/// println!("{:?}", watch.first().await?);
/// while watch.changed().await.is_ok() {
///     println!("{:?}, trouble: {:?}", watch.at(std::time::SystemTime::now()), watch.trouble());
/// }
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "aws-lc-rs"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct WorkloadApi(Watch);

impl WorkloadApi {
    /// A source of the SVID that is picked at `endpoint`, checked with `provider`, and the driver that fetches it.
    pub fn new(endpoint: Endpoint, pick: Pick, provider: Arc<CryptoProvider>) -> (Self, WorkloadApiDriver) {
        Self::with_clock(endpoint, pick, provider, Clock::system())
    }

    /// The same by another clock.
    pub fn with_clock(
        endpoint: Endpoint,
        pick: Pick,
        provider: Arc<CryptoProvider>,
        clock: Clock,
    ) -> (Self, WorkloadApiDriver) {
        let publisher = Publisher::new();
        let watch = publisher.watch();
        (Self(watch), WorkloadApiDriver::new(endpoint, pick, provider, clock, publisher))
    }
}

impl Source for WorkloadApi {
    fn watch(&self) -> Watch {
        self.0.clone()
    }
}
