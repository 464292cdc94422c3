//! Where a connection comes from, and where it wanted to go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, BytesMut};

use super::ParseError;

/// Two addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    transport: Transport,
    ends: Ends,
}

/// What the addresses are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, or a stream socket.
    Stream,
    /// UDP, or a datagram socket.
    Datagram,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ends {
    V4 { source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16) },
    V6 { source: (Ipv6Addr, u16), destination: (Ipv6Addr, u16) },
    Unix { source: Box<UnixPath>, destination: Box<UnixPath> },
}

/// Section 2.2, `proxy_addr.unix_addr`.
type UnixPath = [u8; 108];

impl Addresses {
    /// Internet addresses. If they are not both of IPv4, both are written as of IPv6 (RFC 4291 section 2.5.5.2).
    pub fn inet(transport: Transport, source: SocketAddr, destination: SocketAddr) -> Self {
        let ends = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                Ends::V4 { source: (from, source.port()), destination: (to, destination.port()) }
            }
            (from, to) => Ends::V6 {
                source: (as_v6(from), source.port()),
                destination: (as_v6(to), destination.port()),
            },
        };
        Self { transport, ends }
    }

    /// Paths of Unix sockets; `None` if one is longer than the 108 bytes that such an address has.
    pub fn unix(transport: Transport, source: &[u8], destination: &[u8]) -> Option<Self> {
        let (source, destination) = (Box::new(padded(source)?), Box::new(padded(destination)?));
        Some(Self { transport, ends: Ends::Unix { source, destination } })
    }

    /// What they are addresses of.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The internet address that the connection comes from.
    pub fn source(&self) -> Option<SocketAddr> {
        self.inet_ends().map(|(source, _)| source)
    }

    /// The internet address that it wanted to go to.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.inet_ends().map(|(_, destination)| destination)
    }

    /// The paths of Unix sockets, source first, without the zeros that fill them up.
    pub fn unix_paths(&self) -> Option<(&[u8], &[u8])> {
        match &self.ends {
            Ends::Unix { source, destination } => Some((trimmed(&**source), trimmed(&**destination))),
            Ends::V4 { .. } | Ends::V6 { .. } => None,
        }
    }

    fn inet_ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        match &self.ends {
            Ends::V4 { source, destination } => Some(((*source).into(), (*destination).into())),
            Ends::V6 { source, destination } => Some(((*source).into(), (*destination).into())),
            Ends::Unix { .. } => None,
        }
    }

    /// Byte 14 of the header.
    pub(super) fn family(&self) -> u8 {
        let family = match &self.ends {
            Ends::V4 { .. } => V4,
            Ends::V6 { .. } => V6,
            Ends::Unix { .. } => UNIX,
        };
        match self.transport {
            Transport::Stream => family | STREAM,
            Transport::Datagram => family | DATAGRAM,
        }
    }

    pub(super) fn write(&self, block: &mut BytesMut) {
        match &self.ends {
            Ends::V4 { source, destination } => {
                block.put_slice(&source.0.octets());
                block.put_slice(&destination.0.octets());
                block.put_u16(source.1);
                block.put_u16(destination.1);
            }
            Ends::V6 { source, destination } => {
                block.put_slice(&source.0.octets());
                block.put_slice(&destination.0.octets());
                block.put_u16(source.1);
                block.put_u16(destination.1);
            }
            Ends::Unix { source, destination } => {
                block.put_slice(&**source);
                block.put_slice(&**destination);
            }
        }
    }

    /// The addresses at the beginning of `block`, and what follows them.
    pub(super) fn read(byte: u8, block: &[u8]) -> Result<(Self, &[u8]), ParseError> {
        let transport = match byte & 0x0f {
            STREAM => Transport::Stream,
            DATAGRAM => Transport::Datagram,
            _ => return Err(ParseError::Family { byte }),
        };
        let mut reader = Reader(block);
        let ends = match byte & 0xf0 {
            V4 => {
                let (from, to) = (reader.take::<4>()?, reader.take::<4>()?);
                let (source, destination) = (reader.port()?, reader.port()?);
                Ends::V4 { source: (from.into(), source), destination: (to.into(), destination) }
            }
            V6 => {
                let (from, to) = (reader.take::<16>()?, reader.take::<16>()?);
                let (source, destination) = (reader.port()?, reader.port()?);
                Ends::V6 { source: (from.into(), source), destination: (to.into(), destination) }
            }
            UNIX => Ends::Unix { source: Box::new(reader.take()?), destination: Box::new(reader.take()?) },
            _ => return Err(ParseError::Family { byte }),
        };
        Ok((Self { transport, ends }, reader.0))
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ParseError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn port(&mut self) -> Result<u16, ParseError> {
        self.take().map(u16::from_be_bytes)
    }
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn padded(path: &[u8]) -> Option<UnixPath> {
    let mut padded = [0; 108];
    padded.get_mut(..path.len())?.copy_from_slice(path);
    Some(padded)
}

/// An abstract name begins with a zero, so only those at the end fill up.
fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    path.get(..end).unwrap_or(path)
}

/// Section 2.2, the high half of byte 14.
const V4: u8 = 0x10;
/// Section 2.2, the high half of byte 14.
const V6: u8 = 0x20;
/// Section 2.2, the high half of byte 14.
const UNIX: u8 = 0x30;
/// Section 2.2, the low half of byte 14.
const STREAM: u8 = 0x01;
/// Section 2.2, the low half of byte 14.
const DATAGRAM: u8 = 0x02;
