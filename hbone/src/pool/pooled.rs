//! What a pool gives out.

use crate::client::{Client, Note};
use crate::tunnel::{RecvHalf, SendHalf, Tunnel};

/// A tunnel on a pooled connection. Its place there is free again when the tunnel, or both of its halves, are gone.
#[derive(Debug)]
pub struct Pooled {
    pub(super) tunnel: Tunnel,
    pub(super) origin: Origin,
    pub(super) client: Client,
}

impl Pooled {
    /// Where its connection came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Its connection. A clone that is kept keeps the connection, too.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What its connection was given by [`Client::with_note`](crate::Client::with_note).
    pub fn note(&self) -> Option<&Note> {
        self.client.note()
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
