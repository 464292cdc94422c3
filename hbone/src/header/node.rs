//! Who took part in passing a request on (RFC 7239 section 6).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::scan::Scanner;
use super::{Expected, FieldError};

/// A node: its name, perhaps with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its port.
    pub port: Option<NodePort>,
}

impl Node {
    /// Address and port, if the node tells both.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match (&self.name, &self.port) {
            (NodeName::Address(address), Some(NodePort::Number(port))) => {
                Some(SocketAddr::new(*address, *port))
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Node {
    fn from(address: SocketAddr) -> Self {
        Self { name: NodeName::Address(address.ip()), port: Some(NodePort::Number(address.port())) }
    }
}

/// What a node is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NodeName {
    /// Its address.
    Address(IpAddr),
    /// Not known to who wrote the field.
    Unknown,
    /// A name of its own, which hides what it is.
    Obfuscated(Obfuscated),
}

/// A node's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NodePort {
    /// The port.
    Number(u16),
    /// A name for it, which hides what it is.
    Obfuscated(Obfuscated),
}

/// A name that hides: `_` and letters, digits, `.`, `_` and `-` (RFC 7239 section 6.3), at most 64 in all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Obfuscated(Box<str>);

impl Obfuscated {
    /// The name as text, with its underscore.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Obfuscated {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let valid = text.strip_prefix('_').is_some_and(|name| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        });
        if valid && text.len() <= MAX_OBFUSCATED { Ok(Self(text.into())) } else { Err(fault(0)) }
    }
}

impl FromStr for Node {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let mut scanner = Scanner::new(text, MAX_NODE)?;
        let name = if scanner.eat(b'[') {
            let address = scanner.take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
            scanner.expect(b']', Expected::Node)?;
            NodeName::Address(IpAddr::V6(address.parse::<Ipv6Addr>().map_err(|_| fault(1))?))
        } else {
            match scanner.take_while(|byte| byte != b':') {
                name if name.eq_ignore_ascii_case("unknown") => NodeName::Unknown,
                name if name.starts_with('_') => NodeName::Obfuscated(name.parse()?),
                name => NodeName::Address(IpAddr::V4(name.parse::<Ipv4Addr>().map_err(|_| fault(0))?)),
            }
        };
        let port = if scanner.eat(b':') { Some(port(&mut scanner)?) } else { None };
        scanner.end(Expected::Node)?;
        Ok(Self { name, port })
    }
}

fn port(scanner: &mut Scanner<'_>) -> Result<NodePort, FieldError> {
    let fault = scanner.fault(Expected::Node);
    let text = scanner.take_while(|_| true);
    if text.starts_with('_') {
        return text.parse().map(NodePort::Obfuscated).map_err(|_| fault);
    }
    // u16::from_str alone would also take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.map(NodePort::Number).ok_or(fault)
}

fn fault(at: usize) -> FieldError {
    FieldError::Syntax { at, expected: Expected::Node }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            NodeName::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            NodeName::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            NodeName::Unknown => f.write_str("unknown")?,
            NodeName::Obfuscated(name) => f.write_str(name.as_str())?,
        }
        match &self.port {
            None => Ok(()),
            Some(NodePort::Number(port)) => write!(f, ":{port}"),
            Some(NodePort::Obfuscated(name)) => write!(f, ":{}", name.as_str()),
        }
    }
}

/// Longer than any UUID with an underscore; the RFC gives no bound.
const MAX_OBFUSCATED: usize = 64;
/// Two hidden names and a colon.
const MAX_NODE: usize = 2 * MAX_OBFUSCATED + 1;
