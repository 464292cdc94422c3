//! What a peer may send that carries nothing. Pure: time comes in.
//!
//! Each such frame costs a credit. Credits come with time, and with what we send that a peer has to answer:
//!
//! ```text
//!   received                                       sent
//!   DATA with bytes, or with END_STREAM    free    DATA, for each 4 KiB begun    +3   a WINDOW_UPDATE each for stream and connection, a PING
//!   everything else                          -1    ... of a sliver                0   cut by a window that the peer keeps all but shut
//!                                                  HEADERS                       +3   the HEADERS that asked or answers, a PRIORITY, a RST_STREAM
//! ```
//!
//! So a peer that opens tunnels, moves bytes and cuts tunnels pays nothing at any rate, and one that opens tunnels and takes
//! them back before an answer, gives room by the byte, or sends pings, settings, priorities, empty frames or frames that nobody knows,
//! runs dry. Pings are among the answers because peers measure bandwidth with one for what they receive.

use std::time::{Duration, Instant};

use super::scan::Head;
use crate::slivers::{Slivers, is_sliver};

/// How many credits there are at most, and how many come each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tariff {
    pub(crate) burst: u32,
    pub(crate) per_second: u32,
}

/// The credits of one peer.
#[derive(Debug)]
pub(super) struct Toll {
    tariff: Tariff,
    credits: u32,
    counted_at: Instant,
    slivers: Slivers,
}

/// There are no credits left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spent;

impl Toll {
    pub(super) fn new(tariff: Tariff, now: Instant, slivers: Slivers) -> Self {
        Self { tariff, credits: tariff.burst, counted_at: now, slivers }
    }

    /// Takes what a frame from the peer costs. The clock is asked only if it costs something.
    pub(super) fn received(&mut self, head: Head, now: impl FnOnce() -> Instant) -> Result<(), Spent> {
        if head.kind == Head::DATA && (head.length > 0 || head.ends_stream()) {
            return Ok(());
        }
        self.refill(now());
        self.credits = self.credits.checked_sub(1).ok_or(Spent)?;
        Ok(())
    }

    /// Adds what a frame of ours lets the peer send.
    pub(super) fn sent(&mut self, head: Head) {
        let answers = match head.kind {
            Head::DATA if is_sliver(head.length) && self.slivers.take() => return,
            Head::DATA => head.length.div_ceil(SMALLEST_UPDATE),
            Head::HEADERS => 1,
            _ => return,
        };
        let most = self.tariff.burst.saturating_mul(UNDER_WAY).max(self.credits);
        self.credits = self.credits.saturating_add(answers.saturating_mul(ANSWERS)).min(most);
    }

    fn refill(&mut self, now: Instant) {
        let due = now.saturating_duration_since(self.counted_at).as_micros()
            * u128::from(self.tariff.per_second)
            / MICROS;
        if due > 0 {
            // What is less than one credit counts next time.
            let counted = due * MICROS / u128::from(self.tariff.per_second);
            self.counted_at += Duration::from_micros(u64::try_from(counted).unwrap_or(u64::MAX));
            self.earn(u32::try_from(due).unwrap_or(u32::MAX));
        }
    }

    /// With time, up to the burst; what was earned by sending is not lost.
    fn earn(&mut self, credits: u32) {
        let most = self.tariff.burst.max(self.credits);
        self.credits = self.credits.saturating_add(credits).min(most);
    }
}

/// Frames that a peer may send for each that counts.
const ANSWERS: u32 = 3;

/// Bytes for which peers may give room back one by one: the least that the usual ones do (golang.org/x/net/http2, 4 KiB; others,
/// half a window).
const SMALLEST_UPDATE: u32 = 4096;

/// How many bursts may be earned by sending: what is under way is answered later. At 1000 credits each, the answers to 5 MiB.
const UNDER_WAY: u32 = 4;

/// In a second.
const MICROS: u128 = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn head(length: u32, kind: u8, flags: u8) -> Head {
        Head { length, kind, flags, stream: 1, increment: 0 }
    }

    fn toll(tariff: Tariff, now: Instant) -> Toll {
        Toll::new(tariff, now, Slivers::default())
    }

    const TARIFF: Tariff = Tariff { burst: 10, per_second: 5 };
    const PING: Head = head(8, 6, 0);
    const BYTES: Head = head(1, Head::DATA, 0);
    const HEADERS: Head = head(1, Head::HEADERS, 4);

    /// How many pings are let through at one time.
    fn pings(toll: &mut Toll, now: Instant) -> u32 {
        let mut through = 0;
        while toll.received(PING, || now).is_ok() {
            through += 1;
        }
        through
    }

    #[test]
    fn bytes_are_free_and_the_clock_is_not_asked() {
        let mut toll = toll(TARIFF, Instant::now());
        let end = head(0, Head::DATA, 1);
        for _ in 0..1000 {
            assert_eq!(toll.received(BYTES, || unreachable!()), Ok(()));
            assert_eq!(toll.received(end, || unreachable!()), Ok(()));
        }
    }

    #[test]
    fn what_carries_nothing_is_not() {
        let now = Instant::now();
        for kind in 0..=255 {
            let mut toll = toll(TARIFF, now);
            let empty = head(0, kind, 0);
            let let_through = (0..100).take_while(|_| toll.received(empty, || now).is_ok()).count();
            assert_eq!(let_through, 10, "kind {kind}");
        }
    }

    #[test]
    fn credits_come_with_time_and_not_beyond_the_burst() {
        let start = Instant::now();
        let mut toll = toll(TARIFF, start);
        assert_eq!(pings(&mut toll, start), 10);
        assert_eq!(pings(&mut toll, start + Duration::from_millis(199)), 0);
        assert_eq!(pings(&mut toll, start + Duration::from_millis(200)), 1);
        assert_eq!(pings(&mut toll, start + Duration::from_millis(1200)), 5);
        assert_eq!(pings(&mut toll, start + Duration::from_secs(1_000_000)), 10);
    }

    #[test]
    fn looking_often_does_not_cost_time() {
        let start = Instant::now();
        let mut toll = toll(Tariff { burst: 10, per_second: 3 }, start);
        pings(&mut toll, start);
        let through: u32 =
            (1..=1000).map(|step| pings(&mut toll, start + Duration::from_millis(10 * step))).sum();
        assert!((29..=30).contains(&through), "{through} in ten seconds at 3 each");
    }

    #[test]
    fn tunnels_that_are_answered_and_cut_cost_nothing() {
        let now = Instant::now();
        let reset = head(4, 3, 0);
        let mut toll = toll(TARIFF, now);
        for _ in 0..1000 {
            toll.received(HEADERS, || now).unwrap();
            toll.sent(HEADERS);
            toll.received(reset, || now).unwrap();
        }
        let unanswered = (0..1000).take_while(|_| toll.received(HEADERS, || now).is_ok()).count();
        assert!(unanswered <= 40, "{unanswered}: no more than is kept of what was earned");
    }

    #[test]
    fn who_gives_room_back_in_small_pieces_pays_nothing() {
        const USUAL: Tariff = Tariff { burst: 1000, per_second: 500 };
        let update = head(4, 8, 0);
        let now = Instant::now();
        let mut toll = toll(USUAL, now);
        // 5 MiB under way, in our longest frames; again and again.
        for _ in 0..10 {
            (0..20).for_each(|_| toll.sent(head(256 << 10, Head::DATA, 0)));
            for _ in 0..2 * (5 << 20) / SMALLEST_UPDATE {
                assert_eq!(toll.received(update, || now), Ok(()));
            }
        }
    }

    #[test]
    fn who_gives_room_by_the_byte_pays_and_who_is_sent_single_bytes_does_not() {
        let now = Instant::now();
        for (is_cut, lets_through) in [(true, 10), (false, 1000)] {
            let slivers = Slivers::default();
            let mut toll = Toll::new(TARIFF, now, slivers.clone());
            let through = (0..1000).take_while(|_| {
                if is_cut {
                    slivers.cut(1);
                }
                toll.sent(BYTES);
                toll.received(head(4, Head::WINDOW_UPDATE, 0), || now).is_ok()
            });
            assert_eq!(through.count(), lets_through);
        }
    }

    proptest! {
        #[test]
        fn no_more_than_the_burst_the_time_and_what_was_earned(
            steps in prop::collection::vec((0..3_u8, 0..400_u64), 0..200),
        ) {
            let start = Instant::now();
            let (mut toll, mut now, mut through, mut earned) = (toll(TARIFF, start), start, 0_u64, 0_u64);
            for (what, later) in steps {
                now += Duration::from_millis(later);
                match what {
                    0 => through += u64::from(pings(&mut toll, now)),
                    1 => { toll.sent(BYTES); earned += 3; }
                    _ => through += u64::from(toll.received(PING, || now).is_ok()),
                }
            }
            let by_time = (now - start).as_secs() * 5 + 5;
            prop_assert!(through <= 10 + by_time + earned);
        }
    }
}
