//! One tunnel: a byte stream over one HTTP/2 stream, and its two halves.
//!
//! ```text
//!   the peer sends          a reader sees           |   a writer does            the peer sees
//!   DATA                    bytes                   |   send                     DATA
//!   END_STREAM              the end                 |   finish, poll_shutdown    END_STREAM
//!   RST_STREAM, any code    ConnectionReset         |   reset, or just drop      RST_STREAM CONNECT_ERROR
//!   trailers                InvalidData             |
//!   nothing more at all     ConnectionAborted       |
//! ```

mod inlet;
mod recv;
mod send;

use std::any::Any;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use inlet::{Inlets, SharedInlet};
pub use recv::RecvHalf;
pub use send::{FRAME_PAYLOAD, SendHalf};

/// Something that lives until both halves of a tunnel are gone.
type Hold = Arc<dyn Any + Send + Sync>;

/// A byte stream through an HTTP/2 CONNECT.
///
/// It reads and writes as any stream does, with one copy each way; [`split`](Self::split) and
/// [`into_split`](Self::into_split) give the halves that pass [`Bytes`](bytes::Bytes) without a copy. What is written is moved by the connection's driver, so flushing has nothing
/// to wait for. Dropping it before both sides have finished resets the stream, which may also drop what is
/// still queued: a peer never takes a cut for an end.
pub struct Tunnel {
    recv: RecvHalf,
    send: SendHalf,
    answer: Option<Box<HeaderMap>>,
}

impl Tunnel {
    pub(crate) fn new(inlet: SharedInlet, send: SendHalf) -> Self {
        Self { recv: RecvHalf::new(inlet), send, answer: None }
    }

    /// The headers of the peer's answer, for the side that asked; `None` if there were none.
    pub fn answer_headers(&self) -> Option<&HeaderMap> {
        self.answer.as_deref()
    }

    /// The reading and the writing half, for both at once on one task.
    pub fn split(&mut self) -> (&mut RecvHalf, &mut SendHalf) {
        (&mut self.recv, &mut self.send)
    }

    /// The reading and the writing half, to be used apart. Either may outlive the other.
    pub fn into_split(self) -> (RecvHalf, SendHalf) {
        (self.recv, self.send)
    }

    pub(crate) fn with_answer(mut self, headers: HeaderMap) -> Self {
        self.answer = (!headers.is_empty()).then(|| Box::new(headers));
        self
    }

    /// Keeps `guard` until both halves are gone.
    pub(crate) fn hold(mut self, guard: impl Any + Send + Sync) -> Self {
        let guard: Hold = Arc::new(guard);
        self.recv.hold = Some(Arc::clone(&guard));
        self.send.hold = Some(guard);
        self
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("recv", &self.recv).field("send", &self.send).finish_non_exhaustive()
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.recv).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.send.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}
