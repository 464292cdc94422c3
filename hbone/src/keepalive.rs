//! When to ping a quiet peer, and when a silent one is dead. Pure: time comes in.
//!
//! ```text
//!                 ping_after without a byte             dead_after without a byte
//!   +---------+ ----------------------------> +--------+ -----------------------> dead
//!   |  Quiet  |          send a ping          | Pinged |
//!   +---------+ <---------------------------- +--------+
//!     ^     |      any byte, pong or other
//!     +-----+
//!    any byte
//! ```
//!
//! Any byte from the peer proves that it lives, so a connection that carries data is never pinged.

use std::time::{Duration, Instant};

/// How long a peer may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepAlivePolicy {
    /// Silence before a PING is sent. Default 10 s, as Istio's ztunnel. Shorter finds a dead peer sooner and wakes
    /// idle connections more often.
    pub ping_after: Duration,
    /// Further silence before the connection is given up. Default 20 s, as Istio's ztunnel.
    pub dead_after: Duration,
}

impl KeepAlivePolicy {
    /// A policy of the two durations.
    pub fn new(ping_after: Duration, dead_after: Duration) -> Self {
        Self { ping_after, dead_after }
    }
}

impl Default for KeepAlivePolicy {
    fn default() -> Self {
        Self::new(Duration::from_secs(10), Duration::from_secs(20))
    }
}

#[derive(Debug)]
pub(crate) struct Keepalive {
    policy: KeepAlivePolicy,
    state: State,
}

#[derive(Debug)]
enum State {
    Quiet { since: Instant },
    Pinged { at: Instant },
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    WaitUntil(Instant),
    Ping,
    Dead,
}

impl Keepalive {
    pub(crate) fn new(policy: KeepAlivePolicy, now: Instant) -> Self {
        Self { policy, state: State::Quiet { since: now } }
    }

    /// Bytes of any kind came from the peer.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.state = State::Quiet { since: now };
    }

    /// When there is something to do, if nothing is heard before.
    pub(crate) fn due(&self) -> Instant {
        match self.state {
            State::Quiet { since } => after(since, self.policy.ping_after),
            State::Pinged { at } => after(at, self.policy.dead_after),
        }
    }

    pub(crate) fn step(&mut self, now: Instant) -> Step {
        let due = self.due();
        if now < due {
            return Step::WaitUntil(due);
        }
        match self.state {
            State::Quiet { .. } => {
                self.state = State::Pinged { at: now };
                Step::Ping
            }
            State::Pinged { .. } => Step::Dead,
        }
    }
}

fn after(start: Instant, wait: Duration) -> Instant {
    start.checked_add(wait).unwrap_or_else(|| start + A_LONG_TIME)
}

/// Stands for "never" where a duration does not fit into an `Instant`: thirty years, which always fits.
const A_LONG_TIME: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_quiet_peer_is_pinged_and_then_dead() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(KeepAlivePolicy::default(), start);
        assert_eq!(keepalive.step(start), Step::WaitUntil(start + seconds(10)));
        assert_eq!(keepalive.step(start + seconds(10)), Step::Ping);
        assert_eq!(keepalive.step(start + seconds(10)), Step::WaitUntil(start + seconds(30)));
        assert_eq!(keepalive.step(start + seconds(30)), Step::Dead);
    }

    #[test]
    fn any_byte_postpones_both() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(KeepAlivePolicy::default(), start);
        keepalive.heard(start + seconds(9));
        assert_eq!(keepalive.step(start + seconds(10)), Step::WaitUntil(start + seconds(19)));
        assert_eq!(keepalive.step(start + seconds(19)), Step::Ping);
        keepalive.heard(start + seconds(38));
        assert_eq!(keepalive.step(start + seconds(39)), Step::WaitUntil(start + seconds(48)));
    }

    #[test]
    fn a_late_ping_still_gives_the_peer_its_whole_time() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(KeepAlivePolicy::default(), start);
        assert_eq!(keepalive.step(start + seconds(500)), Step::Ping);
        assert_eq!(keepalive.step(start + seconds(500)), Step::WaitUntil(start + seconds(520)));
    }

    #[test]
    fn endless_patience_does_not_overflow() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(KeepAlivePolicy::new(Duration::MAX, Duration::MAX), start);
        assert!(matches!(keepalive.step(start + seconds(1_000_000)), Step::WaitUntil(_)));
    }
}
