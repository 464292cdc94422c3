//! Whether a peer dawdles, from looks that are far apart. Pure.
//!
//! The data path only counts; a look compares the counts with those of the look before. What was under way then and still
//! is has taken at least the time between two looks, and at most two of them.

/// What one direction of a connection is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    /// Grows with every step forward, and may wrap.
    pub(super) step: u32,
    /// Whether the next step is under way and waits for the peer.
    pub(super) waits: bool,
}

/// Who dawdles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dawdles {
    /// The peer has not finished a frame that it began.
    Sending,
    /// The peer has not taken any of what is to be written.
    Taking,
}

#[derive(Debug, Default)]
pub(super) struct Patrol {
    reading: At,
    writing: At,
}

impl Patrol {
    pub(super) fn look(&mut self, reading: At, writing: At) -> Option<Dawdles> {
        let before = std::mem::replace(self, Self { reading, writing });
        if reading.waits && reading == before.reading {
            return Some(Dawdles::Sending);
        }
        (writing.waits && writing == before.writing).then_some(Dawdles::Taking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: At = At { step: 7, waits: false };

    fn waits(step: u32) -> At {
        At { step, waits: true }
    }

    #[test]
    fn the_idle_do_not_dawdle() {
        let mut patrol = Patrol::default();
        for _ in 0..10 {
            assert_eq!(patrol.look(IDLE, IDLE), None);
        }
    }

    #[test]
    fn who_waits_at_two_looks_and_has_not_moved_does() {
        let mut patrol = Patrol::default();
        assert_eq!(patrol.look(waits(3), IDLE), None, "it may have begun just now");
        assert_eq!(patrol.look(waits(3), IDLE), Some(Dawdles::Sending));
        let mut patrol = Patrol::default();
        assert_eq!(patrol.look(IDLE, waits(3)), None);
        assert_eq!(patrol.look(IDLE, waits(3)), Some(Dawdles::Taking));
    }

    #[test]
    fn the_slow_who_move_do_not() {
        let mut patrol = Patrol::default();
        for step in 0..10 {
            assert_eq!(patrol.look(waits(step), waits(step)), None);
        }
    }
}
