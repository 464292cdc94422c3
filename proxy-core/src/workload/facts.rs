//! Facts: the current [`Snapshot`], replaced as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Snapshot;

/// The current snapshot. Readers take one for the whole of a connection and never wait; a source replaces it.
#[derive(Debug)]
pub struct Facts {
    current: ArcSwap<Snapshot>,
}

impl Facts {
    /// Starts from `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(snapshot) }
    }

    /// The facts as they are now; a connection takes them once.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Replaces all facts at once; connections that are being decided keep the snapshot they took.
    pub fn replace(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }
}
