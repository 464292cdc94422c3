//! Connections to share: one dial for all who want the same, and a count of who uses what.

mod config;
mod error;
mod lease;
mod pooled;
mod usage;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use self::lease::{Book, Carrier, Dial, FlightFuture, Lease, Permit, Wanted, fly, now, open};
use crate::client::Client;
use crate::connect::ConnectRequest;
use crate::error::OpenError;
use crate::ledger::{Bounds, Ledger, LineId};

pub use self::config::PoolConfig;
pub use self::error::PoolError;
pub use self::pooled::{Origin, Pooled};
pub use self::usage::Usage;

/// Connections by key. `K` is whatever makes two connections interchangeable (who we are, whom we expect, where);
/// `E` is what the caller's dial fails with. Clones share the connections.
///
/// The pool neither dials nor spawns. Callers bring a `dial`, and poll each other's: the first who needs a connection
/// starts one flight, everybody who comes meanwhile waits for the same, and its result reaches all, an error too.
/// Nothing is locked while anything is awaited.
pub struct Pool<K, E> {
    config: PoolConfig,
    book: Arc<Book<K, E>>,
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
            waiting: config.max_waiting,
            age: config.max_age,
            spread: config.spread,
        };
        Self { config, book: Arc::new(Mutex::new(Ledger::new(bounds))) }
    }

    /// Opens a tunnel on a connection of this key, dialling one if there is none with room.
    ///
    /// `dial` is called at most once; its future connects, handshakes, gets the [`Driver`](crate::Driver) running and
    /// returns the [`Client`]. If its caller goes away, other waiters carry it on; when nobody waits, it is dropped.
    ///
    /// If a connection that others share did not process the request, because it is gone or going, or takes fewer tunnels than was
    /// thought, the request goes to a fresh one, and at last to one dialled for it. A refusal is never retried.
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
        let mut dial = Undialled::Asked(dial);
        let mut wanted = Wanted::Any;
        for _ in 0..SHARED_ATTEMPTS {
            let lease = match self.join(key, wanted) {
                Some(lease) => lease,
                None => match self.launch(key, dial.into_future(), wanted)? {
                    Launch::Ours(lease) => return lease.open(request).await,
                    Launch::Anothers(lease, unused) => {
                        dial = Undialled::Ready(unused);
                        lease
                    }
                },
            };
            match lease.open(request.clone()).await {
                // One that is known to be full is not given again.
                Err(PoolError::Open { source: OpenError::NoRoom { .. } }) => wanted = Wanted::Any,
                Err(PoolError::Open { source }) if source.is_not_processed() => wanted = Wanted::Fresh,
                result => return result,
            }
        }
        match self.launch(key, dial.into_future(), Wanted::Own)? {
            Launch::Ours(lease) | Launch::Anothers(lease, _) => lease.open(request).await,
        }
    }

    /// Forgets the connections that have no tunnel and, at `now`, have had none for
    /// [`PoolConfig::with_idle_timeout`] or are older than [`PoolConfig::with_max_age`]; and those that have died. Returns how many.
    pub fn reap(&self, now: Instant) -> usize {
        open(&self.book).reap(now, self.config.idle_timeout, Carrier::is_dead)
    }

    /// Reaps from time to time, for as long as it is polled.
    pub async fn run_reaper(&self) {
        let pause = (self.config.idle_timeout / REAPS_PER_TIMEOUT).max(SHORTEST_PAUSE);
        loop {
            tokio::time::sleep(pause).await;
            self.reap(now());
        }
    }

    /// Forgets every connection, so that the next tunnel needs a new one. Tunnels that are open go on.
    pub fn clear(&self) {
        let forgotten = open(&self.book).clear();
        // Out of the lock, because dropping a flight runs the caller's code.
        drop(forgotten);
    }

    /// How many connections there are, dials included.
    pub fn connections(&self) -> usize {
        open(&self.book).lines()
    }

    /// How many keys have a connection.
    pub fn keys(&self) -> usize {
        open(&self.book).keys()
    }

    /// What there is for a key. Connections that have died, and were not forgotten yet, do not count.
    pub fn usage(&self, key: &K) -> Usage {
        let mut usage = Usage::default();
        for (carrier, places) in open(&self.book).of(key) {
            match carrier {
                Carrier::Dialling(_) => usage.dialling += 1,
                Carrier::Open(_) if carrier.is_dead() => continue,
                Carrier::Open(_) => usage.open += 1,
            }
            usage.streams += places;
        }
        usage
    }

    /// A place on a connection that is there, or on its way.
    fn join(&self, key: &K, wanted: Wanted) -> Option<Lease<K, E>> {
        let (id, carrier) = open(&self.book).take(key, now(), |carrier| carrier.room(wanted))?;
        Some(self.lease(key, id, carrier, Origin::Shared))
    }

    /// A place on a new connection, or on one that another began to dial just now.
    fn launch(&self, key: &K, dial: Dial<E>, wanted: Wanted) -> Result<Launch<K, E>, PoolError<E>> {
        let mut ledger = open(&self.book);
        // Between a look and a dial the lock was free: another thread's flight may have left.
        if wanted != Wanted::Own
            && let Some((id, carrier)) = ledger.take(key, now(), |carrier| carrier.room(Wanted::Fresh))
        {
            return Ok(Launch::Anothers(self.lease(key, id, carrier, Origin::Shared), dial));
        }
        if ledger.lines() >= self.config.max_connections {
            ledger.reap(now(), Duration::ZERO, Carrier::is_dead);
        }
        ledger.admits(key)?;
        let (id, carrier) = ledger.add(key, now(), |id| {
            let flight: FlightFuture<E> = Box::pin(fly(Arc::downgrade(&self.book), key.clone(), id, dial));
            Carrier::Dialling(flight.shared())
        });
        Ok(Launch::Ours(self.lease(key, id, carrier, Origin::Dialled)))
    }

    fn lease(&self, key: &K, id: LineId, carrier: Carrier<E>, origin: Origin) -> Lease<K, E> {
        Lease { carrier, origin, permit: Permit { book: Arc::downgrade(&self.book), key: key.clone(), id } }
    }
}

impl<K, E> Clone for Pool<K, E> {
    fn clone(&self) -> Self {
        Self { config: self.config, book: Arc::clone(&self.book) }
    }
}

impl<K, E> fmt::Debug for Pool<K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A dial that may still not be needed.
enum Undialled<F, E> {
    Asked(F),
    Ready(Dial<E>),
}

impl<F, Fut, E> Undialled<F, E>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<Client, E>> + Send + 'static,
{
    /// Out of any lock, because it runs the caller's code.
    fn into_future(self) -> Dial<E> {
        match self {
            Self::Asked(dial) => Box::pin(dial()),
            Self::Ready(dial) => dial,
        }
    }
}

/// What came of the wish to dial.
enum Launch<K: Hash + Eq + Clone, E> {
    Ours(Lease<K, E>),
    /// The dial was not needed.
    Anothers(Lease<K, E>, Dial<E>),
}

/// On how many connections of others a request is tried before one is dialled for it alone: one that was there, one that was dialled
/// meanwhile, and another for those who all waited for that and were more than it takes.
const SHARED_ATTEMPTS: usize = 3;

/// An idle connection outlives its timeout by at most a quarter.
const REAPS_PER_TIMEOUT: u32 = 4;
/// Keeps a timeout of next to nothing from becoming a busy loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
