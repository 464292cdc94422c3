//! A clock for certificates that goes with tokio's, which stands still until everybody waits.

use std::time::Duration;

use inpod_identity::source::Clock;
use tokio::time::Instant;

use crate::lab;

/// Begins at [`lab::now`].
pub(crate) fn clock() -> Clock {
    let start = Instant::now();
    Clock::new(move || lab::now() + start.elapsed())
}

/// Lets `time` pass, and everybody do what they do in it.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
