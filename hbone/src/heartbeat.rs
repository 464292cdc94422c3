//! The keepalive with hands: hears the bytes of one connection, keeps the clock, sends the pings.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::keepalive::{KeepAlivePolicy, Keepalive, Step};

/// Watches over one connection. Traffic does not touch its timer: it sleeps to the next due time and looks then.
pub(crate) struct Heartbeat {
    keepalive: Keepalive,
    heard: Arc<AtomicBool>,
    ping: PingPong,
    alarm: Pin<Box<Sleep>>,
    dead_after: Duration,
}

/// What happened, when something did.
pub(crate) enum Beat {
    /// A ping is queued: the connection has something to write.
    Pinged,
    /// The peer is dead.
    Silent { dead_after: Duration },
}

impl Heartbeat {
    pub(crate) fn new(policy: KeepAlivePolicy, heard: Arc<AtomicBool>, ping: PingPong) -> Self {
        let keepalive = Keepalive::new(policy, Instant::now().into_std());
        let alarm = Box::pin(tokio::time::sleep_until(keepalive.due().into()));
        Self { keepalive, heard, ping, alarm, dead_after: policy.dead_after }
    }

    /// To be polled after the connection, which is what hears.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        if self.heard.swap(false, Ordering::Relaxed) {
            self.keepalive.heard(Instant::now().into_std());
            let due = Instant::from_std(self.keepalive.due());
            if due < self.alarm.deadline() {
                self.alarm.as_mut().reset(due);
            }
        }
        // Collected only so that h2 lets the next ping go: the pong's bytes were heard like any others.
        let _ = self.ping.poll_pong(cx);
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            match self.keepalive.step(Instant::now().into_std()) {
                Step::WaitUntil(due) => self.alarm.as_mut().reset(due.into()),
                Step::Ping => {
                    // Fails while an earlier ping is unanswered, which then stands for this one.
                    let _ = self.ping.send_ping(Ping::opaque());
                    return Poll::Ready(Beat::Pinged);
                }
                Step::Dead => return Poll::Ready(Beat::Silent { dead_after: self.dead_after }),
            }
        }
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("keepalive", &self.keepalive).finish_non_exhaustive()
    }
}

/// A stream that notes when bytes come in, and is otherwise the stream it wraps.
#[derive(Debug)]
pub(crate) struct Listened<T> {
    io: T,
    heard: Arc<AtomicBool>,
}

impl<T> Listened<T> {
    pub(crate) fn new(io: T) -> (Self, Arc<AtomicBool>) {
        let heard = Arc::new(AtomicBool::new(false));
        (Self { io, heard: Arc::clone(&heard) }, heard)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Listened<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Listened<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
