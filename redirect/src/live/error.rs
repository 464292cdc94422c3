//! The errors of the operations on what is live.

use crate::compare::Difference;
use crate::error::{ApplyError, KernelError, VerifyError, list};
use crate::piece::Piece;

use super::tcp_socket::TcpSocket;

/// Why the connections of a namespace, or those who wait for some, could not be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The kernel could not be asked about its sockets.
    #[error("cannot list the connections of the namespace")]
    Look(#[source] KernelError),
    /// The kernel could not be asked about those that wait for connections.
    #[error("cannot list the listeners of the namespace")]
    Listeners(#[source] KernelError),
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

/// Why a pod that runs could not be enrolled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The plan captures what is sent packet by packet ([`Method::Tproxy`](crate::Method::Tproxy)) and has no guard: what is just being
    /// opened could neither be kept nor reset. Nothing was changed.
    #[error("the plan captures packet by packet and has no guard: what is just being opened would hang")]
    PacketByPacket,
    /// The kernel could not be asked about the namespace. Nothing was changed.
    #[error("cannot look at the namespace")]
    Look(#[source] KernelError),
    /// It could not be told whether the plan is in place. Nothing was changed.
    #[error("cannot tell whether the plan is in place")]
    Verify(#[source] VerifyError),
    /// A step was not taken. What opens a connection is captured as far as it was before that step.
    #[error("cannot apply a step")]
    Apply(#[source] ApplyError),
    /// The connections that are there could not be told. What opens one is captured.
    #[error("cannot list the connections of the namespace")]
    List(#[source] KernelError),
    /// A connection could not be ended. What opens one is captured.
    #[error(transparent)]
    End(EndError),
}

/// Why it could not be told which kept connections are over, or they not be forgotten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// What is kept could not be told.
    #[error("cannot tell which connections are kept")]
    Look(#[source] VerifyError),
    /// The connections that are there could not be told.
    #[error("cannot list the connections of the namespace")]
    List(#[source] KernelError),
    /// The kernel did not let go of what is over.
    #[error("cannot forget connections that are over")]
    Apply(#[source] ApplyError),
}

/// Why the capture of new connections could not be ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// The kernel could not be asked about the namespace. Nothing was changed.
    #[error("cannot look at the namespace")]
    Look(#[source] KernelError),
    /// It could not be told which connections are captured, so that these could go on. Nothing was changed.
    #[error("cannot tell which connections are to go on")]
    Unlisted(#[source] ListError),
    /// The kernel did not take a piece. Everything is captured as before, or without the guard.
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
