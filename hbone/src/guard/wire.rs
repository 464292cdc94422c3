//! The stream beneath a connection, with what passes in sight.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Breach;
use super::overflow::Overflow;
use super::patrol::At;
use super::scan::{Head, Scanner};
use super::toll::{Spent, Tariff, Toll};
use crate::config::Config;

/// What h2 reads from and writes to: the stream it wraps, until the peer breaks a bound; then nothing more is read.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    io: T,
    inbound: Inbound,
    outbound: Scanner,
    overflow: Overflow,
    /// Writes that moved something.
    writes: u32,
    tally: Arc<Tally>,
}

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

impl<T> Wire<T> {
    pub(crate) fn new(io: T, end: End, config: &Config) -> (Self, Arc<Tally>) {
        let (ours, theirs) = match end {
            End::Client => (Scanner::after_preface(), Scanner::new()),
            End::Server => (Scanner::new(), Scanner::after_preface()),
        };
        let tally = Arc::new(Tally::default());
        let inbound = Inbound {
            scanner: theirs,
            frames: 0,
            toll: Toll::new(config.tariff, Instant::now().into_std()),
            tariff: config.tariff,
            data: 0,
            in_block: 0,
            longest: config.longest_block(),
        };
        let overflow = Overflow::default();
        (Self { io, inbound, outbound: ours, overflow, writes: 0, tally: Arc::clone(&tally) }, tally)
    }

    fn wrote(&mut self, buffers: &[io::IoSlice<'_>], mut count: usize) {
        for buffer in buffers {
            let part = buffer.get(..count).unwrap_or(buffer);
            count -= part.len();
            let (toll, overflow) = (&mut self.inbound.toll, &mut self.overflow);
            let Ok(()) = self.outbound.feed(part, |head| {
                toll.sent(head);
                overflow.sent(head);
                Ok::<_, std::convert::Infallible>(())
            });
        }
    }

    /// Notes whether the peer keeps us waiting.
    fn note_write<R>(&mut self, result: &Poll<io::Result<R>>) {
        if result.is_ready() {
            self.writes = self.writes.wrapping_add(1);
        }
        self.tally.set_writing(At { step: self.writes, waits: result.is_pending() });
    }
}

/// What is known of the frames that come in.
#[derive(Debug)]
struct Inbound {
    scanner: Scanner,
    frames: u32,
    toll: Toll,
    tariff: Tariff,
    /// Bytes of DATA, padding included, as flow control counts them.
    data: u64,
    /// Bytes of the block of headers that comes.
    in_block: u32,
    longest: u32,
}

impl Inbound {
    fn feed(&mut self, bytes: &[u8], overflow: &mut Overflow) -> Result<(), Breach> {
        let Self { scanner, frames, toll, tariff, data, in_block, longest } = self;
        scanner.feed(bytes, |head| {
            if head.kind == Head::CONTINUATION {
                // Part of the frame before, in size and in time.
                *in_block = in_block.saturating_add(head.length);
            } else {
                *frames = frames.wrapping_add(1);
                *in_block = head.length;
            }
            if head.kind == Head::DATA {
                *data += u64::from(head.length);
            } else if *in_block > *longest {
                return Err(Breach::TooLong { limit: *longest });
            }
            overflow.received(head);
            let paid = toll.received(head, || Instant::now().into_std());
            paid.map_err(|Spent| Breach::Flood { burst: tariff.burst })
        })
    }

    fn at(&self) -> At {
        At { step: self.frames, waits: self.scanner.is_within() }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.tally.breach().is_some() {
            // Whoever polls the connection looks for it next, and ends it.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let new = buf.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            return read;
        }
        self.tally.heard.store(true, Ordering::Relaxed);
        let Self { inbound, overflow, .. } = &mut *self;
        let judged = inbound.feed(new, overflow);
        self.tally.set_reading(self.inbound.at());
        self.tally.data.store(self.inbound.data, Ordering::Relaxed);
        if let Err(breach) = judged {
            self.tally.set_breach(breach);
            buf.set_filled(before);
            return Poll::Pending;
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> Wire<T> {
    /// Writes by `write`, after what waits; what the stream does not take may go where it waits.
    fn poll_write_by(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = match self.poll_drain(cx) {
            Poll::Ready(Ok(())) => write(Pin::new(&mut self.io), cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.note_write(&written);
        let taken = match written {
            Poll::Pending => {
                self.overflow.take(buffers).map_or(Poll::Pending, |count| Poll::Ready(Ok(count)))
            }
            ready => ready,
        };
        if let Poll::Ready(Ok(count)) = taken {
            self.wrote(buffers, count);
        }
        taken
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let owed = self.tally.take_owed();
        self.overflow.owe(owed);
        self.overflow.poll_drain(&mut self.io, cx)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, &[io::IoSlice::new(buf)], |io, cx| io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, bufs, |io, cx| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.poll_drain(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.io).poll_flush(cx),
            other => other,
        };
        self.note_write(&flushed);
        match flushed {
            Poll::Pending if self.overflow.may_pass_flush() => Poll::Ready(Ok(())),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What the wire tells the guard. Both are polled by one task, so nothing here orders anything else.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    heard: AtomicBool,
    reading: AtomicU32,
    writing: AtomicU32,
    data: AtomicU64,
    /// Words of our own that are to be written.
    owed: AtomicU32,
    breach: OnceLock<Breach>,
}

impl Tally {
    /// Whether bytes came since the last call.
    pub(super) fn take_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    pub(super) fn breach(&self) -> Option<Breach> {
        self.breach.get().copied()
    }

    /// A word of our own is to be written.
    pub(super) fn owe(&self) {
        self.owed.fetch_add(1, Ordering::Relaxed);
    }

    fn take_owed(&self) -> u32 {
        // Nearly always none: a look is cheaper than a change.
        if self.owed.load(Ordering::Relaxed) == 0 { 0 } else { self.owed.swap(0, Ordering::Relaxed) }
    }

    /// Bytes of DATA that have come, or are announced, in all.
    pub(super) fn data(&self) -> u64 {
        self.data.load(Ordering::Relaxed)
    }

    pub(super) fn reading(&self) -> At {
        unpacked(self.reading.load(Ordering::Relaxed))
    }

    pub(super) fn writing(&self) -> At {
        unpacked(self.writing.load(Ordering::Relaxed))
    }

    fn set_reading(&self, at: At) {
        self.reading.store(packed(at), Ordering::Relaxed);
    }

    fn set_writing(&self, at: At) {
        self.writing.store(packed(at), Ordering::Relaxed);
    }

    fn set_breach(&self, breach: Breach) {
        // The first counts.
        let _ = self.breach.set(breach);
    }
}

/// One word, so that both parts are of one moment.
fn packed(at: At) -> u32 {
    (at.step << 1) | u32::from(at.waits)
}

fn unpacked(word: u32) -> At {
    At { step: word >> 1, waits: word & 1 == 1 }
}
