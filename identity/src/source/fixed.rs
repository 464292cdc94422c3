//! [`Fixed`]: a source that never changes.

use super::Source;
use super::material::Material;
use super::watch::{Publisher, Watch};

/// One SVID until it expires: for tests, for short programs, and for those who restart to renew.
///
/// ```
/// # #[cfg(all(feature = "aws-lc-rs", feature = "ca"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::{Duration, SystemTime};
///
/// use inpod_identity::source::{Fixed, Material, Source};
/// use inpod_identity::{Ca, SpiffeId, TrustDomain};
///
/// let domain: TrustDomain = "cluster.local".parse()?;
/// let ca = Ca::generate(domain.clone())?;
/// let (id, hour) = (SpiffeId::new(&domain, "/ns/shop/sa/cart")?, Duration::from_secs(3600));
/// let svid = ca.issue(&id, hour, SystemTime::now())?;
///
/// let source = Fixed::new(Material::new(svid, ca.bundle().clone())?);
/// assert_eq!(source.watch().at(SystemTime::now())?.id(), &id);
/// assert!(source.watch().at(SystemTime::now() + 2 * hour).is_err());
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "aws-lc-rs", feature = "ca")))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Fixed(Publisher);

impl Fixed {
    /// A source of `material`.
    pub fn new(material: Material) -> Self {
        let publisher = Publisher::new();
        publisher.publish(material);
        Self(publisher)
    }
}

impl Source for Fixed {
    fn watch(&self) -> Watch {
        self.0.watch()
    }
}
