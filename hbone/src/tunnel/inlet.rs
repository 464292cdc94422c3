//! What has come in for a tunnel, between its reader and the driver, and that of all tunnels of a connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;

use crate::crumbs::Crumbs;

/// The stream of one tunnel, and what was taken from it before its reader asked.
pub(crate) struct Inlet {
    stream: RecvStream,
    /// Taken from the stream, not read.
    backlog: VecDeque<Bytes>,
    /// Bytes taken from the stream whose room was not given back: those of the backlog, and those that the reader has.
    out: usize,
    crumbs: Crumbs,
}

impl Inlet {
    /// As h2's `poll_data`, with what was taken before.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        match self.backlog.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(piece))),
            None => self.take(cx),
        }
    }

    pub(super) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<http::HeaderMap>, h2::Error>> {
        self.stream.poll_trailers(cx)
    }

    /// Lets the peer send as many bytes more.
    pub(super) fn give_back(&mut self, bytes: usize) {
        self.out = self.out.saturating_sub(bytes);
        // Fails only for more than the stream has out, which `bytes` never is.
        let _ = self.stream.flow_control().release_capacity(bytes);
    }

    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let taken = self.stream.poll_data(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &taken {
            self.out += chunk.len();
            self.crumbs.taken(chunk.len());
        }
        taken
    }

    /// Takes what h2 holds for this stream in as many pieces as it came, and holds it in few. Its room is not given back: nobody has read it.
    fn put_together(&mut self) {
        let mut chunks = Vec::new();
        // Asked only while there is something: an answer of "not yet" would put our waker in the place of the reader's.
        while self.stream.flow_control().used_capacity() > self.out {
            match self.take(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(chunk))) => chunks.push(chunk),
                _ => break,
            }
        }
        if chunks.is_empty() {
            return;
        }
        if self.backlog.back().is_some_and(|last| last.len() < PIECE) {
            chunks.splice(..0, self.backlog.pop_back());
        }
        let mut piece = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
        chunks.iter().for_each(|chunk| piece.extend_from_slice(chunk));
        self.backlog.push_back(piece.freeze());
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        // h2 returns what it still buffers, but not what was taken from it.
        self.give_back(self.out);
    }
}

/// Shorter ones are put together again. An allocation costs little beside it.
const PIECE: usize = 4096;

/// An inlet, as its reader and the driver share it.
#[derive(Clone)]
pub(crate) struct SharedInlet(Arc<Mutex<Inlet>>);

impl SharedInlet {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inlet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of one connection. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Inlets {
    all: Arc<Mutex<Vec<Weak<Mutex<Inlet>>>>>,
    crumbs: Crumbs,
}

impl Inlets {
    /// The small frames that are counted here are those that `crumbs` counts.
    pub(crate) fn new(crumbs: Crumbs) -> Self {
        Self { all: Arc::default(), crumbs }
    }

    pub(crate) fn add(&self, stream: RecvStream) -> SharedInlet {
        let inlet = Inlet { stream, backlog: VecDeque::new(), out: 0, crumbs: self.crumbs.clone() };
        let inlet = Arc::new(Mutex::new(inlet));
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            all.retain(|inlet| inlet.strong_count() > 0);
            // As many again before the next look, so that looking costs little for each.
            let live = all.len();
            all.reserve(live.max(4));
        }
        all.push(Arc::downgrade(&inlet));
        SharedInlet(inlet)
    }

    /// Puts small frames together, if there are too many.
    pub(crate) fn put_together_crumbs(&self) -> bool {
        let too_many = self.crumbs.are_too_many();
        if too_many {
            self.each(Inlet::put_together);
            self.crumbs.gone();
        }
        too_many
    }

    /// Has the peer told of all room that readers have given back. h2 looks for what to tell when room is given back, but not when
    /// settings make the windows smaller: what was too little to tell before may be all that the peer needs now.
    pub(crate) fn tell_room(&self) {
        self.each(|inlet| inlet.give_back(0));
    }

    fn each(&self, mut act: impl FnMut(&mut Inlet)) {
        let all: Vec<_> = {
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter_map(Weak::upgrade).map(SharedInlet).collect()
        };
        // Out of the lock: a tunnel may end here.
        all.iter().for_each(|inlet| act(&mut inlet.lock()));
    }
}

impl std::fmt::Debug for Inlets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inlets").field("crumbs", &self.crumbs).finish_non_exhaustive()
    }
}
