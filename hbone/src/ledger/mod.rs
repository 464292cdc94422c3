//! Which connection of a pool has room, which is idle, which is to go. Pure: it holds values and counts; time comes in.
//!
//! A [`Line`] is one connection, from the moment that its dial begins. It counts the permits that are out on it:
//!
//! ```text
//!   add: 1 permit                          take: +1
//!   (dialling) --- settle ---> (open) <--------------> in use --- last permit back ---> idle
//!       |                                                                                |
//!       | last permit back, or the dial failed                    too long idle, or dead |
//!       +----------------------------> removed <-----------------------------------------+
//! ```
//!
//! A key is here exactly as long as it has a line.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What one connection can do now, in the eyes of whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// As many permits as this may be out, if the ledger's own bound allows.
    Permits(usize),
    /// It may live, but is not wanted this time.
    Passed,
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
}

/// A bound was reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) limit: usize,
}

#[derive(Debug)]
pub(crate) struct Ledger<K, C> {
    keys: HashMap<K, Vec<Line<C>>>,
    bounds: Bounds,
    lines: usize,
    next: u64,
}

#[derive(Debug)]
struct Line<C> {
    id: LineId,
    carrier: C,
    permits: usize,
    idle_since: Option<Instant>,
}

impl<K: Hash + Eq + Clone, C: Clone> Ledger<K, C> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { keys: HashMap::new(), bounds, lines: 0, next: 0 }
    }

    /// A permit on the oldest line with room, so that younger ones get to be idle. Forgets the dead on its way.
    pub(crate) fn take(&mut self, key: &K, room: impl Fn(&C) -> Room) -> Option<(LineId, C)> {
        let most = self.bounds.permits_per_line;
        let lines = self.keys.get_mut(key)?;
        let mut index = 0;
        while let Some(line) = lines.get_mut(index) {
            // The count is asked before the carrier, which is cheaper.
            match if line.permits < most { room(&line.carrier) } else { Room::Passed } {
                Room::Permits(limit) if line.permits < limit => {
                    line.permits += 1;
                    line.idle_since = None;
                    return Some((line.id, line.carrier.clone()));
                }
                Room::Permits(_) | Room::Passed => index += 1,
                Room::Dead => {
                    lines.remove(index);
                    self.lines -= 1;
                }
            }
        }
        self.drop_key_if_empty(key);
        None
    }

    /// Whether a line may be added for this key.
    pub(crate) fn admits(&self, key: &K) -> Result<(), Full> {
        if self.lines >= self.bounds.lines {
            return Err(Full { limit: self.bounds.lines });
        }
        if self.keys.get(key).map_or(0, Vec::len) >= self.bounds.lines_per_key {
            return Err(Full { limit: self.bounds.lines_per_key });
        }
        Ok(())
    }

    /// A new line with one permit out. Ask [`admits`](Self::admits) first.
    pub(crate) fn add(&mut self, key: &K, carrier: impl FnOnce(LineId) -> C) -> (LineId, C) {
        let id = LineId(self.next);
        self.next += 1;
        self.lines += 1;
        let carrier = carrier(id);
        let line = Line { id, carrier: carrier.clone(), permits: 1, idle_since: None };
        self.keys.entry(key.clone()).or_default().push(line);
        (id, carrier)
    }

    /// The line's dial is done; gives back what stood for it. `None` if the line was forgotten meanwhile.
    pub(crate) fn settle(&mut self, key: &K, id: LineId, carrier: C) -> Option<C> {
        let line = self.line(key, id)?;
        Some(std::mem::replace(&mut line.carrier, carrier))
    }

    /// Forgets a line.
    pub(crate) fn remove(&mut self, key: &K, id: LineId) -> Option<C> {
        let lines = self.keys.get_mut(key)?;
        let position = lines.iter().position(|line| line.id == id)?;
        let line = lines.remove(position);
        self.lines -= 1;
        self.drop_key_if_empty(key);
        Some(line.carrier)
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
        let line = self.line(key, id)?;
        line.permits = line.permits.saturating_sub(1);
        if line.permits > 0 {
            return None;
        }
        line.idle_since = Some(now);
        if worth_keeping(&line.carrier) { None } else { self.remove(key, id) }
    }

    /// Forgets the lines that have been idle for `longest`, and the dead. Returns how many.
    pub(crate) fn reap(&mut self, now: Instant, longest: Duration, dead: impl Fn(&C) -> bool) -> usize {
        let before = self.lines;
        let keys: Vec<K> = self.keys.keys().cloned().collect();
        for key in &keys {
            self.retain_lines(key, |line| {
                let idle = line.idle_since.map(|since| now.saturating_duration_since(since));
                !dead(&line.carrier) && idle.is_none_or(|idle| idle < longest)
            });
        }
        before - self.lines
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) -> Vec<C> {
        self.lines = 0;
        self.keys.drain().flat_map(|(_, lines)| lines).map(|line| line.carrier).collect()
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The lines of a key, the oldest first, and how many permits are out on each.
    pub(crate) fn of(&self, key: &K) -> impl Iterator<Item = (&C, usize)> {
        self.keys.get(key).into_iter().flatten().map(|line| (&line.carrier, line.permits))
    }

    fn line(&mut self, key: &K, id: LineId) -> Option<&mut Line<C>> {
        self.keys.get_mut(key)?.iter_mut().find(|line| line.id == id)
    }

    fn retain_lines(&mut self, key: &K, keep: impl Fn(&Line<C>) -> bool) {
        if let Some(lines) = self.keys.get_mut(key) {
            let before = lines.len();
            lines.retain(keep);
            self.lines -= before - lines.len();
            self.drop_key_if_empty(key);
        }
    }

    fn drop_key_if_empty(&mut self, key: &K) {
        if self.keys.get(key).is_some_and(Vec::is_empty) {
            self.keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
