//! [`Issuer`]: makes SVIDs on demand.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::clock::Clock;
use super::error::SourceError;
use super::material::Material;
use crate::spiffe_id::SpiffeId;

/// A request to an [`Issuer`] on its way.
pub type Issuing<'a> = Pin<Box<dyn Future<Output = Result<Material, SourceError>> + Send + 'a>>;

/// Makes an SVID for any identity that it is asked for, with the roots to trust.
///
/// It may be slow and it may fail: [`Cache`](super::Cache) bounds, shares and repeats what is asked of it.
pub trait Issuer: fmt::Debug + Send + Sync + 'static {
    /// A new SVID for `id`, valid by `clock`. To drop the future is to give up.
    fn issue<'a>(&'a self, id: &'a SpiffeId, clock: &'a Clock) -> Issuing<'a>;
}

/// So that which one it is can be decided while the program runs.
impl<I: Issuer + ?Sized> Issuer for Arc<I> {
    fn issue<'a>(&'a self, id: &'a SpiffeId, clock: &'a Clock) -> Issuing<'a> {
        (**self).issue(id, clock)
    }
}
