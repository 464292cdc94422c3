//! The bounds of a pool, each with its reason and its cost.

use std::time::Duration;

/// How many connections a [`Pool`](super::Pool) has, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    pub(super) max_streams_per_connection: usize,
    pub(super) max_connections_per_key: usize,
    pub(super) max_connections: usize,
    pub(super) max_waiting: usize,
    pub(super) idle_timeout: Duration,
    pub(super) max_age: Option<Duration>,
    pub(super) spread: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_streams_per_connection: 100,
            max_connections_per_key: 256,
            max_connections: 16_384,
            max_waiting: 16_384,
            idle_timeout: Duration::from_secs(300),
            max_age: Some(Duration::from_secs(3600)),
            spread: 1,
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

    /// Connections for all keys together, dials included. Default 16 384. When it is reached, idle ones go first. There are never
    /// more keys than connections.
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

    /// Requests that may wait for dials, of all keys together. Default 16 384, as many as there may be dials. More are turned away
    /// at once, with [`PoolError::Crowded`](super::PoolError::Crowded): while peers do not answer, callers do not pile up.
    pub fn with_max_waiting(mut self, requests: usize) -> Self {
        self.max_waiting = requests;
        self
    }

    /// How old a connection may be and still get new tunnels; `None` for any age. Default an hour: what a peer proved when
    /// it was made is proved again, and a peer that was moved or grew is found again. Its tunnels go on; it goes with the
    /// last of them.
    pub fn with_max_age(mut self, age: Option<Duration>) -> Self {
        self.max_age = age;
        self
    }

    /// Over how many connections the tunnels of one key are spread, before any has two. Default 1: a connection is shared until it
    /// is full. More let few bulk transfers use more cores and more of TCP's windows; for short requests they cost
    /// throughput, measured at 22 % for four.
    pub fn with_spread(mut self, connections: usize) -> Self {
        self.spread = connections;
        self
    }
}
