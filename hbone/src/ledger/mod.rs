//! Which connection of a pool has room, which is idle, which is to go. Pure: it holds values and counts; time comes in.
//!
//! A [`Line`] is one connection, from the moment that its dial begins. It counts the permits that are out on it:
//!
//! ```text
//!   add: 1 permit                          take: +1
//!   (dialling) --- settle ---> (open) <--------------> in use --- last permit back ---> idle
//!       |                                                |                               |
//!       |                                                | too old: no more permits      |
//!       | last permit back, or the dial failed           v           too long idle, dead |
//!       +----------------------------> removed <--- last permit back <-------------------+
//! ```
//!
//! A key is here exactly as long as it has a line, so there are never more keys than lines. Permits on lines that are dialling
//! are those who wait; they are counted, and bounded, apart.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What one connection can do now, in the eyes of whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Its dial has not come back. As many permits may be out as the key's other lines were seen to allow.
    Unknown,
    /// As many permits as this may be out, if the ledger's own bound allows.
    Permits(usize),
    /// As many permits as this may be out, but it is not wanted this time.
    Passed(usize),
    /// It is of no more use, and is forgotten.
    Dead,
}

/// Names a line within its key, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineId(u64);

/// Bounds of a ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) permits_per_line: usize,
    pub(crate) lines_per_key: usize,
    pub(crate) lines: usize,
    /// Permits on lines that are dialling.
    pub(crate) waiting: usize,
    /// From when on a line gives no more permits.
    pub(crate) age: Option<Duration>,
    /// A key with fewer lines than this gets another rather than a second permit on one.
    pub(crate) spread: usize,
}

/// A bound was reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Lines { limit: usize },
    Waiting { limit: usize },
}

#[derive(Debug)]
pub(crate) struct Ledger<K, C> {
    keys: HashMap<K, Lines<C>>,
    bounds: Bounds,
    lines: usize,
    waiting: usize,
    next: u64,
}

/// The lines of one key, oldest first.
#[derive(Debug)]
struct Lines<C> {
    lines: Vec<Line<C>>,
    /// What an open line of this key allowed when last asked.
    allowed: usize,
}

#[derive(Debug)]
struct Line<C> {
    id: LineId,
    carrier: C,
    permits: usize,
    settled: bool,
    since: Instant,
    idle_since: Option<Instant>,
}

/// What a look at the lines of a key has found.
#[derive(Debug, Default)]
struct Found {
    /// A line with room, by its place, and the permits on it.
    open: Option<(usize, usize)>,
    /// A line whose peer takes none now. Who finds nothing else waits there, and not on one connection after another.
    shut: Option<usize>,
    dead: usize,
    dead_waited: usize,
}

impl<C> Lines<C> {
    /// Looks for room, and forgets the dead. `full`: nobody may wait for a dial any more.
    fn look(&mut self, now: Instant, bounds: &Bounds, full: bool, room: impl Fn(&C) -> Room) -> Found {
        let mut found = Found::default();
        let mut index = 0;
        while let Some(line) = self.lines.get(index) {
            let permits = line.permits;
            // These are asked before the carrier, which is cheaper.
            if permits >= bounds.permits_per_line || line.is_too_old(bounds, now) {
                index += 1;
                continue;
            }
            let limit = match room(&line.carrier) {
                Room::Dead => {
                    found.dead += 1;
                    found.dead_waited += line.waiting();
                    self.lines.remove(index);
                    continue;
                }
                Room::Unknown if full => 0,
                Room::Unknown => self.allowed.max(1),
                Room::Passed(limit) => {
                    self.allowed = limit;
                    0
                }
                Room::Permits(limit) => {
                    self.allowed = limit;
                    if limit == 0 {
                        found.shut.get_or_insert(index);
                    }
                    limit
                }
            };
            if permits < limit && found.open.is_none_or(|(_, fewest)| permits < fewest) {
                found.open = Some((index, permits));
                if bounds.spread <= 1 {
                    break;
                }
            }
            index += 1;
        }
        found
    }
}

impl<C> Line<C> {
    fn is_too_old(&self, bounds: &Bounds, now: Instant) -> bool {
        bounds.age.is_some_and(|age| now.saturating_duration_since(self.since) >= age)
    }

    fn waiting(&self) -> usize {
        if self.settled { 0 } else { self.permits }
    }
}

impl<K: Hash + Eq + Clone, C: Clone> Ledger<K, C> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { keys: HashMap::new(), bounds, lines: 0, waiting: 0, next: 0 }
    }

    /// A permit on the oldest line with room, so that younger ones get to be idle; or, while the key may spread, on the line
    /// with the fewest, and none rather than a second one on a line. Forgets the dead on its way.
    pub(crate) fn take(&mut self, key: &K, now: Instant, room: impl Fn(&C) -> Room) -> Option<(LineId, C)> {
        let (bounds, full) = (self.bounds, self.waiting >= self.bounds.waiting);
        let lines = self.keys.get_mut(key)?;
        let found = lines.look(now, &bounds, full, room);
        self.lines -= found.dead;
        self.waiting -= found.dead_waited;
        let may_spread =
            lines.lines.len() < bounds.spread.min(bounds.lines_per_key) && self.lines < bounds.lines;
        let chosen = match found.open {
            Some((_, 1..)) if may_spread && !full => None,
            Some((index, _)) => Some(index),
            None => found.shut,
        };
        let taken = chosen.and_then(|index| lines.lines.get_mut(index)).map(|line| {
            line.permits += 1;
            line.idle_since = None;
            self.waiting += usize::from(!line.settled);
            (line.id, line.carrier.clone())
        });
        if found.dead > 0 {
            self.drop_key_if_empty(key);
        }
        taken
    }

    /// Whether a line may be added for this key.
    pub(crate) fn admits(&self, key: &K) -> Result<(), Full> {
        if self.lines >= self.bounds.lines {
            return Err(Full::Lines { limit: self.bounds.lines });
        }
        if self.keys.get(key).map_or(0, |lines| lines.lines.len()) >= self.bounds.lines_per_key {
            return Err(Full::Lines { limit: self.bounds.lines_per_key });
        }
        if self.waiting >= self.bounds.waiting {
            return Err(Full::Waiting { limit: self.bounds.waiting });
        }
        Ok(())
    }

    /// A new line with one permit out. Ask [`admits`](Self::admits) first.
    pub(crate) fn add(&mut self, key: &K, now: Instant, carrier: impl FnOnce(LineId) -> C) -> (LineId, C) {
        let id = LineId(self.next);
        self.next += 1;
        self.lines += 1;
        self.waiting += 1;
        let carrier = carrier(id);
        let line =
            Line { id, carrier: carrier.clone(), permits: 1, settled: false, since: now, idle_since: None };
        let lines = self
            .keys
            .entry(key.clone())
            .or_insert_with(|| Lines { lines: Vec::new(), allowed: self.bounds.permits_per_line });
        lines.lines.push(line);
        (id, carrier)
    }

    /// The line's dial is done; gives back what stood for it. `None` if the line was forgotten meanwhile.
    pub(crate) fn settle(&mut self, key: &K, id: LineId, carrier: C) -> Option<C> {
        let line = self.line(key, id)?;
        let waited = line.waiting();
        line.settled = true;
        let replaced = std::mem::replace(&mut line.carrier, carrier);
        self.waiting -= waited;
        Some(replaced)
    }

    /// Forgets a line.
    pub(crate) fn remove(&mut self, key: &K, id: LineId) -> Option<C> {
        let lines = &mut self.keys.get_mut(key)?.lines;
        let position = lines.iter().position(|line| line.id == id)?;
        let line = lines.remove(position);
        self.lines -= 1;
        self.waiting -= line.waiting();
        self.drop_key_if_empty(key);
        Some(line.carrier)
    }

    /// Whether there are more permits out on the line than `limit`; then this one should leave.
    pub(crate) fn is_over(&mut self, key: &K, id: LineId, limit: usize) -> bool {
        // Without its line, there is nobody to make room for.
        self.line(key, id).is_some_and(|line| line.permits > limit.max(1))
    }

    /// A permit comes back. If it was the last, the line is idle from now on, or forgotten and given back if it is not
    /// worth keeping.
    pub(crate) fn give_back(
        &mut self,
        key: &K,
        id: LineId,
        now: Instant,
        worth_keeping: impl FnOnce(&C) -> bool,
    ) -> Option<C> {
        let bounds = self.bounds;
        let line = self.line(key, id)?;
        line.permits = line.permits.saturating_sub(1);
        let (left, waited) = (line.permits, usize::from(!line.settled));
        if left == 0 {
            line.idle_since = Some(now);
        }
        let keeps = left > 0 || (worth_keeping(&line.carrier) && !line.is_too_old(&bounds, now));
        self.waiting -= waited;
        if keeps { None } else { self.remove(key, id) }
    }

    /// Forgets the lines that have been idle for `longest`, the idle that are too old, and the dead. Returns how many.
    pub(crate) fn reap(&mut self, now: Instant, longest: Duration, dead: impl Fn(&C) -> bool) -> usize {
        let (before, bounds) = (self.lines, self.bounds);
        let keep = |line: &Line<C>| {
            let idle = line.idle_since.map(|since| now.saturating_duration_since(since));
            !dead(&line.carrier) && idle.is_none_or(|idle| idle < longest && !line.is_too_old(&bounds, now))
        };
        self.keys.retain(|_, Lines { lines, .. }| {
            lines.retain(|line| {
                let kept = keep(line);
                if !kept {
                    self.lines -= 1;
                    self.waiting -= line.waiting();
                }
                kept
            });
            !lines.is_empty()
        });
        before - self.lines
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) -> Vec<C> {
        (self.lines, self.waiting) = (0, 0);
        self.keys.drain().flat_map(|(_, lines)| lines.lines).map(|line| line.carrier).collect()
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// Permits on lines that are dialling.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The lines of a key, the oldest first, and how many permits are out on each.
    pub(crate) fn of(&self, key: &K) -> impl Iterator<Item = (&C, usize)> {
        self.keys
            .get(key)
            .into_iter()
            .flat_map(|lines| &lines.lines)
            .map(|line| (&line.carrier, line.permits))
    }

    fn line(&mut self, key: &K, id: LineId) -> Option<&mut Line<C>> {
        self.keys.get_mut(key)?.lines.iter_mut().find(|line| line.id == id)
    }

    fn drop_key_if_empty(&mut self, key: &K) {
        if self.keys.get(key).is_some_and(|lines| lines.lines.is_empty()) {
            self.keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
