//! End: a connection is ended from outside, by who may.

use crate::netlink::SockDiag;

use super::error::EndError;
use super::tcp_socket::TcpSocket;

/// What became of a connection that was to [`end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// It has ended.
    Done,
    /// It was over already.
    Gone,
    /// This kernel ends nobody's connections (`CONFIG_INET_DIAG_DESTROY` is off).
    Unable,
}

/// Ends a connection in the network namespace that the calling thread is in, whosever it is: the other end is sent a reset, and
/// the socket's owner here is told `ECONNABORTED`. What was not yet sent or read is lost. Needs `CAP_NET_ADMIN`.
///
/// # Errors
/// When the kernel refuses.
pub fn end(socket: &TcpSocket) -> Result<Ending, EndError> {
    let refused = |source| EndError { socket: Box::new(socket.clone()), source };
    SockDiag::open().and_then(|mut sockets| sockets.end(socket)).map_err(refused)
}
