//! A clock for certificates that goes with tokio's, which stands still until everybody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use inpod_identity::source::Clock;
use tokio::time::Instant;

use crate::lab;

/// Begins at [`lab::now`].
pub(crate) fn clock() -> Clock {
    let start = Instant::now();
    Clock::new(move || lab::now() + start.elapsed())
}

/// Sets a clock forward and back.
pub(crate) struct Hands(Arc<AtomicI64>);

impl Hands {
    pub(crate) fn turn(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// A clock as [`clock`]'s, which can be set.
pub(crate) fn settable_clock() -> (Clock, Hands) {
    let (clock, hands) = (clock(), Arc::new(AtomicI64::new(0)));
    let turned = Arc::clone(&hands);
    let now = move || {
        let seconds = turned.load(Ordering::Relaxed);
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { clock.now() - by } else { clock.now() + by }
    };
    (Clock::new(now), Hands(hands))
}

/// Lets `time` pass, and everybody do what they do in it.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
