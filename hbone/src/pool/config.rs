//! The bounds of a pool, each with its reason and its cost.

use std::time::Duration;

/// How many connections a [`Pool`](super::Pool) has, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    pub(super) max_streams_per_connection: usize,
    pub(super) max_connections_per_key: usize,
    pub(super) max_connections: usize,
    pub(super) idle_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_streams_per_connection: 100,
            max_connections_per_key: 256,
            max_connections: 16_384,
            idle_timeout: Duration::from_secs(300),
        }
    }
}

impl PoolConfig {
    /// Tunnels on one connection, if its peer allows as many. Default 100, as Istio's ztunnel. More tunnels share one
    /// connection's window; fewer need more connections.
    pub fn with_max_streams_per_connection(mut self, streams: usize) -> Self {
        self.max_streams_per_connection = streams;
        self
    }

    /// Connections for one key, dials included. Default 256. It bounds what one destination can cost.
    pub fn with_max_connections_per_key(mut self, connections: usize) -> Self {
        self.max_connections_per_key = connections;
        self
    }

    /// Connections for all keys together, dials included. Default 16 384. When it is reached, idle ones go first.
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// How long a connection without tunnels is kept. Default 5 minutes, as Istio's ztunnel. An idle connection costs
    /// some KiB and pings; a new one costs a dial and a TLS handshake.
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }
}
