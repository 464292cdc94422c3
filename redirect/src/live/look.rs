//! Look: which connections of a namespace are not captured.

use crate::error::KernelError;
use crate::netlink::{Conntrack, SockDiag, Tracked};
use crate::plan::Plan;

use super::existing::{candidates, connection, uncaptured};
use super::tcp_socket::TcpSocket;

/// One look can miss a socket, and the last shows the proxy's ends of what is in those before.
pub(super) const LOOKS: usize = 3;

/// The application's ends of connections with somebody elsewhere that are not captured.
pub(super) fn look(plan: &Plan, sockets: &mut SockDiag) -> Result<Vec<TcpSocket>, KernelError> {
    let looks: Vec<Vec<TcpSocket>> =
        (0..LOOKS).map(|_| sockets.tcp_sockets()).collect::<Result<_, KernelError>>()?;
    let mut conntrack = Conntrack::open()?;
    let mut known = Vec::new();
    for socket in candidates(plan, &looks) {
        let tracked = match connection(&socket) {
            Some(connection) => conntrack.tracked(connection)?,
            None => Tracked::Unknown,
        };
        known.push((socket, tracked));
    }
    Ok(uncaptured(plan, &looks, known))
}
