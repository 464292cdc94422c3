//! [`EmbeddedCa`]: the CA of this process as an issuer.

use std::time::Duration;

use super::clock::Clock;
use super::error::SourceError;
use super::issuer::{Issuer, Issuing};
use super::material::Material;
use crate::ca::Ca;
use crate::spiffe_id::SpiffeId;

/// Issues from a [`Ca`] in memory, each SVID for the same time. The module's own example is one of it.
#[derive(Debug)]
pub struct EmbeddedCa {
    ca: Ca,
    lifetime: Duration,
}

impl EmbeddedCa {
    /// SVIDs of `ca`, each valid for `lifetime` from when it is issued.
    pub fn new(ca: Ca, lifetime: Duration) -> Self {
        Self { ca, lifetime }
    }

    fn issue_now(&self, id: &SpiffeId, clock: &Clock) -> Result<Material, SourceError> {
        let svid = self.ca.issue(id, self.lifetime, clock.now())?;
        Ok(Material::new(svid, self.ca.bundle().clone())?)
    }
}

impl Issuer for EmbeddedCa {
    fn issue<'a>(&'a self, id: &'a SpiffeId, clock: &'a Clock) -> Issuing<'a> {
        Box::pin(async move { self.issue_now(id, clock) })
    }
}
