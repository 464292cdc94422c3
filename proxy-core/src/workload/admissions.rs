//! Admissions: the connections that policy has let in and that are still there, so that they can be decided on again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use super::PodName;
use crate::address::ClientAddr;
use crate::policy::{Denied, Principal, Question};

/// Parts of the registry, each with a lock of its own: connections that begin or end at once on different cores seldom meet. 16: more
/// than the cores that a node's proxy is given.
const PARTS: usize = 16;

/// All of them, in parts.
#[derive(Debug, Default)]
pub(super) struct Admissions([Mutex<Part>; PARTS]);

#[derive(Debug, Default)]
struct Part {
    next: u64,
    live: HashMap<u64, Arc<Live>>,
}

/// What was asked about a connection, and what ends it.
#[derive(Debug)]
pub(super) struct Live {
    pod: Arc<PodName>,
    client: ClientAddr,
    peer: Option<Principal>,
    destination: std::net::SocketAddr,
    cut: CancellationToken,
    denied: OnceLock<Denied>,
}

/// A connection that is let in, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Admission {
    admissions: Arc<Admissions>,
    place: usize,
    key: u64,
    live: Arc<Live>,
}

impl Admissions {
    /// Registers a connection to a pod, which `cut` or a child of it ends.
    pub(super) fn enter(
        self: &Arc<Self>,
        pod: &Arc<PodName>,
        question: &Question<'_>,
        cut: &CancellationToken,
    ) -> Admission {
        let live = Arc::new(Live {
            pod: Arc::clone(pod),
            client: question.client,
            peer: question.peer.cloned(),
            destination: question.destination,
            cut: cut.child_token(),
            denied: OnceLock::new(),
        });
        let place = usize::from(question.client.socket_addr().port()) % PARTS;
        let mut key = 0;
        self.with(place, |part| {
            part.next += 1;
            key = part.next;
            part.live.insert(key, Arc::clone(&live));
        });
        Admission { admissions: Arc::clone(self), place, key, live }
    }

    /// Has each connection decided on, and ends those that are denied. Nobody waits meanwhile who comes or goes.
    pub(super) fn decide_again(&self, decide: impl Fn(&PodName, &Question<'_>) -> Result<(), Denied>) {
        for part in &self.0 {
            let live: Vec<Arc<Live>> = lock(part).live.values().cloned().collect();
            for live in live {
                if let Err(denied) = decide(&live.pod, &live.question()) {
                    live.end(denied);
                }
            }
        }
    }

    fn with(&self, place: usize, act: impl FnOnce(&mut Part)) {
        // A place is always one of the parts.
        if let Some(part) = self.0.get(place) {
            act(&mut lock(part));
        }
    }
}

/// Every act leaves a part whole, so a panic elsewhere has spoilt nothing.
fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    fn question(&self) -> Question<'_> {
        Question { client: self.client, peer: self.peer.as_ref(), destination: self.destination }
    }

    fn end(&self, denied: Denied) {
        // The reason is there before anybody can ask for it.
        let _ = self.denied.set(denied);
        self.cut.cancel();
    }
}

impl Admission {
    /// Ends the connection.
    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.live.cut
    }

    /// Why it was ended, if policy did.
    pub(crate) fn denied(&self) -> Option<Denied> {
        self.live.denied.get().cloned()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admissions.with(self.place, |part| drop(part.live.remove(&self.key)));
    }
}
