//! The tunnel end of a relay.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hbone::{RecvHalf, SendHalf};

use super::{Sink, Source};

/// Hands on the frames of the connection as they are.
pub(super) struct Receiving(RecvHalf);

impl Receiving {
    pub(super) fn new(half: RecvHalf) -> Self {
        Self(half)
    }
}

impl Source for Receiving {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.0.poll_data(cx).map(Option::transpose)
    }
}

/// Queues chunks as they are, as far as the peer's window has room.
pub(super) struct Sending(SendHalf);

impl Sending {
    pub(super) fn new(half: SendHalf) -> Self {
        Self(half)
    }
}

impl Sink for Sending {
    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        while !chunk.is_empty() {
            let room = ready!(self.0.poll_capacity(cx, chunk.len()))?;
            self.0.send(chunk.split_to(room.min(chunk.len())))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.finish())
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.0.poll_reset(cx)
    }
}
