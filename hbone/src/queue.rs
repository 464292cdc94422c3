//! What waits on one connection to be written: counted, so that a peer that does not read makes us hold no more than a bound, for
//! all its streams together.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};

use crate::gate::Gate;
use crate::slivers::Slivers;

/// The bytes of all streams of a connection that are queued. Clones are the same queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    gate: Gate,
    slivers: Slivers,
}

impl Queue {
    /// Shut while `limit` bytes or more are queued.
    pub(crate) fn new(limit: usize, slivers: Slivers) -> Self {
        Self { inner: Arc::new(Inner { gate: Gate::new(limit), slivers }) }
    }

    /// No more than so many bytes of what is to be sent next are let through by the peer.
    pub(crate) fn note_cut(&self, bytes: usize) {
        self.inner.slivers.cut(bytes);
    }

    /// Waits until there is room for more.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.gate.poll(cx)
    }

    /// To be called when the connection has written what it can for now. Lets one more of those who wait have the room that there is, and has
    /// the caller polled again after that one: it may have nothing to say any more.
    pub(crate) fn pass_on(&self, cx: &mut Context<'_>) {
        if self.inner.gate.pass_on() {
            cx.waker().wake_by_ref();
        }
    }

    /// Counts `bytes` until they are written or thrown away.
    pub(crate) fn take(&self, bytes: Bytes) -> Queued {
        let counted = bytes.len();
        self.inner.gate.add(counted);
        Queued { bytes, counted, queue: Arc::clone(&self.inner) }
    }
}

/// Bytes in the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    bytes: Bytes,
    counted: usize,
    queue: Arc<Inner>,
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
        self.queue.gate.give_back(self.counted);
    }
}
