//! Pump: one direction of a relay.
//!
//! ```text
//!              chunk                 taken
//!   Reading ----------> Writing ---------------> Reading
//!      |
//!      | end of stream             told
//!      +--------------> Finishing -------> Finished
//! ```
//!
//! At most one chunk is held, so a slow sink stops the source.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{Sink, Source, failed};
use crate::error::{ConnectionError, Side};

pub(super) struct Pump<F, T> {
    from: (Side, F),
    to: (Side, T),
    state: State,
    moved: u64,
}

enum State {
    Reading,
    Writing(Bytes),
    Finishing,
    Finished,
}

impl<F: Source, T: Sink> Pump<F, T> {
    pub(super) fn new(from: (Side, F), to: (Side, T)) -> Self {
        Self { from, to, state: State::Reading, moved: 0 }
    }

    /// Bytes taken from the source.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Ready when the end of the stream has been passed on; stays so.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        loop {
            self.state = match &mut self.state {
                State::Reading => match self.from.1.poll_chunk(cx) {
                    Poll::Ready(Ok(Some(chunk))) => {
                        self.moved = self.moved.saturating_add(chunk.len() as u64);
                        State::Writing(chunk)
                    }
                    Poll::Ready(Ok(None)) => State::Finishing,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(failed(self.from.0, error))),
                    Poll::Pending => {
                        return self.to.1.poll_gone(cx).map(|error| Err(failed(self.to.0, error)));
                    }
                },
                State::Writing(chunk) => {
                    ready!(self.to.1.poll_send(cx, chunk)).map_err(|error| failed(self.to.0, error))?;
                    State::Reading
                }
                State::Finishing => {
                    ready!(self.to.1.poll_finish(cx)).map_err(|error| failed(self.to.0, error))?;
                    State::Finished
                }
                State::Finished => return Poll::Ready(Ok(())),
            };
        }
    }
}
