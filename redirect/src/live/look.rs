//! Look: which connections of a namespace are not captured.

use crate::connection::Connection;
use crate::error::KernelError;
use crate::netlink::{Conntrack, SockDiag, Tracked};
use crate::plan::Plan;

use super::existing::{candidates, connection, uncaptured};
use super::tcp_socket::{TcpSocket, TcpState};

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
            Some(connection) => track(&mut conntrack, connection, socket.state)?,
            None => Tracked::Unknown,
        };
        known.push((socket, tracked));
    }
    Ok(uncaptured(plan, &looks, known))
}

/// Where a connection goes. What the kernel remembers of an older one with the same ends, which was captured and is over, is forgotten: it
/// would lead this one to where that one went.
fn track(conntrack: &mut Conntrack, connection: Connection, state: TcpState) -> Result<Tracked, KernelError> {
    match conntrack.tracked(connection)? {
        Tracked::Over if state == TcpState::Established => {
            conntrack.forget(connection)?;
            Ok(Tracked::Over)
        }
        // Over for both, or about to be: it is that one.
        Tracked::Over => Ok(Tracked::Elsewhere),
        tracked => Ok(tracked),
    }
}
