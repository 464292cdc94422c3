//! A count with a bound, that many may wait for.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use super::sync::{AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError};

/// Open while the count is below the limit. Who passes may go beyond it: the limit says when to stop, and a queue that stops
/// at its exact limit would cut what it holds into small pieces.
///
/// Who waits is woken one at a time, oldest first: when something is given back, and when somebody has passed and left it open. All of
/// them at once would mean that of a hundred, ninety-nine look for nothing. One who is woken need not pass, as it may be gone. So that nobody
/// waits for that, all are woken when everything is given back, and [`pass_on`](Self::pass_on) is for whoever sees to it before that.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The count, and in the lowest bit whether anybody waits: both change in one order, so that neither is missed.
    state: AtomicUsize,
    limit: usize,
    waiting: Mutex<VecDeque<Waker>>,
}

/// Somebody waits.
const WAITED: usize = 1;
/// Where the count begins.
const COUNT: u32 = 1;

impl Gate {
    pub(crate) fn new(limit: usize) -> Self {
        Self { state: AtomicUsize::new(0), limit, waiting: Mutex::new(VecDeque::new()) }
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_open(self.state.load(Ordering::Acquire)) {
            return Poll::Ready(());
        }
        let mut waiting = self.lock();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push_back(cx.waker().clone());
        }
        // Looked at again: who gives back from now on sees that somebody waits.
        if !self.is_open(self.state.fetch_or(WAITED, Ordering::AcqRel)) {
            return Poll::Pending;
        }
        waiting.retain(|waker| !waker.will_wake(cx.waker()));
        self.note_empty(&waiting);
        Poll::Ready(())
    }

    pub(crate) fn add(&self, count: usize) {
        let count = count << COUNT;
        self.wake(self.state.fetch_add(count, Ordering::AcqRel) + count);
    }

    pub(crate) fn give_back(&self, count: usize) {
        let count = count << COUNT;
        self.wake(self.state.fetch_sub(count, Ordering::AcqRel) - count);
    }

    /// Wakes one of those who wait, if it is open. Returns whether there was one.
    pub(crate) fn pass_on(&self) -> bool {
        self.wake(self.state.load(Ordering::Acquire))
    }

    /// Wakes whose turn it is in that state, if anybody's.
    fn wake(&self, state: usize) -> bool {
        if state & WAITED == 0 || !self.is_open(state) {
            return false;
        }
        let mut waiting = self.lock();
        let all = state >> COUNT == 0;
        let count = if all { waiting.len() } else { waiting.len().min(1) };
        let woken: Vec<Waker> = waiting.drain(..count).collect();
        self.note_empty(&waiting);
        drop(waiting);
        let is_anybody = !woken.is_empty();
        // Out of the lock, because waking runs an executor's code.
        woken.into_iter().for_each(Waker::wake);
        is_anybody
    }

    fn note_empty(&self, waiting: &VecDeque<Waker>) {
        if waiting.is_empty() {
            self.state.fetch_and(!WAITED, Ordering::AcqRel);
        }
    }

    fn is_open(&self, state: usize) -> bool {
        state >> COUNT < self.limit
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
