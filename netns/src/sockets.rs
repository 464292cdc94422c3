//! Sockets made inside a namespace, to be used outside.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use crate::options::{Reach, Sharing, Source};
use crate::{Namespace, SocketError, SocketOptions};

impl Namespace {
    /// A TCP listener on an address of this namespace, non-blocking: `tokio::net::TcpListener::from_std` takes it as
    /// it is.
    ///
    /// As everywhere in std, the port of a listener that just ended can be used at once (`SO_REUSEADDR`). Accepted
    /// connections inherit `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// [`SocketError`], naming the step, the address and the namespace.
    pub fn tcp_listener(
        &self,
        address: SocketAddr,
        options: &SocketOptions,
    ) -> Result<TcpListener, SocketError> {
        let socket = Fresh::make(self, Family::from(address), Type::STREAM, options)?;
        socket.set("TCP_NODELAY", |socket| socket.set_tcp_nodelay(true))?;
        socket.set("SO_REUSEADDR", |socket| socket.set_reuse_address(true))?;
        socket.apply(options)?;
        socket.bind(address)?;
        socket.listen(address, options)?;
        Ok(socket.socket.into())
    }

    /// A TCP socket that is not connected yet, non-blocking, with `TCP_NODELAY`. The family is that of the address
    /// that it will connect to.
    ///
    /// For tokio: `TcpSocket::from_std_stream(socket.into())`.
    ///
    /// # Errors
    ///
    /// [`SocketError`], naming the step, the address and the namespace.
    pub fn tcp_socket(
        &self,
        family: impl Into<Family>,
        options: &SocketOptions,
    ) -> Result<Socket, SocketError> {
        let socket = Fresh::make(self, family.into(), Type::STREAM, options)?;
        socket.set("TCP_NODELAY", |socket| socket.set_tcp_nodelay(true))?;
        socket.apply(options)?;
        if let Some(source) = options.bind {
            if source.port() == 0 {
                let late = |socket: &Socket| Ok(setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?);
                socket.set("IP_BIND_ADDRESS_NO_PORT", late)?;
            }
            socket.bind(source)?;
        }
        Ok(socket.socket)
    }

    /// A UDP socket on an address of this namespace, non-blocking: `tokio::net::UdpSocket::from_std` takes it as it
    /// is.
    ///
    /// # Errors
    ///
    /// [`SocketError`], naming the step, the address and the namespace.
    pub fn udp_socket(&self, address: SocketAddr, options: &SocketOptions) -> Result<UdpSocket, SocketError> {
        let socket = Fresh::make(self, Family::from(address), Type::DGRAM, options)?;
        socket.apply(options)?;
        socket.bind(address)?;
        Ok(socket.socket.into())
    }
}

/// The version of the Internet Protocol that a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, and IPv4 in mapped addresses.
    V6,
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl From<SocketAddr> for Family {
    fn from(address: SocketAddr) -> Self {
        address.ip().into()
    }
}

/// A socket that is being prepared. Only making it happens inside: whatever is done to it later concerns the namespace
/// that it belongs to.
struct Fresh<'a> {
    socket: Socket,
    family: Family,
    namespace: &'a Namespace,
}

impl<'a> Fresh<'a> {
    fn make(
        namespace: &'a Namespace,
        family: Family,
        kind: Type,
        options: &SocketOptions,
    ) -> Result<Self, SocketError> {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        let new = || Socket::new(domain, kind.nonblocking(), None);
        let made = match &options.home {
            Some(home) => home.visit(namespace, new)?,
            None => namespace.run(new)?,
        };
        match made {
            Ok(socket) => Ok(Self { socket, family, namespace }),
            Err(source) => Err(SocketError::Make { namespace: namespace.id(), source }),
        }
    }

    fn apply(&self, options: &SocketOptions) -> Result<(), SocketError> {
        if let Some(mark) = options.mark {
            self.set("SO_MARK", |socket| socket.set_mark(mark))?;
        }
        if options.sharing == Sharing::Shared {
            self.set("SO_REUSEPORT", |socket| socket.set_reuse_port(true))?;
        }
        match (self.family, options.source) {
            (_, Source::Local) => {}
            (Family::V4, Source::Any) => {
                self.set("IP_TRANSPARENT", |socket| socket.set_ip_transparent_v4(true))?;
                self.set("IP_FREEBIND", |socket| socket.set_freebind_v4(true))?;
            }
            (Family::V6, Source::Any) => {
                self.set("IPV6_TRANSPARENT", |socket| socket.set_ip_transparent_v6(true))?;
                self.set("IPV6_FREEBIND", |socket| socket.set_freebind_v6(true))?;
            }
        }
        match (self.family, options.reach) {
            (Family::V6, Reach::V6Only) => self.set("IPV6_V6ONLY", |socket| socket.set_only_v6(true)),
            (Family::V4, _) | (Family::V6, Reach::AsConfigured) => Ok(()),
        }
    }

    fn set(
        &self,
        option: &'static str,
        set: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> Result<(), SocketError> {
        set(&self.socket).map_err(|source| SocketError::Option {
            option,
            namespace: self.namespace.id(),
            source,
        })
    }

    fn bind(&self, address: SocketAddr) -> Result<(), SocketError> {
        self.socket.bind(&address.into()).map_err(|source| SocketError::Bind {
            address,
            namespace: self.namespace.id(),
            source,
        })
    }

    fn listen(&self, address: SocketAddr, options: &SocketOptions) -> Result<(), SocketError> {
        // The kernel reads the number as unsigned and cuts it at somaxconn; i32::MAX is "as many as allowed".
        let backlog =
            options.backlog.and_then(|connections| i32::try_from(connections).ok()).unwrap_or(i32::MAX);
        self.socket.listen(backlog).map_err(|source| SocketError::Listen {
            address,
            namespace: self.namespace.id(),
            source,
        })
    }
}
