//! The stream beneath a connection, with what passes in sight.

use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Breach;
use super::overflow::Overflow;
use super::patrol::At;
use super::scan::{Head, Scanner};
use super::tally::Tally;
use super::toll::{Spent, Tariff, Toll};
use super::turn::{Turn, WHEN_DENSE, Work};
use crate::config::Config;
use crate::crumbs::Crumbs;

/// What h2 reads from and writes to: the stream it wraps, until the peer breaks a bound; then nothing more is read.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    io: T,
    inbound: Inbound,
    turn: Turn,
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
            toll: Toll::new(config.tariff, Instant::now().into_std(), tally.slivers()),
            tariff: config.tariff,
            data: 0,
            acknowledged: 0,
            in_block: 0,
            longest: config.longest_block(),
            crumbs: tally.crumbs(),
        };
        let (turn, overflow) = (Turn::new(), Overflow::default());
        (Self { io, inbound, turn, outbound: ours, overflow, writes: 0, tally: Arc::clone(&tally) }, tally)
    }

    fn wrote(&mut self, buffers: &[io::IoSlice<'_>], mut count: usize) {
        let mut granted = 0;
        for buffer in buffers {
            let part = buffer.get(..count).unwrap_or(buffer);
            count -= part.len();
            let (toll, overflow) = (&mut self.inbound.toll, &mut self.overflow);
            let Ok(()) = self.outbound.feed(part, |head| {
                toll.sent(head);
                overflow.sent(head);
                if head.stream == 0 {
                    granted += u64::from(head.increment);
                }
                Ok::<_, std::convert::Infallible>(())
            });
        }
        self.tally.grant(granted);
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
    /// Acknowledgements of settings.
    acknowledged: u32,
    /// Bytes of the block of headers that comes.
    in_block: u32,
    longest: u32,
    crumbs: Crumbs,
}

impl Inbound {
    fn feed(&mut self, bytes: &[u8], work: &mut Work, overflow: &mut Overflow) -> Result<(), Breach> {
        let Self { scanner, frames, toll, tariff, data, acknowledged, in_block, longest, crumbs } = self;
        scanner.feed(bytes, |head| {
            work.add(head);
            if head.kind == Head::CONTINUATION {
                // Part of the frame before, in size and in time.
                *in_block = in_block.saturating_add(head.length);
            } else {
                *frames = frames.wrapping_add(1);
                *in_block = head.length;
            }
            if head.kind == Head::DATA {
                *data += u64::from(head.length);
                crumbs.received(head.length);
            } else if *in_block > *longest {
                return Err(Breach::TooLong { limit: *longest });
            } else if head.acknowledges_settings() {
                *acknowledged = acknowledged.wrapping_add(1);
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
        if self.tally.breach().is_some() || self.inbound.crumbs.are_too_many() {
            // Whoever polls the connection looks for it next, and ends it, or puts them together and goes on.
            return Poll::Pending;
        }
        if self.turn.pass() {
            self.tally.pause();
        }
        if self.tally.is_paused() {
            // Not a wake-up of our own: that would come before the runtime has looked for what others wait for.
            return std::pin::pin!(tokio::task::yield_now()).poll(cx).map(Ok);
        }
        let before = buf.filled().len();
        let limit = self.turn.limit();
        let read = poll_read_some(Pin::new(&mut self.io), cx, buf, limit);
        if read.is_pending() {
            self.turn.rest();
        }
        let new = buf.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            return read;
        }
        let mut work = Work::default();
        let Self { inbound, overflow, turn, .. } = &mut *self;
        let judged = inbound.feed(new, &mut work, overflow);
        turn.read(new.len(), work);
        self.tally.hear(self.inbound.at(), self.inbound.data, self.inbound.acknowledged);
        if let Err(breach) = judged {
            self.tally.set_breach(breach);
            buf.set_filled(before);
            return Poll::Pending;
        }
        read
    }
}

/// As `poll_read`, and not more than the limit, which is at most [`WHEN_DENSE`].
fn poll_read_some<T: AsyncRead>(
    io: Pin<&mut T>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    limit: Option<usize>,
) -> Poll<io::Result<()>> {
    let Some(limit) = limit.map(|limit| limit.min(buf.remaining())) else { return io.poll_read(cx, buf) };
    // To copy what has come costs less than to clear room for what might.
    let mut room = [MaybeUninit::uninit(); WHEN_DENSE];
    let mut part = ReadBuf::uninit(room.get_mut(..limit).unwrap_or_default());
    let read = io.poll_read(cx, &mut part);
    buf.put_slice(part.filled());
    read
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
