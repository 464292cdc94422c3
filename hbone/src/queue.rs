//! What waits on one connection to be written: counted, so that a peer that does not read makes us hold no more than a bound, for
//! all its streams together.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};

use crate::gate::Gate;

/// The bytes of all streams of a connection that are queued. Clones are the same queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    gate: Arc<Gate>,
}

impl Queue {
    /// Shut while `limit` bytes or more are queued.
    pub(crate) fn new(limit: usize) -> Self {
        Self { gate: Arc::new(Gate::new(limit)) }
    }

    /// Waits until there is room for more.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.gate.poll(cx)
    }

    /// Counts `bytes` until they are written or thrown away.
    pub(crate) fn take(&self, bytes: Bytes) -> Queued {
        let counted = bytes.len();
        self.gate.add(counted);
        Queued { bytes, counted, gate: Arc::clone(&self.gate) }
    }
}

/// Bytes in the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    bytes: Bytes,
    counted: usize,
    gate: Arc<Gate>,
}

impl Buf for Queued {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.gate.give_back(self.counted);
    }
}
