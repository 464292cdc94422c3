//! List: which connections there are, and who waits for some.

use crate::netlink::SockDiag;

use super::error::ListError;
use super::listening::Listening;
use super::tcp_socket::TcpSocket;

/// The TCP connections of the network namespace that the calling thread is in, over both families: each socket that is part of
/// one and has anything left to say. One between two sockets here is told of twice.
///
/// It is a look at something that moves: a connection that opens or ends meanwhile is told of or not.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn tcp_sockets() -> Result<Vec<TcpSocket>, ListError> {
    SockDiag::open().and_then(|mut sockets| sockets.tcp_sockets()).map_err(ListError::Look)
}

/// The TCP sockets that wait for connections in the network namespace that the calling thread is in, for both families.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn tcp_listeners() -> Result<Vec<Listening>, ListError> {
    SockDiag::open().and_then(|mut sockets| sockets.tcp_listeners()).map_err(ListError::Listeners)
}
