//! The writing half of a tunnel.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{BufMut, Bytes, BytesMut};
use h2::{Reason, SendStream};
use tokio::io::AsyncWrite;

use super::Hold;
use crate::error::{reset_to_io, to_io};
use crate::queue::{Queue, Queued};

/// The most bytes that one DATA frame carries: with its header of 9 bytes it fills sixteen TLS records of 16 KiB. Reads
/// of this size become one frame. A peer that allows less gets less.
///
/// Measured with 8 streams under BBR, both ends on one machine: 1.57 s of CPU per GB with frames of 64 KiB, 1.47 with
/// 128, 1.38 with these.
pub const FRAME_PAYLOAD: usize = 16 * 16 * 1024 - 9;

/// The writing half of a [`Tunnel`](crate::Tunnel).
///
/// Ask for room with [`poll_capacity`](Self::poll_capacity), then [`send`](Self::send) no more than that. Dropping
/// this half before [`finish`](Self::finish) resets the stream, as [`reset`](Self::reset) does.
pub struct SendHalf {
    stream: SendStream<Queued>,
    queue: Queue,
    /// Room granted by `poll_capacity` and not yet used.
    granted: usize,
    /// It was less than was wanted.
    is_cut: bool,
    ending: Ending,
    /// What a reset says to the peer.
    cut: Reason,
    pub(super) hold: Option<Hold>,
}

/// How this half has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Open,
    Finished,
    Reset,
}

impl SendHalf {
    /// Of a request without an answer: dropped, it is taken back (RFC 9113 section 7, CANCEL).
    pub(crate) fn asking(stream: SendStream<Queued>, queue: Queue) -> Self {
        Self {
            stream,
            queue,
            granted: 0,
            is_cut: false,
            ending: Ending::Open,
            cut: Reason::CANCEL,
            hold: None,
        }
    }

    /// Of a tunnel.
    pub(crate) fn new(stream: SendStream<Queued>, queue: Queue) -> Self {
        Self::asking(stream, queue).accepted()
    }

    /// The request has been answered with a tunnel.
    pub(crate) fn accepted(mut self) -> Self {
        self.cut = Reason::CONNECT_ERROR;
        self
    }

    /// Waits for room, and says for how many bytes there is some: at least 1, at most `want` (0 only for 0).
    ///
    /// Room is taken from what all streams of the connection share, and there is none while as much as
    /// [`Config::with_max_send_buffer_size`](crate::Config::with_max_send_buffer_size) waits to be written. Ask when there is something to send, and for no
    /// more than that.
    ///
    /// # Errors
    ///
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the peer reset the stream,
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if the connection is gone,
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) after [`finish`](Self::finish) or [`reset`](Self::reset).
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, want: usize) -> Poll<io::Result<usize>> {
        if want == 0 {
            return Poll::Ready(Ok(0));
        }
        if self.ending != Ending::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.stream.reserve_capacity(want);
        loop {
            // Asked first, because h2's poll_capacity tells only of growth.
            let room = self.stream.capacity();
            if room > 0 {
                if self.queue.poll_room(cx).is_pending() {
                    // The connection is behind. Whoever waits for it hears of its end too.
                    return self.poll_reset(cx).map(Err);
                }
                (self.granted, self.is_cut) = (room.min(want), room < want);
                return Poll::Ready(Ok(self.granted));
            }
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
                None => return Poll::Ready(Err(self.gone())),
            }
        }
    }

    /// As [`poll_capacity`](Self::poll_capacity).
    pub async fn capacity(&mut self, want: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_capacity(cx, want)).await
    }

    /// Queues `data` without a copy.
    ///
    /// # Errors
    ///
    /// As [`poll_capacity`](Self::poll_capacity), and [`InvalidInput`](io::ErrorKind::InvalidInput) if there was not
    /// room for as much; nothing is queued then.
    pub fn send(&mut self, mut data: Bytes) -> io::Result<()> {
        if self.ending != Ending::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if data.len() > self.granted {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than the room granted"));
        }
        if self.is_cut && data.len() == self.granted {
            self.queue.note_cut(data.len());
        }
        self.granted -= data.len();
        while !data.is_empty() {
            let frame = data.split_to(data.len().min(FRAME_PAYLOAD));
            if self.stream.send_data(self.queue.take(frame), false).is_err() {
                return Err(self.gone());
            }
        }
        Ok(())
    }

    /// Queues all of `data` as room appears. If the future is dropped, an unknown part was queued.
    pub async fn send_all(&mut self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let room = self.capacity(data.len()).await?;
            self.send(data.split_to(room))?;
        }
        Ok(())
    }

    /// Ends the stream in this direction, after what is queued: the peer reads an end. Doing it again does nothing.
    ///
    /// # Errors
    ///
    /// If the stream is already gone.
    pub fn finish(&mut self) -> io::Result<()> {
        match self.ending {
            Ending::Finished => Ok(()),
            Ending::Reset => Err(io::ErrorKind::BrokenPipe.into()),
            Ending::Open => {
                if self.stream.send_data(self.queue.take(Bytes::new()), true).is_err() {
                    return Err(self.gone());
                }
                self.ending = Ending::Finished;
                Ok(())
            }
        }
    }

    /// Cuts the stream in both directions; what is queued is dropped. The peer is told CONNECT_ERROR, as RFC 9113 section
    /// 8.5 has it for a connection that failed: some peers take CANCEL for an end in order.
    pub fn reset(&mut self) {
        self.ending = Ending::Reset;
        self.stream.send_reset(self.cut);
    }

    /// Waits until the peer resets the stream or the connection is gone, and says how; to notice it while there is
    /// nothing to send. Pending for ever once both directions have ended in order.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.stream.poll_reset(cx).map(|reset| reset.map_or_else(to_io, reset_to_io))
    }

    /// Why the stream takes nothing more.
    fn gone(&mut self) -> io::Error {
        match self.poll_reset(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(error) => error,
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if self.ending == Ending::Open {
            self.reset();
        }
    }
}

impl AsyncWrite for SendHalf {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_capacity(cx, buf.len()))?;
        self.send(Bytes::copy_from_slice(buf.get(..room).unwrap_or(buf)))?;
        Poll::Ready(Ok(room))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let want = bufs.iter().fold(0_usize, |sum, buf| sum.saturating_add(buf.len()));
        let room = ready!(self.poll_capacity(cx, want))?;
        let mut gathered = BytesMut::with_capacity(room);
        for buf in bufs {
            let left = room - gathered.len();
            gathered.put_slice(buf.get(..left).unwrap_or(buf));
        }
        self.send(gathered.freeze())?;
        Poll::Ready(Ok(room))
    }

    /// Small pieces (a frame's header and its payload) become one chunk instead of one chunk each.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The connection's driver moves what is queued, so there is nothing to wait for.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish())
    }
}

impl fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendHalf").field("ending", &self.ending).finish_non_exhaustive()
    }
}
