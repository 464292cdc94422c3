//! Why a pool gives nothing out.

use std::error::Error as StdError;
use std::sync::Arc;

use thiserror::Error;

use crate::error::OpenError;
use crate::ledger::Full;

/// Why a pool has no tunnel.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PoolError<E: StdError + 'static> {
    /// The dial that it waited for, its own or another's, failed.
    #[error("no connection could be made")]
    Dial {
        /// What dial returned, shared by all who waited.
        #[source]
        source: Arc<E>,
    },
    /// There was a connection, but no tunnel on it.
    #[error("no tunnel could be opened")]
    Open {
        /// What went wrong.
        #[source]
        source: OpenError,
    },
    /// A bound of [`PoolConfig`](super::PoolConfig) is reached: all connections are full and there may be no more.
    #[error("the pool has {limit} connections, which is its limit")]
    Exhausted {
        /// The bound.
        limit: usize,
    },
    /// Too many requests wait for dials already: see
    /// [`PoolConfig::with_max_waiting`](super::PoolConfig::with_max_waiting).
    #[error("{limit} requests wait for connections, which is the pool's limit")]
    Crowded {
        /// The bound.
        limit: usize,
    },
}

impl<E: StdError + 'static> From<Full> for PoolError<E> {
    fn from(full: Full) -> Self {
        match full {
            Full::Lines { limit } => Self::Exhausted { limit },
            Full::Waiting { limit } => Self::Crowded { limit },
        }
    }
}
