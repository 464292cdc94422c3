//! The reading half of a tunnel.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};

use super::Hold;
use super::inlet::SharedInlet;
use crate::error::{Trailers, to_io};

/// The reading half of a [`Tunnel`](crate::Tunnel).
///
/// The room that a chunk took in the flow-control window is given back when the next one is asked for, so a reader
/// that stops holds at most the window and one chunk. Dropping this half before the end throws away what still comes;
/// the writing half goes on.
pub struct RecvHalf {
    inlet: SharedInlet,
    /// What the last chunk still has for `poll_read`.
    rest: Bytes,
    /// The last chunk's bytes, not yet given back to the window.
    owed: usize,
    /// The peer sent what a tunnel cannot have.
    spoiled: bool,
    pub(super) hold: Option<Hold>,
}

impl RecvHalf {
    pub(crate) fn new(inlet: SharedInlet) -> Self {
        Self { inlet, rest: Bytes::new(), owed: 0, spoiled: false, hold: None }
    }

    /// The next bytes, as they came, never empty; `None` only if the peer finished, which is its FIN.
    ///
    /// # Errors
    ///
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the peer reset the stream,
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if the connection is gone or this side reset,
    /// [`InvalidData`](io::ErrorKind::InvalidData) if it sent trailers, which a tunnel cannot have (RFC 9113 section 8.5):
    /// drop the tunnel then.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.rest))));
        }
        let mut inlet = self.inlet.lock();
        if self.owed > 0 {
            inlet.give_back(std::mem::take(&mut self.owed));
        }
        loop {
            match ready!(inlet.poll_data(cx)) {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    self.owed = chunk.len();
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(to_io(error)))),
                None => break,
            }
        }
        drop(inlet);
        self.poll_end(cx)
    }

    /// An end is one only if nothing but DATA came before it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let end = ready!(self.inlet.lock().poll_trailers(cx));
        Poll::Ready(match end {
            Ok(None) if self.spoiled => Some(Err(trailers())),
            Ok(None) => None,
            Ok(Some(_)) => {
                self.spoiled = true;
                Some(Err(trailers()))
            }
            Err(error) => Some(Err(to_io(error))),
        })
    }

    /// As [`poll_data`](Self::poll_data). Nothing is lost if the future is dropped.
    pub async fn data(&mut self) -> Option<io::Result<Bytes>> {
        poll_fn(|cx| self.poll_data(cx)).await
    }
}

fn trailers() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Trailers)
}

impl AsyncRead for RecvHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(mut chunk) = ready!(self.poll_data(cx)).transpose()? else {
            return Poll::Ready(Ok(()));
        };
        let taken = chunk.len().min(buf.remaining());
        chunk.copy_to_slice(buf.initialize_unfilled_to(taken));
        buf.advance(taken);
        self.rest = chunk;
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvHalf").field("owed", &self.owed).finish_non_exhaustive()
    }
}
