//! A place on one connection, from the dial to the tunnel's end.

use std::error::Error as StdError;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use futures_util::future::Shared;

use super::error::PoolError;
use super::pooled::{Origin, Pooled};
use crate::client::Client;
use crate::connect::ConnectRequest;
use crate::error::OpenError;
use crate::ledger::{Ledger, LineId, Room};

/// A place on a connection that may still be on its way.
pub(super) struct Lease<K: Hash + Eq + Clone, E> {
    pub(super) carrier: Carrier<E>,
    pub(super) origin: Origin,
    pub(super) permit: Permit<K, E>,
}

impl<K, E> Lease<K, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    E: StdError + Send + Sync + 'static,
{
    pub(super) async fn open(self, request: ConnectRequest) -> Result<Pooled, PoolError<E>> {
        let Self { carrier, origin, permit } = self;
        let fresh = matches!(carrier, Carrier::Dialling(_));
        let client = match carrier {
            Carrier::Open(client) => client,
            Carrier::Dialling(flight) => flight.await.map_err(|source| PoolError::Dial { source })?,
        };
        let permit = if fresh && origin == Origin::Shared {
            // As many wait as a peer should take at least; it may take fewer, and HTTP/2 would let the rest wait for their end.
            client.greeted().await;
            permit.keep_within(client.max_streams()).map_err(|source| PoolError::Open { source })?
        } else {
            permit
        };
        let tunnel = client.open(request).await.map_err(|source| PoolError::Open { source })?;
        Ok(Pooled { tunnel: tunnel.hold(permit), origin, note: client.note().cloned() })
    }
}

/// One place on a connection; dropping it gives it back, wherever the owner stops.
pub(super) struct Permit<K: Hash + Eq + Clone, E> {
    // Weak, so that tunnels do not keep the idle connections of a pool that is gone.
    pub(super) book: Weak<Book<K, E>>,
    pub(super) key: K,
    pub(super) id: LineId,
}

impl<K: Hash + Eq + Clone, E> Permit<K, E> {
    /// Itself, unless there are more than `limit` on its connection; then it goes.
    fn keep_within(self, limit: usize) -> Result<Self, OpenError> {
        let Some(book) = self.book.upgrade() else { return Ok(self) };
        let mut ledger = open(&book);
        if !ledger.is_over(&self.key, self.id, limit) {
            drop(ledger);
            return Ok(self);
        }
        // Before the lock is left, so that no two leave for one place; the drop that follows would count it again.
        let abandoned = ledger.give_back(&self.key, self.id, now(), |_| true);
        drop(ledger);
        drop(abandoned);
        self.forget();
        Err(OpenError::NoRoom { limit })
    }

    /// Drops it without giving it back.
    fn forget(mut self) {
        self.book = Weak::new();
    }
}

impl<K: Hash + Eq + Clone, E> Drop for Permit<K, E> {
    fn drop(&mut self) {
        if let Some(book) = self.book.upgrade() {
            let keep = |carrier: &Carrier<E>| matches!(carrier, Carrier::Open(client) if !client.is_closed());
            let abandoned = open(&book).give_back(&self.key, self.id, now(), keep);
            drop(abandoned);
        }
    }
}

/// A dial under way, which any number of waiters poll.
pub(super) type Flight<E> = Shared<FlightFuture<E>>;
pub(super) type FlightFuture<E> = Pin<Box<dyn Future<Output = Result<Client, Arc<E>>> + Send>>;

/// What carries tunnels, or will.
pub(super) enum Carrier<E> {
    Dialling(Flight<E>),
    Open(Client),
}

impl<E> Carrier<E> {
    pub(super) fn room(&self, wanted: Wanted) -> Room {
        match (self, wanted) {
            (Self::Dialling(_), _) => Room::Unknown,
            (Self::Open(client), _) if client.is_closed() => Room::Dead,
            (Self::Open(client), Wanted::Fresh | Wanted::Own) => Room::Passed(client.max_streams()),
            (Self::Open(client), Wanted::Any) => Room::Permits(client.max_streams()),
        }
    }

    pub(super) fn is_dead(&self) -> bool {
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

/// What the caller's `dial` returns, in a box.
pub(super) type Dial<E> = Pin<Box<dyn Future<Output = Result<Client, E>> + Send>>;

/// Which connections a request may go to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    /// Only one whose dial has not come back yet.
    Fresh,
    /// Only one that is dialled for it.
    Own,
}

/// A dial, and the note of its result in the ledger before any waiter goes on.
pub(super) async fn fly<K, E>(
    book: Weak<Book<K, E>>,
    key: K,
    id: LineId,
    dial: Dial<E>,
) -> Result<Client, Arc<E>>
where
    K: Hash + Eq + Clone,
{
    let result = dial.await.map_err(Arc::new);
    if let Some(book) = book.upgrade() {
        let replaced = match &result {
            Ok(client) => open(&book).settle(&key, id, Carrier::Open(client.clone())),
            Err(_) => open(&book).remove(&key, id),
        };
        drop(replaced);
    }
    result
}

/// The ledger that all clones of a pool, and the places on its connections, write into.
pub(super) type Book<K, E> = Mutex<Ledger<K, Carrier<E>>>;

pub(super) fn open<K, E>(book: &Book<K, E>) -> MutexGuard<'_, Ledger<K, Carrier<E>>> {
    // No code of the ledger leaves it half changed, so a panic elsewhere does not spoil it.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clock of the runtime, which tests can stop.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
