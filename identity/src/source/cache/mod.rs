//! [`Cache`]: one SVID for each identity of a node, asked for no more than needed.

mod driver;
mod error;
mod lease;
mod ledger;
mod limits;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub use self::driver::CacheDriver;
pub use self::error::{CacheError, LeaseError};
pub use self::lease::Lease;
use self::ledger::{Ledger, Now};
pub use self::limits::Limits;
use super::clock::Clock;
use super::issuer::Issuer;
use super::watch::Publisher;
use crate::spiffe_id::SpiffeId;

/// The SVIDs of a node's pods. Cloning shares.
///
/// Each pod takes a [`Lease`] of its identity; pods with the same identity share an SVID. It is asked for as soon as the
/// first lease is taken, again at about half of its life, and forgotten when the last lease is dropped.
///
/// - One request at a time for an identity; its answer, an error too, reaches all who wait.
/// - Those who are waited for go first, then those without an SVID, then renewals.
/// - Requests for one identity begin at least a second apart, whatever the issuer answers; failures in a row double that,
///   to 15 s, or to 150 s while there is a valid SVID.
/// - The old SVID is used until the new one is there. Once expired it is not given out.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Handles>);

/// What caches and leases share. The driver notices when it is gone.
#[derive(Debug)]
struct Handles {
    shared: Arc<Shared>,
    _alive: oneshot::Sender<Infallible>,
}

/// What they share with the driver.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something may be due.
    due: Notify,
    issuer: Arc<dyn Issuer>,
    clock: Clock,
    limits: Limits,
    started: Instant,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    /// Of every identity with a lease.
    seats: HashMap<SpiffeId, Publisher>,
    ended: bool,
}

impl Cache {
    /// A cache of what `issuer` issues, and the driver that asks it.
    pub fn new(issuer: impl Issuer, limits: Limits) -> (Self, CacheDriver) {
        Self::with_clock(issuer, limits, Clock::system())
    }

    /// The same by another clock.
    pub fn with_clock(issuer: impl Issuer, limits: Limits, clock: Clock) -> (Self, CacheDriver) {
        let ledger = Ledger::new(limits.identities, limits.requests, fastrand::u64(..));
        let shared = Arc::new(Shared {
            state: Mutex::new(State { ledger, seats: HashMap::new(), ended: false }),
            due: Notify::new(),
            issuer: Arc::new(issuer),
            clock,
            limits,
            started: Instant::now(),
        });
        let (alive, gone) = oneshot::channel();
        let driver = CacheDriver::new(Arc::clone(&shared), gone);
        (Self(Arc::new(Handles { shared, _alive: alive })), driver)
    }

    /// A share of the SVID of `id`, which is asked for if it is not there. Does not wait.
    pub fn lease(&self, id: &SpiffeId) -> Result<Lease, LeaseError> {
        Lease::new(&self.0, id)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock in a way that leaves state half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now { wall: self.clock.now(), uptime: self.started.elapsed() }
    }
}
