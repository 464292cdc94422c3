//! The TCP end of a relay.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::{Sink, Source};

/// First buffer of a connection: most requests fit, and idle ones hold nothing.
const FIRST_READ: usize = 4 * 1024;
/// Largest buffer: one HTTP/2 frame of a tunnel.
const LARGEST_READ: usize = hbone::FRAME_PAYLOAD;

/// Reads with a buffer that exists only while there is something to read, and grows while reads fill it.
pub(super) struct Reading<'a> {
    half: ReadHalf<'a>,
    buffer: BytesMut,
    size: usize,
}

impl<'a> Reading<'a> {
    pub(super) fn new(half: ReadHalf<'a>) -> Self {
        Self { half, buffer: BytesMut::new(), size: FIRST_READ }
    }
}

impl Source for Reading<'_> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let stream: &tokio::net::TcpStream = self.half.as_ref();
        if stream.poll_read_ready(cx)?.is_pending() {
            self.buffer = BytesMut::new();
            return Poll::Pending;
        }
        self.buffer.reserve(self.size);
        // A read that does not fill the room tells the runtime that the socket is empty, which saves asking again; so the
        // room is the size meant, not what the allocation happens to have left.
        let mut room = (&mut self.half).take(self.size as u64);
        let read = ready!(pin!(room.read_buf(&mut self.buffer)).poll(cx))?;
        if read == self.size {
            self.size = (self.size * 4).min(LARGEST_READ);
        }
        Poll::Ready(Ok((read > 0).then(|| self.buffer.split().freeze())))
    }
}

/// Writes chunks as they are, without a copy.
pub(super) struct Writing<'a> {
    half: WriteHalf<'a>,
}

impl<'a> Writing<'a> {
    pub(super) fn new(half: WriteHalf<'a>) -> Self {
        Self { half }
    }
}

impl Sink for Writing<'_> {
    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        while !chunk.is_empty() {
            let written = ready!(Pin::new(&mut self.half).poll_write(cx, chunk))?;
            chunk.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_shutdown(cx)
    }

    /// A TCP peer that is gone shows on the reading side of the same connection.
    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }
}
