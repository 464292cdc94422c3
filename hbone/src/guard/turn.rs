//! How much of a connection is read before everybody else gets a turn. Pure.

use super::scan::Head;

/// The work of one connection since others had theirs.
#[derive(Debug)]
pub(super) struct Turn {
    work: u32,
    /// What was read last was mostly heads, or nothing was.
    is_dense: bool,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self { work: 0, is_dense: true }
    }

    /// Whether it is for others to go on; then this begins anew.
    pub(super) fn pass(&mut self) -> bool {
        let is_over = self.work >= MOST;
        if is_over {
            self.rest();
        }
        is_over
    }

    /// Others have their turn.
    pub(super) fn rest(&mut self) {
        self.work = 0;
    }

    /// How many bytes to read at once, at most: what is read is done in one go, and many small frames are much to do.
    pub(super) fn limit(&self) -> Option<usize> {
        self.is_dense.then_some(WHEN_DENSE)
    }

    /// So many bytes were read, in which these frames began.
    pub(super) fn read(&mut self, bytes: usize, frames: Work) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.work = self.work.saturating_add(bytes / BULK).saturating_add(frames.0);
        // Where no frame begins, nothing is learned.
        if frames.0 > 0 {
            self.is_dense = frames.0 / FRAME * DENSE > bytes;
        }
    }
}

/// The work of frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work(u32);

impl Work {
    pub(super) fn add(&mut self, head: Head) {
        let one = if head.is_of_headers() {
            BLOCK.saturating_add(head.length.saturating_mul(UNPACKED))
        } else {
            FRAME
        };
        self.0 = self.0.saturating_add(one);
    }
}

/// The most in one turn, or little more.
const MOST: u32 = 128 << 10;
/// So many bytes are one of work: half a mebibyte fills a turn, which under TLS are about 200 us on the machine of the benchmarks.
/// Smaller ones made bulk slower, by nearly a tenth at a quarter of that, and nobody beside it faster.
const BULK: u32 = 4;
/// What a frame costs beside its bytes.
const FRAME: u32 = 1 << 10;
/// What a block of headers costs: a request is a task to begin, and an application to be dialled.
const BLOCK: u32 = 16 << 10;
/// What each byte of it costs beside that: it is unpacked (RFC 7541), and may become many.
const UNPACKED: u32 = 16;
/// Frames of fewer bytes than that, their heads among them, are dense: h2 reads at most 8 KiB of them at once, which is then no more than a turn.
const DENSE: u32 = 64;
/// Frames of one byte fill a turn with as much.
pub(super) const WHEN_DENSE: usize = 1280;

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(count: u32, kind: u8) -> Work {
        let mut work = Work::default();
        (0..count).for_each(|_| work.add(Head { length: 1, kind, flags: 0, stream: 1, increment: 0 }));
        work
    }

    #[test]
    fn bytes_frames_and_headers_fill_a_turn() {
        for (bytes, count, kind) in
            [(512 << 10, 0, Head::DATA), (1280, 128, Head::DATA), (0, 8, Head::HEADERS)]
        {
            let mut turn = Turn::new();
            turn.read(bytes, frames(count, kind));
            assert!(turn.pass(), "{bytes} bytes, {count} frames");
            assert!(!turn.pass(), "the next begins");
            turn.read(bytes / 2, frames(count / 2, kind));
            assert!(!turn.pass());
        }
    }

    #[test]
    fn large_headers_fill_a_turn_sooner() {
        let mut work = Work::default();
        for _ in 0..4 {
            work.add(Head { length: 4096, kind: Head::HEADERS, flags: 0, stream: 1, increment: 0 });
        }
        let mut turn = Turn::new();
        turn.read(4 * 4096, work);
        assert!(turn.pass());
    }

    #[test]
    fn who_waited_anyway_begins_anew() {
        let mut turn = Turn::new();
        for _ in 0..100 {
            turn.read(400 << 10, Work::default());
            turn.rest();
        }
        assert!(!turn.pass());
    }

    #[test]
    fn many_small_frames_are_read_in_small_pieces() {
        let mut turn = Turn::new();
        assert_eq!(turn.limit(), Some(1280), "it is not known yet");
        turn.read(16 << 10, frames(1, Head::DATA));
        assert_eq!(turn.limit(), None);
        turn.read(16 << 10, frames(1600, Head::DATA));
        assert_eq!(turn.limit(), Some(1280));
        turn.read(1280, Work::default());
        assert_eq!(turn.limit(), Some(1280));
        turn.read(1280, frames(1, Head::DATA));
        assert_eq!(turn.limit(), None);
    }
}
