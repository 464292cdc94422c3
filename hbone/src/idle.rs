//! Ends a server's connection on which nobody has anything open.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Watches over one connection. Tunnels do not touch its timer: it sleeps to the next due time and looks then.
#[derive(Debug)]
pub(crate) struct Idle {
    after: Duration,
    occupancy: Arc<Occupancy>,
    alarm: Pin<Box<Sleep>>,
    told: bool,
}

impl Idle {
    pub(crate) fn new(after: Duration) -> Self {
        let alarm = Box::pin(tokio::time::sleep(after));
        Self { after, occupancy: Arc::default(), alarm, told: false }
    }

    /// To be kept as long as a request, or the tunnel that it becomes.
    pub(crate) fn occupant(&self) -> Occupant {
        self.occupancy.change(|live| live + 1);
        Occupant(Arc::clone(&self.occupancy))
    }

    /// The limit, once it has been reached.
    pub(crate) fn exceeded(&self) -> Option<Duration> {
        self.told.then_some(self.after)
    }

    /// Ready once, when there has been nothing open for the whole time.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.told {
            ready!(self.alarm.as_mut().poll(cx));
            let now = Instant::now();
            let rested = self.occupancy.empty_since().map_or(Duration::ZERO, |since| now - since);
            match self.after.checked_sub(rested) {
                Some(Duration::ZERO) | None => {
                    self.told = true;
                    return Poll::Ready(());
                }
                Some(rest) => self.alarm.set(tokio::time::sleep(rest)),
            }
        }
        Poll::Pending
    }
}

/// One request or tunnel.
#[derive(Debug)]
pub(crate) struct Occupant(Arc<Occupancy>);

impl Drop for Occupant {
    fn drop(&mut self) {
        self.0.change(|live| live.saturating_sub(1));
    }
}

#[derive(Debug)]
struct Occupancy(Mutex<State>);

#[derive(Debug)]
struct State {
    live: usize,
    changed: Instant,
}

impl Default for Occupancy {
    fn default() -> Self {
        Self(Mutex::new(State { live: 0, changed: Instant::now() }))
    }
}

impl Occupancy {
    fn change(&self, change: impl FnOnce(usize) -> usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { live: change(state.live), changed: Instant::now() };
    }

    fn empty_since(&self) -> Option<Instant> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.live == 0).then_some(state.changed)
    }
}
