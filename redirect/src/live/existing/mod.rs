//! Existing: which connections were there before capture.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::connection::Connection;
use crate::family::Family;
use crate::netlink::Tracked;
use crate::plan::Plan;

use super::proxy;
use super::tcp_socket::TcpSocket;

/// Of the sockets that were seen in looks at a namespace: the application's ends of connections with somebody elsewhere, each
/// as it was seen last. What is only in the last look is not among them.
pub(super) fn candidates(plan: &Plan, looks: &[Vec<TcpSocket>]) -> Vec<TcpSocket> {
    let ends: BTreeSet<(SocketAddr, SocketAddr)> =
        looks.iter().flatten().map(|socket| (socket.local, socket.remote)).collect();
    let is_candidate = |socket: &&TcpSocket| {
        plan.captures(Family::of(socket.local.ip()))
            && !socket.local.ip().is_loopback()
            && !socket.remote.ip().is_loopback()
            && !proxy::has(plan, socket)
            && !ends.contains(&(socket.remote, socket.local))
    };
    let earlier = looks.split_last().map(|(_, earlier)| earlier).unwrap_or_default();
    // By its name a socket is the same in every look.
    let candidates: BTreeMap<_, &TcpSocket> =
        earlier.iter().flatten().filter(is_candidate).map(|socket| (socket.name, socket)).collect();
    candidates.into_values().cloned().collect()
}

/// Of candidates and what conntrack knows of them: those that are not captured. When each connection that opened was captured while
/// they were looked at, these are older.
///
/// What conntrack does not know is captured when the proxy has an end of it: that shows in a look after the one in which a
/// candidate is seen first, since the proxy's end is there before the application's knows that it is connected.
pub(super) fn uncaptured(
    plan: &Plan,
    looks: &[Vec<TcpSocket>],
    candidates: Vec<(TcpSocket, Tracked)>,
) -> Vec<TcpSocket> {
    // What a socket here sends is redirected to loopback, and comes from where it came from.
    let at_proxy = |socket: &&TcpSocket| proxy::has_accepted(plan, socket) && socket.local.ip().is_loopback();
    let captured: BTreeSet<SocketAddr> =
        looks.iter().flatten().filter(at_proxy).map(|socket| socket.remote).collect();
    let is_uncaptured = |(socket, tracked): (TcpSocket, Tracked)| match tracked {
        Tracked::AsMeant => Some(socket),
        Tracked::Elsewhere => None,
        Tracked::Unknown | Tracked::Over => (!captured.contains(&socket.local)).then_some(socket),
    };
    candidates.into_iter().filter_map(is_uncaptured).collect()
}

/// A socket's connection, as the packets that it sends show it.
pub(super) fn connection(socket: &TcpSocket) -> Option<Connection> {
    // A connected socket has two ports, of one family.
    Connection::new(socket.local, socket.remote).ok()
}

#[cfg(test)]
mod tests;
