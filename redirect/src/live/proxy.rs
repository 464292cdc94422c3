//! Proxy: which of the sockets in a namespace are the proxy's.

use crate::plan::Plan;
use crate::port::Port;

use super::tcp_socket::TcpSocket;

/// Whether a socket is the proxy's.
pub(super) fn has(plan: &Plan, socket: &TcpSocket) -> bool {
    let known = plan.proxy_sockets();
    let is_marked = || known.mark.is_some_and(|mark| socket.mark.is_some_and(|bits| mark.is_on(bits)));
    let is_its_users = || known.users.iter().any(|users| users.contains(socket.user));
    has_accepted(plan, socket) || is_marked() || is_its_users()
}

/// Whether a socket is one that the proxy has accepted on a port of its own.
pub(super) fn has_accepted(plan: &Plan, socket: &TcpSocket) -> bool {
    Port::new(socket.local.port()).is_ok_and(|port| plan.proxy_sockets().ports.contains(&port))
}
