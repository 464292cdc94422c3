//! Small frames that nobody has read: what holds them costs more than they carry, so they are counted and put together in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Those of one connection, at most. Clones are the same count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crumbs(Arc<AtomicUsize>);

impl Crumbs {
    /// A frame of DATA has come.
    pub(crate) fn received(&self, length: u32) {
        if (1..SMALL).contains(&length) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The payload of one was taken.
    pub(crate) fn taken(&self, payload: usize) {
        if payload < SMALL_FOR_CERTAIN {
            // None are missed when they were put together meanwhile.
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        }
    }

    /// They are too many to go on.
    pub(crate) fn are_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MOST
    }

    /// They were put together.
    pub(crate) fn gone(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Bytes of what is no small frame: h2 needs about 250 for any, which is a quarter more than this.
const SMALL: u32 = 1024;
/// Without the padding of RFC 9113 section 6.1, 256 bytes at most.
const SMALL_FOR_CERTAIN: usize = 768;
/// 250 KiB of them.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_does_not_count() {
        let crumbs = Crumbs::default();
        for _ in 0..2 * MOST {
            crumbs.received(1);
            crumbs.taken(1);
        }
        assert!(!crumbs.are_too_many());
    }

    #[test]
    fn what_is_not_read_does_until_it_is_put_together() {
        let crumbs = Crumbs::default();
        (0..MOST).for_each(|_| crumbs.received(SMALL - 1));
        assert!(crumbs.are_too_many());
        crumbs.gone();
        crumbs.taken(1);
        assert!(!crumbs.are_too_many());
    }

    #[test]
    fn large_ones_and_those_that_may_have_been_padded_hide_none() {
        let crumbs = Crumbs::default();
        for _ in 0..MOST {
            crumbs.received(1);
            crumbs.received(SMALL);
            crumbs.taken(SMALL_FOR_CERTAIN);
            crumbs.received(0);
        }
        assert!(crumbs.are_too_many());
    }
}
