//! The errors of the operations on what is live.

use crate::compare::Difference;
use crate::error::{KernelError, list};
use crate::piece::Piece;

use super::tcp_socket::TcpSocket;

/// Why the connections of a namespace could not be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The kernel could not be asked about its sockets.
    #[error("cannot list the connections of the namespace")]
    Look(#[source] KernelError),
}

/// Why a connection could not be ended.
#[derive(Debug, thiserror::Error)]
#[error("cannot end the connection of {socket}")]
#[non_exhaustive]
pub struct EndError {
    /// The end of it that is here.
    pub socket: Box<TcpSocket>,
    /// What the kernel said.
    #[source]
    pub source: KernelError,
}

/// Why the capture of new connections could not be ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// The plan captures what is sent packet by packet ([`Method::Tproxy`](crate::Method::Tproxy)), so that capture ends for all
    /// connections at once or for none. Nothing was changed.
    #[error("the plan captures packet by packet: capture ends for all connections at once")]
    PacketByPacket,
    /// The kernel could not be asked about the namespace. Nothing was changed.
    #[error("cannot look at the namespace")]
    Look(#[source] KernelError),
    /// The kernel did not take a piece. Everything is captured as before.
    #[error("the kernel did not take {piece}")]
    Rejected {
        /// The piece.
        piece: Box<Piece>,
        /// What the kernel said.
        #[source]
        source: KernelError,
    },
    /// Everything was sent and taken, but could not be read back.
    #[error("cannot read back what is left")]
    Unproven(#[source] KernelError),
    /// Everything was sent and taken, but what is there now is something else.
    #[error("what is in the namespace is not as planned: {}", list(.0))]
    NotAsPlanned(Vec<Difference>),
    /// New connections are captured no more, but which go on could not be told.
    #[error(transparent)]
    List(ListError),
}
