//! What a capture saw.

use std::collections::BTreeMap;
use std::fmt;

use super::flow::{Segment, streams};

/// Captured frames, in order, and how many more there were.
#[derive(Clone, Default)]
pub struct Frames {
    frames: Vec<Box<[u8]>>,
    bytes: usize,
    drops: u64,
}

impl Frames {
    /// Whether these bytes were on the wire: within one frame, or in what one direction of a TCP connection said, over
    /// however many segments, in whatever order they came.
    ///
    /// A `false` is only worth something when nothing was [dropped](Self::drops), and when the same capture finds
    /// bytes that are known to have passed.
    #[must_use]
    pub fn contains(&self, canary: &[u8]) -> bool {
        self.iter().any(|frame| holds(frame, canary))
            || streams(self.segments()).iter().any(|stream| holds(stream, canary))
    }

    /// How many frames were captured.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether no frame was captured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many frames passed without being captured: the thread was too slow, or memory was full.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.drops
    }

    /// The frames, from their link header on.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().map(AsRef::as_ref)
    }

    /// How many TCP segments went to each port.
    #[must_use]
    pub fn tcp_ports(&self) -> BTreeMap<u16, usize> {
        let mut ports = BTreeMap::new();
        for segment in self.segments() {
            *ports.entry(segment.destination.port()).or_default() += 1;
        }
        ports
    }

    /// Takes one more frame, while all together stay within `limit` bytes.
    pub(super) fn keep(&mut self, frame: &[u8], limit: usize) {
        match self.bytes.checked_add(frame.len()) {
            Some(bytes) if bytes <= limit => {
                self.bytes = bytes;
                self.frames.push(frame.into());
            }
            _ => self.count_drops(1),
        }
    }

    pub(super) fn count_drops(&mut self, frames: u64) {
        self.drops = self.drops.saturating_add(frames);
    }

    fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.iter().filter_map(Segment::parse)
    }
}

/// A summary: nobody wants to read the bytes.
impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("frames", &self.len())
            .field("bytes", &self.bytes)
            .field("drops", &self.drops)
            .field("tcp_ports", &self.tcp_ports())
            .finish()
    }
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    match needle.split_first() {
        // No wire is free of nothing.
        None => true,
        Some((first, _)) => {
            let starts = haystack.iter().enumerate().filter(|(_, byte)| *byte == first);
            starts.map(|(at, _)| at).any(|at| haystack.get(at..).is_some_and(|rest| rest.starts_with(needle)))
        }
    }
}

#[cfg(test)]
mod tests;
