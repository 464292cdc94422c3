//! What a socket in a namespace should be like.

use std::net::SocketAddr;

use crate::Home;

/// Options of a socket, to be set before it is bound. The default sets nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    pub(crate) mark: Option<u32>,
    pub(crate) source: Source,
    pub(crate) sharing: Sharing,
    pub(crate) reach: Reach,
    pub(crate) bind: Option<SocketAddr>,
    pub(crate) backlog: Option<u32>,
    pub(crate) home: Option<Home>,
}

/// Whose addresses the socket may use as its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    #[default]
    Local,
    Any,
}

/// Whether other sockets may be bound to the same address and port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sharing {
    #[default]
    Alone,
    Shared,
}

/// Whether an IPv6 socket bound to `[::]` also takes IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    #[default]
    AsConfigured,
    V6Only,
}

impl SocketOptions {
    /// Makes the socket by [`Home::visit`] instead of [`Namespace::run`](crate::Namespace::run).
    #[must_use]
    pub fn from_home(mut self, home: Home) -> Self {
        self.home = Some(home);
        self
    }

    /// Marks every packet that the socket sends (`SO_MARK`, socket(7)), for rules to know it by. Connections that a
    /// listener accepts inherit it. Needs `CAP_NET_ADMIN` over the namespace, or `CAP_NET_RAW`.
    #[must_use]
    pub fn mark(mut self, mark: u32) -> Self {
        self.mark = Some(mark);
        self
    }

    /// Lets several sockets of one user share an address and port, among which the kernel spreads what arrives
    /// (`SO_REUSEPORT`, socket(7)).
    #[must_use]
    pub fn reuse_port(mut self) -> Self {
        self.sharing = Sharing::Shared;
        self
    }

    /// Lets the socket be bound to any address, also one that is somebody else's (`IP_TRANSPARENT` and `IP_FREEBIND`,
    /// ip(7), and their IPv6 twins), to show a client's own address or to take what a TPROXY rule delivers. Needs
    /// `CAP_NET_ADMIN` over the namespace, or `CAP_NET_RAW`.
    #[must_use]
    pub fn transparent(mut self) -> Self {
        self.source = Source::Any;
        self
    }

    /// The source address of a socket that will connect. Port 0 lets the kernel choose as late as it connects
    /// (`IP_BIND_ADDRESS_NO_PORT`, ip(7)), so that ports are only scarce per destination. Of no effect for sockets
    /// that are given their address otherwise.
    #[must_use]
    pub fn bind(mut self, source: SocketAddr) -> Self {
        self.bind = Some(source);
        self
    }

    /// How many established connections may wait to be accepted (listen(2)). The kernel cuts it at
    /// `net.core.somaxconn` of the namespace, which is also what is used when nothing is set.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = Some(connections);
        self
    }

    /// Keeps an IPv6 socket to IPv6 (`IPV6_V6ONLY`, ipv6(7)). Otherwise the namespace's `net.ipv6.bindv6only`
    /// decides, which is off unless somebody switched it on. Of no effect for IPv4 sockets.
    #[must_use]
    pub fn v6_only(mut self) -> Self {
        self.reach = Reach::V6Only;
        self
    }
}
