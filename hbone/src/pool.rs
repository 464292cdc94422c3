//! Connections to share: one dial for all who want the same, and a count of who uses what.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::Shared;
use thiserror::Error;

use crate::client::Client;
use crate::connect::ConnectRequest;
use crate::error::OpenError;
use crate::ledger::{Bounds, Full, Ledger, LineId, Room};
use crate::tunnel::{RecvHalf, SendHalf, Tunnel};

/// The bounds of a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Tunnels on one connection, if its peer allows as many. Default 100, as Istio's ztunnel. More share one window.
    pub max_streams_per_connection: usize,
    /// Connections for one key, dials included. Default 256.
    pub max_connections_per_key: usize,
    /// Connections for all keys together, dials included. Default 16 384. When it is reached, idle ones go first.
    pub max_connections: usize,
    /// How long a connection without tunnels is kept. Default 5 minutes, as Istio's ztunnel. An idle connection costs
    /// some KiB and pings; a new one costs a TLS handshake.
    pub idle_timeout: Duration,
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

/// Connections by key. `K` is whatever makes two connections interchangeable (who we are, whom we expect, where);
/// `E` is what the caller's dial fails with. Clones share the connections.
///
/// The pool neither dials nor spawns. Callers bring a `dial`, and poll each other's: the first who needs a connection
/// starts one flight, everybody who comes meanwhile waits for the same, and its result reaches all, an error too.
/// Nothing is locked while anything is awaited.
pub struct Pool<K, E> {
    inner: Arc<Inner<K, E>>,
}

struct Inner<K, E> {
    config: PoolConfig,
    ledger: Mutex<Ledger<K, Carrier<E>>>,
}

/// A dial under way, which any number of waiters poll.
type Flight<E> = Shared<FlightFuture<E>>;
type FlightFuture<E> = Pin<Box<dyn Future<Output = Result<Client, Arc<E>>> + Send>>;

enum Carrier<E> {
    Dialling(Flight<E>),
    Open(Client),
}

impl<K, E> Pool<K, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    E: StdError + Send + Sync + 'static,
{
    /// An empty pool.
    pub fn new(config: PoolConfig) -> Self {
        let bounds = Bounds {
            permits_per_line: config.max_streams_per_connection,
            lines_per_key: config.max_connections_per_key,
            lines: config.max_connections,
        };
        Self { inner: Arc::new(Inner { config, ledger: Mutex::new(Ledger::new(bounds)) }) }
    }

    /// Opens a tunnel on a connection of this key, dialling one if there is none with room.
    ///
    /// `dial` is called at most once; its future connects, handshakes, gets the [`Driver`](crate::Driver) running and
    /// returns the [`Client`]. If its caller goes away, other waiters carry it on; when nobody waits, it is dropped.
    ///
    /// If a connection that was there before turns out to be gone or going, and did not process the request, it is
    /// tried once more on a fresh one. A refusal is never retried.
    ///
    /// # Errors
    ///
    /// See [`PoolError`].
    pub async fn open<F, Fut>(
        &self,
        key: &K,
        request: ConnectRequest,
        dial: F,
    ) -> Result<Pooled, PoolError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Client, E>> + Send + 'static,
    {
        if let Some(lease) = self.inner.join(key, Wanted::Any) {
            match lease.open(request.clone()).await {
                Err(PoolError::Open { source }) if source.is_not_processed() => {}
                result => return result,
            }
            if let Some(lease) = self.inner.join(key, Wanted::Fresh) {
                return lease.open(request).await;
            }
        }
        let lease = self.inner.launch(key, Box::pin(dial()))?;
        lease.open(request).await
    }

    /// Forgets the connections that have had no tunnel for [`PoolConfig::idle_timeout`] at `now`, and those that
    /// have died. Returns how many.
    pub fn reap(&self, now: Instant) -> usize {
        self.inner.ledger().reap(now, self.inner.config.idle_timeout, Carrier::is_dead)
    }

    /// Reaps from time to time, for as long as it is polled.
    pub async fn run_reaper(&self) {
        let pause = (self.inner.config.idle_timeout / REAPS_PER_TIMEOUT).max(SHORTEST_PAUSE);
        loop {
            tokio::time::sleep(pause).await;
            self.reap(now());
        }
    }

    /// Forgets every connection, so that the next tunnel needs a new one. Tunnels that are open go on.
    pub fn clear(&self) {
        let forgotten = self.inner.ledger().clear();
        // Out of the lock, because dropping a flight runs the caller's code.
        drop(forgotten);
    }

    /// How many connections there are, dials included.
    pub fn connections(&self) -> usize {
        self.inner.ledger().lines()
    }

    /// How many keys have a connection.
    pub fn keys(&self) -> usize {
        self.inner.ledger().keys()
    }
}

impl<K, E> Clone for Pool<K, E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, E> fmt::Debug for Pool<K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// A tunnel on a pooled connection. Its place there is free again when the tunnel, or both of its halves, are gone.
#[derive(Debug)]
pub struct Pooled {
    tunnel: Tunnel,
    origin: Origin,
}

impl Pooled {
    /// Where its connection came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The tunnel, which keeps its place by itself.
    pub fn into_tunnel(self) -> Tunnel {
        self.tunnel
    }

    /// The halves of the tunnel, which keep its place by themselves.
    pub fn into_split(self) -> (RecvHalf, SendHalf) {
        self.tunnel.into_split()
    }
}

/// Where a tunnel's connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Dialled for it.
    Dialled,
    /// It was there, or somebody else was dialling it.
    Shared,
}

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
    /// A bound of [`PoolConfig`] is reached: all connections are full and there may be no more.
    #[error("the pool has {limit} connections, which is its limit")]
    Exhausted {
        /// The bound.
        limit: usize,
    },
}

type Dial<E> = Pin<Box<dyn Future<Output = Result<Client, E>> + Send>>;

/// Which connections a request may go to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    /// Only one whose dial has not come back yet.
    Fresh,
}

impl<K, E> Inner<K, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    E: StdError + Send + Sync + 'static,
{
    /// A place on a connection that is there, or on its way.
    fn join(self: &Arc<Self>, key: &K, wanted: Wanted) -> Option<Lease<K, E>> {
        let (id, carrier) = self.ledger().take(key, |carrier| carrier.room(wanted))?;
        Some(self.lease(key, id, carrier, Origin::Shared))
    }

    /// A place on a new connection.
    fn launch(self: &Arc<Self>, key: &K, dial: Dial<E>) -> Result<Lease<K, E>, PoolError<E>> {
        let mut ledger = self.ledger();
        // Between a look and a dial the lock was free: another thread's flight may have left.
        if let Some((id, carrier)) = ledger.take(key, |carrier| carrier.room(Wanted::Fresh)) {
            return Ok(self.lease(key, id, carrier, Origin::Shared));
        }
        if ledger.lines() >= self.config.max_connections {
            ledger.reap(now(), Duration::ZERO, Carrier::is_dead);
        }
        ledger.admits(key).map_err(|Full { limit }| PoolError::Exhausted { limit })?;
        let (id, carrier) = ledger.add(key, |id| {
            let flight: FlightFuture<E> = Box::pin(fly(Arc::downgrade(self), key.clone(), id, dial));
            Carrier::Dialling(flight.shared())
        });
        Ok(self.lease(key, id, carrier, Origin::Dialled))
    }

    fn lease(self: &Arc<Self>, key: &K, id: LineId, carrier: Carrier<E>, origin: Origin) -> Lease<K, E> {
        Lease { carrier, origin, permit: Permit { pool: Arc::downgrade(self), key: key.clone(), id } }
    }
}

impl<K, E> Inner<K, E> {
    fn ledger(&self) -> MutexGuard<'_, Ledger<K, Carrier<E>>> {
        // No code of the ledger leaves it half changed, so a panic elsewhere does not spoil it.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dial, and the note of its result in the ledger before any waiter goes on.
async fn fly<K, E>(pool: Weak<Inner<K, E>>, key: K, id: LineId, dial: Dial<E>) -> Result<Client, Arc<E>>
where
    K: Hash + Eq + Clone,
{
    let result = dial.await.map_err(Arc::new);
    if let Some(pool) = pool.upgrade() {
        let replaced = match &result {
            Ok(client) => pool.ledger().settle(&key, id, Carrier::Open(client.clone())),
            Err(_) => pool.ledger().remove(&key, id),
        };
        drop(replaced);
    }
    result
}

impl<E> Carrier<E> {
    fn room(&self, wanted: Wanted) -> Room {
        match (self, wanted) {
            // The peer's limit is not known yet.
            (Self::Dialling(_), _) => Room::Permits(usize::MAX),
            (Self::Open(client), _) if client.is_closed() => Room::Dead,
            (Self::Open(_), Wanted::Fresh) => Room::Passed,
            (Self::Open(client), Wanted::Any) => Room::Permits(client.max_streams()),
        }
    }

    fn is_dead(&self) -> bool {
        matches!(self, Self::Open(client) if client.is_closed())
    }
}

impl<E> Clone for Carrier<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Dialling(flight) => Self::Dialling(flight.clone()),
            Self::Open(client) => Self::Open(client.clone()),
        }
    }
}

/// A place on a connection that may still be on its way.
struct Lease<K: Hash + Eq + Clone, E> {
    carrier: Carrier<E>,
    origin: Origin,
    permit: Permit<K, E>,
}

impl<K, E> Lease<K, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    E: StdError + Send + Sync + 'static,
{
    async fn open(self, request: ConnectRequest) -> Result<Pooled, PoolError<E>> {
        let Self { carrier, origin, permit } = self;
        let client = match carrier {
            Carrier::Open(client) => client,
            Carrier::Dialling(flight) => flight.await.map_err(|source| PoolError::Dial { source })?,
        };
        let tunnel = client.open(request).await.map_err(|source| PoolError::Open { source })?;
        Ok(Pooled { tunnel: tunnel.hold(permit), origin })
    }
}

/// One place on a connection; dropping it gives it back, wherever the owner stops.
struct Permit<K: Hash + Eq + Clone, E> {
    // Weak, so that tunnels do not keep the idle connections of a pool that is gone.
    pool: Weak<Inner<K, E>>,
    key: K,
    id: LineId,
}

impl<K: Hash + Eq + Clone, E> Drop for Permit<K, E> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let keep = |carrier: &Carrier<E>| matches!(carrier, Carrier::Open(client) if !client.is_closed());
            let abandoned = pool.ledger().give_back(&self.key, self.id, now(), keep);
            drop(abandoned);
        }
    }
}

/// The clock of the runtime, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// An idle connection outlives its timeout by at most a quarter.
const REAPS_PER_TIMEOUT: u32 = 4;
/// Keeps a timeout of next to nothing from becoming a busy loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
