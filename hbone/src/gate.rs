//! A count with a bound, that many may wait for.

use std::task::{Context, Poll, Waker};

use super::sync::{AtomicUsize, Mutex, Ordering, PoisonError};

/// Open while the count is below the limit. Who passes may go beyond it: the limit says when to stop, and a queue that stops
/// at its exact limit would cut what it holds into small pieces.
#[derive(Debug)]
pub(crate) struct Gate {
    count: AtomicUsize,
    limit: usize,
    waiting: Mutex<Vec<Waker>>,
}

impl Gate {
    pub(crate) fn new(limit: usize) -> Self {
        Self { count: AtomicUsize::new(0), limit, waiting: Mutex::new(Vec::new()) }
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_open() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at again under the lock: who gives back counts first and takes the lock then, so that it either sees this waker,
        // or its count is seen here.
        if self.is_open() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(crate) fn add(&self, count: usize) {
        self.count.fetch_add(count, Ordering::AcqRel);
    }

    pub(crate) fn give_back(&self, count: usize) {
        let before = self.count.fetch_sub(count, Ordering::AcqRel);
        if before >= self.limit && before - count < self.limit {
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            // Out of the lock, because waking runs an executor's code.
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    fn is_open(&self) -> bool {
        self.count.load(Ordering::Acquire) < self.limit
    }
}
