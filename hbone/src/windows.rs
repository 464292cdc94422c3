//! How large the windows are that a peer has earned. Pure.
//!
//! A connection begins with small windows, so that one whose data nobody reads holds little. They double each time that the
//! peer has sent two windows: it could not, had readers here not taken one of them. They never shrink.

use crate::config::Config;

/// The windows of a stream and of the connection, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) stream: u32,
    pub(crate) connection: u32,
}

impl Sizes {
    /// What a connection begins with.
    pub(crate) fn first(config: &Config) -> Self {
        let most = Self::most(config);
        Self { stream: most.stream.min(FIRST.stream), connection: most.connection.min(FIRST.connection) }
    }

    fn most(config: &Config) -> Self {
        Self { stream: config.stream_window, connection: config.connection_window }
    }
}

/// The windows of one connection.
#[derive(Debug)]
pub(crate) struct Windows {
    now: Sizes,
    most: Sizes,
    /// Bytes received in all when they grew last.
    received: u64,
}

impl Windows {
    pub(crate) fn new(config: &Config) -> Self {
        Self { now: Sizes::first(config), most: Sizes::most(config), received: 0 }
    }

    /// What they should grow to, when `received` bytes have come in all.
    fn due(&self, received: u64) -> Option<Sizes> {
        let earned = received.saturating_sub(self.received) >= 2 * u64::from(self.now.connection);
        let next = Sizes {
            stream: self.now.stream.saturating_mul(2).min(self.most.stream),
            connection: self.now.connection.saturating_mul(2).min(self.most.connection),
        };
        (earned && next != self.now).then_some(next)
    }

    /// Lets the peer send more at once, if it has earned it: `announce` tells it, or cannot yet; then it is due again later. Returns whether
    /// there is something to write now.
    pub(crate) fn grow(
        &mut self,
        received: u64,
        announce: impl FnOnce(Sizes) -> Result<(), h2::Error>,
    ) -> bool {
        let Some(next) = self.due(received) else { return false };
        let announced = announce(next).is_ok();
        if announced {
            self.grown(next, received);
        }
        announced
    }

    /// They have grown.
    fn grown(&mut self, to: Sizes, received: u64) {
        self.now = to;
        self.received = received;
    }
}

/// A quarter of the connection's for each stream, as in [`Config`]'s defaults: 1 Gbit/s at 1 ms of round trip until more is earned.
const FIRST: Sizes = Sizes { stream: 128 << 10, connection: 512 << 10 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_double_with_what_is_taken_up_to_what_is_configured() {
        let mut windows = Windows::new(&Config::default());
        let mut received = 0;
        let mut steps = vec![windows.now];
        for _ in 0..100_000 {
            received += 10_000;
            if let Some(next) = windows.due(received) {
                windows.grown(next, received);
                steps.push(next);
            }
        }
        let (streams, connections): (Vec<_>, Vec<_>) =
            steps.iter().map(|step| (step.stream >> 10, step.connection >> 10)).unzip();
        assert_eq!(streams, [128, 256, 512, 1024, 2048, 4096]);
        assert_eq!(connections, [512, 1024, 2048, 4096, 8192, 16384]);
    }

    #[test]
    fn one_window_that_nobody_reads_earns_nothing() {
        let windows = Windows::new(&Config::default());
        assert_eq!(windows.due(2 * (512 << 10) - 1), None);
        assert!(windows.due(2 * (512 << 10)).is_some());
    }

    #[test]
    fn smaller_than_the_first_stays_so() {
        let config =
            Config::default().with_stream_window(1000).unwrap().with_connection_window(70_000).unwrap();
        let windows = Windows::new(&config);
        assert_eq!(windows.now, Sizes { stream: 1000, connection: 70_000 });
        assert_eq!(windows.due(u64::MAX), None);
    }
}
