//! Room for what must be said although the peer takes nothing at the moment. Bounded.
//!
//! h2 reads nothing while an answer of its own (to SETTINGS, to PING), or a new setting, waits for the frame before it to be
//! written. If both ends wait so, each for the other to read, they wait for ever. So while such a word is owed, what the stream
//! beneath does not take is taken here: the rest of the frame before it, and then the word.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

use super::scan::Head;
use crate::tunnel::FRAME_PAYLOAD;

/// What waits, and what is owed.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    waiting: BytesMut,
    /// Answers that the peer has asked for and that are not written.
    answers: u32,
    /// The same of words of our own.
    words: u32,
}

impl Overflow {
    /// Notes a frame of the peer's.
    pub(super) fn received(&mut self, head: Head) {
        if head.is_to_be_acknowledged() {
            self.answers = self.answers.saturating_add(1);
        }
    }

    /// Notes a frame that is written.
    pub(super) fn sent(&mut self, head: Head) {
        if head.is_acknowledgement() {
            self.answers = self.answers.saturating_sub(1);
        } else if head.is_to_be_acknowledged() {
            self.words = self.words.saturating_sub(1);
        }
    }

    /// Notes that a word of our own is to be written.
    pub(super) fn owe(&mut self, words: u32) {
        self.words = self.words.saturating_add(words);
    }

    fn is_owing(&self) -> bool {
        self.answers > 0 || self.words > 0
    }

    /// Takes what the stream did not, as far as there is room; `None`: nothing.
    pub(super) fn take(&mut self, buffers: &[IoSlice<'_>]) -> Option<usize> {
        let mut room = MOST.saturating_sub(self.waiting.len());
        if !self.is_owing() || room == 0 {
            return None;
        }
        let before = self.waiting.len();
        for buffer in buffers {
            let part = buffer.get(..room).unwrap_or(buffer);
            self.waiting.extend_from_slice(part);
            room -= part.len();
        }
        Some(self.waiting.len() - before)
    }

    /// Writes what waits.
    pub(super) fn poll_drain<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
            if self.waiting.is_empty() {
                // Its room is seldom needed.
                self.waiting = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether a flush may count as done although something waits, so that h2 goes on to what is owed.
    pub(super) fn may_pass_flush(&self) -> bool {
        self.is_owing()
    }
}

/// Most that waits: the frame before an answer to SETTINGS and the one before an answer to PING, as large as ours are, and some words.
const MOST: usize = 2 * FRAME_PAYLOAD + 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8, flags: u8) -> Head {
        Head { length: 0, kind, flags, stream: 0, increment: 0 }
    }

    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const ACK: u8 = 1;

    fn take(overflow: &mut Overflow, bytes: &[u8]) -> Option<usize> {
        overflow.take(&[IoSlice::new(bytes)])
    }

    #[test]
    fn only_while_a_word_is_owed() {
        let mut overflow = Overflow::default();
        assert_eq!(take(&mut overflow, b"data"), None);
        for kind in [SETTINGS, PING] {
            overflow.received(head(kind, 0));
            assert_eq!(take(&mut overflow, b"data"), Some(4));
            // A word of our own is no answer.
            overflow.sent(head(kind, 0));
            assert_eq!(take(&mut overflow, b"data"), Some(4));
            overflow.sent(head(kind, ACK));
            assert_eq!(take(&mut overflow, b"data"), None);
            // Nor is an answer of the peer's a question.
            overflow.received(head(kind, ACK));
            assert_eq!(take(&mut overflow, b"data"), None);
        }
        overflow.owe(1);
        assert_eq!(take(&mut overflow, b"data"), Some(4));
        overflow.sent(head(SETTINGS, 0));
        assert_eq!(take(&mut overflow, b"data"), None);
    }

    #[test]
    fn no_more_waits_than_the_most() {
        let mut overflow = Overflow::default();
        overflow.received(head(PING, 0));
        let many = vec![0; MOST - 3];
        let taken = overflow.take(&[IoSlice::new(&many), IoSlice::new(b"head"), IoSlice::new(b"body")]);
        assert_eq!(taken, Some(MOST));
        assert_eq!(take(&mut overflow, b"more"), None);
    }

    #[tokio::test]
    async fn what_waits_is_written_in_order() {
        let mut overflow = Overflow::default();
        overflow.received(head(PING, 0));
        take(&mut overflow, b"first ");
        take(&mut overflow, b"second");
        let mut written = Vec::new();
        std::future::poll_fn(|cx| overflow.poll_drain(&mut written, cx)).await.unwrap();
        assert_eq!(written, b"first second");
    }
}
