//! TcpSocket: one end of a TCP connection, as the kernel tells of the sockets in a namespace.

use std::fmt;
use std::net::SocketAddr;

use crate::family::Family;

/// One end of a TCP connection: a socket here. A connection between two sockets here has two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpSocket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) state: TcpState,
    pub(crate) mark: Option<u32>,
    pub(crate) user: u32,
    pub(crate) name: SocketName,
}

/// The state of one end (RFC 9293, section 3.3.2). Those in which nothing is to be said any more are no connections:
/// CLOSED and TIME-WAIT; nor is LISTEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TcpState {
    /// Data goes both ways.
    Established,
    /// It has asked for the connection, and nobody has answered.
    SynSent,
    /// It was asked, and has answered.
    SynReceived,
    /// It has closed; the other end has not confirmed that.
    FinWait1,
    /// It has closed, and the other end knows.
    FinWait2,
    /// The other end has closed.
    CloseWait,
    /// Both have closed, the other end first, which has not confirmed ours.
    LastAck,
    /// Both have closed at once.
    Closing,
}

/// By what the kernel knows a socket (`struct inet_diag_sockid` in `linux/inet_diag.h`), as it was told. Its addresses may be
/// those of IPv4 as IPv6 writes them (RFC 4291, section 2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SocketName {
    pub(crate) family: Family,
    pub(crate) bytes: [u8; Self::LEN],
}

impl TcpState {
    /// All that are told of.
    pub(crate) const ALL: [Self; 8] = [
        Self::Established,
        Self::SynSent,
        Self::SynReceived,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::LastAck,
        Self::Closing,
    ];
}

impl SocketName {
    /// Its length, in bytes.
    pub(crate) const LEN: usize = 48;
}

impl TcpSocket {
    /// This end, as a packet has it.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// How far it is.
    pub fn state(&self) -> TcpState {
        self.state
    }

    /// The socket's mark (`SO_MARK`); none when the kernel does not tell, as it does to `CAP_NET_ADMIN`.
    pub fn mark(&self) -> Option<u32> {
        self.mark
    }

    /// The user whose socket it is, by the number in the user namespace of who asked. 0 also when nobody holds it.
    pub fn user(&self) -> u32 {
        self.user
    }
}

impl fmt::Display for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.local, self.remote)
    }
}
