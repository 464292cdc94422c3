//! Frames of a few bytes that are no longer because the peer's window is not: it is paid for who keeps windows all but shut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Those of one connection that were cut and have not passed the wire. Clones are the same count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slivers(Arc<AtomicUsize>);

impl Slivers {
    /// So few bytes were let through of more.
    pub(crate) fn cut(&self, bytes: usize) {
        if u32::try_from(bytes).is_ok_and(is_sliver) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One passes the wire, if any was cut.
    pub(crate) fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
    }
}

pub(crate) fn is_sliver(bytes: u32) -> bool {
    (1..SLIVER).contains(&bytes)
}

/// Bytes that fill a frame's head and the tag of a TLS record: for less, more is spent than sent. Our own windows are never as small.
const SLIVER: u32 = 16;
