//! Why a cache gives nothing.

use thiserror::Error;

use crate::source::error::Unavailable;

/// Why there is no lease.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Other identities have taken all the room.
    #[error("cache holds {limit} identities already")]
    Full {
        /// The most that it holds.
        limit: usize,
    },
    /// The driver has ended.
    #[error("cache has ended")]
    Ended,
}

/// Why a lease gives no material.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The issuer gave none. All who waited for the same request get the same cause.
    #[error("no SVID was issued")]
    Unavailable(#[from] Unavailable),
    /// The driver has ended.
    #[error("cache has ended")]
    Ended,
}
