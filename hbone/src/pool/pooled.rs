//! What a pool gives out.

use crate::client::Note;
use crate::tunnel::{RecvHalf, SendHalf, Tunnel};

/// A tunnel on a pooled connection. Its place there is free again when the tunnel, or both of its halves, are gone.
#[derive(Debug)]
pub struct Pooled {
    pub(super) tunnel: Tunnel,
    pub(super) origin: Origin,
    pub(super) note: Option<Note>,
}

impl Pooled {
    /// Where its connection came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// What its connection was given by [`Client::with_note`](crate::Client::with_note).
    pub fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    /// The tunnel, which keeps its place by itself.
    pub fn into_tunnel(self) -> Tunnel {
        self.tunnel
    }

    /// The halves of the tunnel, which keep its place by themselves.
    pub fn into_split(self) -> (RecvHalf, SendHalf) {
        self.tunnel.into_split()
    }
}

/// Where a tunnel's connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Dialled for it.
    Dialled,
    /// It was there, or somebody else was dialling it.
    Shared,
}
