//! Connection: a TCP connection, by the addresses and ports that its packets show.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::family::Family;
use crate::port::Port;

/// A TCP connection as the packets of one direction show it. The other direction's packets show it [`reversed`].
///
/// Always valid: both ends are of one family, and neither port is 0. An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`),
/// as a socket of both families shows it, is the IPv4 address that its packets have.
///
/// [`reversed`]: Self::reversed
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    source: End,
    destination: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct End {
    address: IpAddr,
    port: Port,
}

/// Why two addresses are not the ends of a [`Connection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The one is an IPv4 address, the other an IPv6 address.
    #[error("{source_end} and {destination} are of different families")]
    TwoFamilies {
        /// The source.
        source_end: SocketAddr,
        /// The destination.
        destination: SocketAddr,
    },
    /// A port is 0, which no connection has.
    #[error("{0} has port 0, which no connection has")]
    NoPort(SocketAddr),
}

impl Connection {
    /// The connection whose packets go from here to there, in this direction.
    ///
    /// # Errors
    /// When the addresses are of different families, or a port is 0.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Result<Self, ConnectionError> {
        let connection = Self { source: End::new(source)?, destination: End::new(destination)? };
        if Family::of(connection.source.address) != Family::of(connection.destination.address) {
            return Err(ConnectionError::TwoFamilies { source_end: source, destination });
        }
        Ok(connection)
    }

    /// From where packets of this direction come.
    pub const fn source(self) -> SocketAddr {
        self.source.socket_address()
    }

    /// To where they go.
    pub const fn destination(self) -> SocketAddr {
        self.destination.socket_address()
    }

    /// The family of both ends.
    pub const fn family(self) -> Family {
        Family::of(self.source.address)
    }

    /// The same connection, as the packets of the other direction show it.
    pub const fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

impl End {
    fn new(address: SocketAddr) -> Result<Self, ConnectionError> {
        let port = Port::new(address.port()).map_err(|_| ConnectionError::NoPort(address))?;
        Ok(Self { address: address.ip().to_canonical(), port })
    }

    const fn socket_address(self) -> SocketAddr {
        SocketAddr::new(self.address, self.port.number())
    }
}

impl fmt::Display for Connection {
    /// As `nft` writes an element of a set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination } = self;
        write!(f, "{} . {} . {} . {}", source.address, source.port, destination.address, destination.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
        (source.parse().unwrap(), destination.parse().unwrap())
    }

    fn connection(source: &str, destination: &str) -> Result<Connection, ConnectionError> {
        let (source, destination) = ends(source, destination);
        Connection::new(source, destination)
    }

    #[test]
    fn both_ends_are_of_one_family_and_have_ports() {
        assert!(matches!(connection("10.0.0.1:1", "[fd00::1]:2"), Err(ConnectionError::TwoFamilies { .. })));
        assert!(matches!(connection("10.0.0.1:0", "10.0.0.2:2"), Err(ConnectionError::NoPort(_))));
        assert!(matches!(connection("10.0.0.1:1", "10.0.0.2:0"), Err(ConnectionError::NoPort(_))));
    }

    #[test]
    fn it_reads_as_its_packets_do() {
        let there = connection("10.0.0.1:80", "[::ffff:10.0.0.2]:4000").unwrap();
        assert_eq!(there.to_string(), "10.0.0.1 . 80 . 10.0.0.2 . 4000");
        assert_eq!(there.reversed().to_string(), "10.0.0.2 . 4000 . 10.0.0.1 . 80");
        assert_eq!((there.family(), there.reversed().reversed()), (Family::V4, there));
        assert_eq!(there.destination(), "10.0.0.2:4000".parse().unwrap());
    }
}
