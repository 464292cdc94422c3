//! [`Lease`]: one pod's share of an SVID.

use std::sync::Arc;

use super::error::{CacheError, LeaseError};
use super::ledger::Answer;
use super::{Handles, Shared};
use crate::source::Source;
use crate::source::material::Material;
use crate::source::watch::Watch;
use crate::spiffe_id::SpiffeId;

/// One pod's share of the SVID of its identity. When the last one of an identity is dropped, its SVID is forgotten.
#[derive(Debug)]
pub struct Lease {
    handles: Arc<Handles>,
    id: SpiffeId,
    watch: Watch,
}

impl Lease {
    pub(super) fn new(handles: &Arc<Handles>, id: &SpiffeId) -> Result<Self, LeaseError> {
        let shared = &handles.shared;
        let mut state = shared.state();
        if state.ended {
            return Err(LeaseError::Ended);
        }
        let full = |full: super::ledger::Full| LeaseError::Full { limit: full.limit };
        state.ledger.lease(id, shared.now()).map_err(full)?;
        let watch = state.seats.entry(id.clone()).or_default().watch();
        shared.due.notify_one();
        Ok(Self { handles: Arc::clone(handles), id: id.clone(), watch })
    }

    /// Whose it is.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// What is valid now: at once if it is there, else what the next answer of the issuer brings, be it an error. Who asks
    /// soon after a failure gets that failure.
    ///
    /// It waits no longer than the requests before it and the [deadline](super::Limits::deadline) let it.
    pub async fn material(&self) -> Result<Material, CacheError> {
        let (answer, mut watch) = self.ask();
        if answer == Answer::Wait {
            watch.changed().await.map_err(|_| CacheError::Ended)?;
        }
        Ok(watch.at(self.shared().clock.now())?)
    }

    fn ask(&self) -> (Answer, Watch) {
        let mut watch = self.watch.clone();
        // Under the lock, nothing is published: what changes from here on is what is waited for.
        let mut state = self.shared().state();
        watch.see();
        let answer = state.ledger.wait(&self.id, self.shared().now());
        if answer == Answer::Wait {
            self.shared().due.notify_one();
        }
        (answer, watch)
    }

    fn shared(&self) -> &Shared {
        &self.handles.shared
    }
}

impl Source for Lease {
    fn watch(&self) -> Watch {
        self.watch.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.shared().state();
        if state.ledger.release(&self.id, self.shared().now()) {
            state.seats.remove(&self.id);
        }
    }
}
