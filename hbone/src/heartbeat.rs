//! The keepalive with hands: keeps the clock, sends the pings.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use crate::keepalive::{KeepAlivePolicy, Keepalive, Step};

/// Watches over one connection. Traffic does not touch its timer: it sleeps to the next due time and looks then.
pub(crate) struct Heartbeat {
    keepalive: Keepalive,
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
    pub(crate) fn new(policy: KeepAlivePolicy, ping: PingPong) -> Self {
        let keepalive = Keepalive::new(policy, Instant::now().into_std());
        let alarm = Box::pin(tokio::time::sleep_until(keepalive.due().into()));
        Self { keepalive, ping, alarm, dead_after: policy.dead_after }
    }

    /// To be polled after the connection; `heard` says whether that heard anything since the last time.
    pub(crate) fn poll(&mut self, heard: bool, cx: &mut Context<'_>) -> Poll<Beat> {
        if heard {
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
