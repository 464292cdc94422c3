//! Why a pool gives nothing out.

use std::error::Error as StdError;
use std::sync::Arc;

use thiserror::Error;

use crate::error::OpenError;

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
}
