//! Which identity is asked for next, and when. Pure: it holds counts and times; the time comes in.
//!
//! ```text
//!   lease            due, not too early, room        finish: good
//!   ------> waiting ---------------------------> asking ---------> held --- half of its life ---> waiting
//!              ^                                    | finish: bad
//!              +------------ back-off --------------+
//! ```
//!
//! An identity is here from its first lease until its last one is gone, the request for it is answered, and its next one
//! would be allowed: whoever comes back sooner finds the same bounds.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::source::backoff::{FLOOR, PRESSED, RELAXED, backoff, spread};
use crate::spiffe_id::SpiffeId;

/// How far renewal may be from the half of an SVID's life, as a part of that half: enough to draw apart the SVIDs of a node
/// that started them all at once.
const JITTER: f64 = 0.1;

/// Two clocks, read together: certificates are valid by one that can be set, and waits are by one that cannot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) wall: SystemTime,
    /// Since some moment that does not change.
    pub(super) uptime: Duration,
}

/// When an SVID is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

/// What someone hears who needs an SVID now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is there.
    Ready,
    /// It has been asked for, or will be next.
    Wait,
    /// It was refused, and it is too early to ask again.
    Refused,
}

/// The most identities are here already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) limit: usize,
}

#[derive(Debug)]
pub(super) struct Ledger {
    entries: HashMap<SpiffeId, Entry>,
    max_identities: usize,
    max_requests: usize,
    requests: usize,
    /// Counts arrivals, so that the first to come is the first to be served.
    arrivals: u64,
    rng: fastrand::Rng,
}

#[derive(Debug, Default)]
struct Entry {
    leases: usize,
    arrival: u64,
    /// The first of those who wait.
    waiter: Option<u64>,
    held: Option<Held>,
    asking: bool,
    /// In a row.
    failures: u32,
    /// The uptime before which there is no request.
    earliest: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    lifetime: Lifetime,
    renew_at: SystemTime,
}

/// Who goes first: those who are waited for, then those without an SVID, then those whose SVID expires first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Waited(u64),
    Missing(u64),
    Renewal(SystemTime),
}

impl Ledger {
    pub(super) fn new(max_identities: usize, max_requests: usize, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self { entries: HashMap::new(), max_identities, max_requests, requests: 0, arrivals: 0, rng }
    }

    /// One more lease of `id`.
    pub(super) fn lease(&mut self, id: &SpiffeId, now: Now) -> Result<(), Full> {
        if let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.leases > 0) {
            entry.leases += 1;
            return Ok(());
        }
        self.entries.retain(|_, entry| entry.is_needed(now));
        if !self.entries.contains_key(id) && self.entries.len() >= self.max_identities {
            return Err(Full { limit: self.max_identities });
        }
        let arrival = self.arrive();
        let entry = self.entries.entry(id.clone()).or_default();
        (entry.leases, entry.arrival) = (1, arrival);
        Ok(())
    }

    /// One lease less of `id`. True if it was the last, so that what is held of it is to be forgotten.
    pub(super) fn release(&mut self, id: &SpiffeId, now: Now) -> bool {
        let Some(entry) = self.entries.get_mut(id) else { return false };
        entry.leases = entry.leases.saturating_sub(1);
        if entry.leases > 0 {
            return false;
        }
        (entry.held, entry.waiter) = (None, None);
        // The next pod has a chance of its own, at the same pace.
        entry.failures = 0;
        entry.earliest = entry.earliest.min(now.uptime.saturating_add(FLOOR));
        if !entry.is_needed(now) {
            self.entries.remove(id);
        }
        true
    }

    /// Someone needs the SVID of `id` now.
    pub(super) fn wait(&mut self, id: &SpiffeId, now: Now) -> Answer {
        let arrival = self.arrive();
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.leases > 0) else {
            return Answer::Refused;
        };
        if entry.holds_valid(now.wall) {
            return Answer::Ready;
        }
        if !entry.asking && entry.failures > 0 && now.uptime < entry.earliest {
            return Answer::Refused;
        }
        entry.waiter.get_or_insert(arrival);
        Answer::Wait
    }

    /// The identity to ask for now, if any: it counts as asked for until [`finish`](Self::finish).
    pub(super) fn next(&mut self, now: Now) -> Option<SpiffeId> {
        if self.requests >= self.max_requests {
            return None;
        }
        let due = self.entries.iter_mut().filter(|(_, entry)| entry.due_in(now) == Some(Duration::ZERO));
        let (id, entry) = due.min_by_key(|(_, entry)| entry.turn(now))?;
        entry.asking = true;
        entry.earliest = now.uptime.saturating_add(FLOOR);
        self.requests += 1;
        Some(id.clone())
    }

    /// How long until [`next`](Self::next) gives something, if nothing happens before. `None` if something must happen.
    pub(super) fn idle(&self, now: Now) -> Option<Duration> {
        if self.requests >= self.max_requests {
            return None;
        }
        self.entries.values().filter_map(|entry| entry.due_in(now)).min()
    }

    /// The request for `id` brought an SVID that is valid for `lifetime`, or nothing. False if nobody wants it any more.
    pub(super) fn finish(&mut self, id: &SpiffeId, now: Now, outcome: Option<Lifetime>) -> bool {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.asking) else { return false };
        self.requests = self.requests.saturating_sub(1);
        (entry.asking, entry.waiter) = (false, None);
        if entry.leases == 0 {
            if !entry.is_needed(now) {
                self.entries.remove(id);
            }
            return false;
        }
        match outcome {
            Some(lifetime) => entry.hold(lifetime, now.wall, &mut self.rng),
            None => entry.fail(now, &mut self.rng),
        }
        true
    }

    fn arrive(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }
}

impl Entry {
    /// Whether anything would change if it were not here.
    fn is_needed(&self, now: Now) -> bool {
        self.leases > 0 || self.asking || now.uptime < self.earliest
    }

    fn holds_valid(&self, wall: SystemTime) -> bool {
        self.held.is_some_and(|held| held.lifetime.contains(wall))
    }

    fn turn(&self, now: Now) -> Turn {
        match (self.waiter, &self.held) {
            (Some(arrival), _) => Turn::Waited(arrival),
            (None, Some(held)) if held.lifetime.contains(now.wall) => Turn::Renewal(held.lifetime.not_after),
            (None, _) => Turn::Missing(self.arrival),
        }
    }

    /// How long until a request is both wanted and allowed. `None` while one is on its way or nobody needs it.
    fn due_in(&self, now: Now) -> Option<Duration> {
        if self.asking || self.leases == 0 {
            return None;
        }
        let wanted = match &self.held {
            // Whoever waits is answered, also when the clock was set so that what is held is valid again.
            Some(held) if self.waiter.is_none() && held.lifetime.contains(now.wall) => {
                until(now.wall, held.renew_at)
            }
            _ => Duration::ZERO,
        };
        Some(wanted.max(self.earliest.saturating_sub(now.uptime)))
    }

    fn hold(&mut self, lifetime: Lifetime, wall: SystemTime, rng: &mut fastrand::Rng) {
        let half = until(wall, lifetime.not_after) / 2;
        let renew_at = wall.checked_add(spread(half, JITTER, rng)).unwrap_or(lifetime.not_after);
        self.held = Some(Held { lifetime, renew_at });
        self.failures = 0;
    }

    fn fail(&mut self, now: Now, rng: &mut fastrand::Rng) {
        self.failures = self.failures.saturating_add(1);
        let wait = match &self.held {
            // The nearer its end, the more often, and once more before it.
            Some(held) if held.lifetime.contains(now.wall) => {
                let left = until(now.wall, held.lifetime.not_after);
                backoff(self.failures, RELAXED, rng).min(left / 2)
            }
            _ => backoff(self.failures, PRESSED, rng),
        };
        self.earliest = self.earliest.max(now.uptime.saturating_add(wait));
    }
}

impl Lifetime {
    pub(super) fn contains(self, wall: SystemTime) -> bool {
        self.not_before <= wall && wall <= self.not_after
    }
}

fn until(wall: SystemTime, then: SystemTime) -> Duration {
    then.duration_since(wall).unwrap_or_default()
}
