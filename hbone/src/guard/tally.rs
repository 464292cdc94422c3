//! Tally: what the wire and the guard tell each other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::Breach;
use super::patrol::At;
use crate::crumbs::Crumbs;
use crate::slivers::Slivers;
use crate::windows::Flow;

/// What the wire and the guard tell each other. Both are polled by one task, so nothing here orders anything else.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    heard: AtomicBool,
    reading: AtomicU32,
    writing: AtomicU32,
    data: AtomicU64,
    /// Words of our own that are to be written.
    owed: AtomicU32,
    acknowledged: AtomicU32,
    /// Beyond the first window of a connection.
    granted: AtomicU64,
    crumbs: Crumbs,
    slivers: Slivers,
    pauses: AtomicBool,
    breach: OnceLock<Breach>,
}

impl Tally {
    /// Bytes came: where that leaves us, all of DATA until now, and all acknowledgements of settings.
    pub(super) fn hear(&self, at: At, data: u64, acknowledged: u32) {
        self.heard.store(true, Ordering::Relaxed);
        self.reading.store(packed(at), Ordering::Relaxed);
        self.data.store(data, Ordering::Relaxed);
        self.acknowledged.store(acknowledged, Ordering::Relaxed);
    }

    /// Whether bytes came since the last call.
    pub(super) fn take_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    /// The peer is allowed as many bytes more on the connection.
    pub(super) fn grant(&self, bytes: u64) {
        // Most writes allow none: a look is cheaper than a change.
        if bytes > 0 {
            self.granted.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Nothing is read until others have had their turn.
    pub(super) fn pause(&self) {
        self.pauses.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.pauses.load(Ordering::Relaxed)
    }

    /// Whoever polls the connection has nothing more to do now: others have their turn.
    pub(super) fn rest(&self) {
        self.pauses.store(false, Ordering::Relaxed);
    }

    pub(super) fn breach(&self) -> Option<Breach> {
        self.breach.get().copied()
    }

    /// A word of our own is to be written.
    pub(super) fn owe(&self) {
        self.owed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn take_owed(&self) -> u32 {
        // Nearly always none: a look is cheaper than a change.
        if self.owed.load(Ordering::Relaxed) == 0 { 0 } else { self.owed.swap(0, Ordering::Relaxed) }
    }

    pub(super) fn crumbs(&self) -> Crumbs {
        self.crumbs.clone()
    }

    pub(super) fn slivers(&self) -> Slivers {
        self.slivers.clone()
    }

    pub(super) fn flow(&self) -> Flow {
        Flow {
            received: self.data.load(Ordering::Relaxed),
            granted: FIRST_WINDOW + self.granted.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
        }
    }

    pub(super) fn reading(&self) -> At {
        unpacked(self.reading.load(Ordering::Relaxed))
    }

    pub(super) fn writing(&self) -> At {
        unpacked(self.writing.load(Ordering::Relaxed))
    }

    pub(super) fn set_writing(&self, at: At) {
        self.writing.store(packed(at), Ordering::Relaxed);
    }

    pub(super) fn set_breach(&self, breach: Breach) {
        // The first counts.
        let _ = self.breach.set(breach);
    }
}

/// What a peer may send on a connection before it is told anything, RFC 9113 section 6.9.2.
const FIRST_WINDOW: u64 = 65_535;

/// One word, so that both parts are of one moment.
fn packed(at: At) -> u32 {
    (at.step << 1) | u32::from(at.waits)
}

fn unpacked(word: u32) -> At {
    At { step: word >> 1, waits: word & 1 == 1 }
}
