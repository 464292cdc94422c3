//! What a CONNECT asks for: an address and port, or a host name and port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// Where a tunnel leads: the `:authority` of a CONNECT (RFC 9113 section 8.5).
///
/// [`FromStr`] and [`Display`](fmt::Display) are inverses. There is one spelling for each destination, so that two
/// targets are equal exactly when they mean the same place: an IPv4-mapped IPv6 address reads as IPv4, host names
/// read in lower case, ports have no leading zero and are never 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// `ip:port` or `[ip]:port`. Make it with [`Target::from`], which puts the address in its one spelling.
    Address(SocketAddr),
    /// `host:port`, whose name the other end resolves (Istio uses it for services behind a gateway).
    Host {
        /// The name.
        host: HostName,
        /// The TCP port.
        port: u16,
    },
}

impl Target {
    /// The TCP port of either form.
    pub fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Host { port, .. } => *port,
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Address(canonical(address))
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.len() > MAX_LENGTH {
            return Err(TargetError::TooLong { length: text.len() });
        }
        let (host, port) = text.rsplit_once(':').ok_or(TargetError::NoPort)?;
        let port = parse_port(port)?;
        if let Some(bracketed) = host.strip_prefix('[') {
            let address = bracketed.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
            let address = address.ok_or(TargetError::Address)?;
            return Ok(Self::from(SocketAddr::new(address.into(), port)));
        }
        match host.parse::<Ipv4Addr>() {
            Ok(address) => Ok(Self::from(SocketAddr::new(address.into(), port))),
            Err(_) => Ok(Self::Host { host: host.parse()?, port }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{}", canonical(*address)),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// A DNS host name in lower case: labels of letters, digits, `-` and `_`, without a trailing dot.
///
/// Values are always valid. The last label is never all digits nor a hexadecimal number, so that no value can be
/// taken for an IP address by a looser reader (the "ends in a number" rule of the WHATWG URL standard).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Box<str>);

impl HostName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.is_empty() || text.len() > MAX_NAME {
            return Err(TargetError::Host);
        }
        if !text.split('.').all(is_label) || text.rsplit('.').next().is_some_and(is_number) {
            return Err(TargetError::Host);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a [`Target`].
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetError {
    /// Longer than any host name with a port.
    #[error("target of {length} bytes is too long")]
    TooLong {
        /// Bytes given.
        length: usize,
    },
    /// There is no `:port`.
    #[error("target has no port")]
    NoPort,
    /// The port is not a decimal number from 1 to 65535, without sign or leading zero.
    #[error("target has an invalid port")]
    Port,
    /// Square brackets without an IPv6 address (and nothing else, no zone) between them.
    #[error("target has an invalid bracketed address")]
    Address,
    /// Neither an IPv4 address nor a [`HostName`].
    #[error("target has an invalid host name")]
    Host,
}

fn canonical(address: SocketAddr) -> SocketAddr {
    // Rebuilt, because a zone and a flow label have no place in an authority.
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

fn parse_port(text: &str) -> Result<u16, TargetError> {
    // u16::from_str alone would also take "+80" and "0080".
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TargetError::Port);
    }
    text.parse().map_err(|_| TargetError::Port)
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Longest name, RFC 1035 section 2.3.4 (255 octets on the wire are 253 characters of text).
const MAX_NAME: usize = 253;
/// Longest label, RFC 1035 section 2.3.4.
const MAX_LABEL: usize = 63;
/// A name, a colon and five digits; also bounds the work for hostile input.
const MAX_LENGTH: usize = MAX_NAME + 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Target, TargetError> {
        text.parse()
    }

    #[test]
    fn reads_the_three_forms() {
        assert_eq!(parse("10.0.0.5:8080"), Ok(Target::from(SocketAddr::from(([10, 0, 0, 5], 8080)))));
        assert_eq!(parse("[fd00::1]:15008").unwrap().to_string(), "[fd00::1]:15008");
        let host = Target::Host { host: "reviews.default.svc.cluster.local".parse().unwrap(), port: 80 };
        assert_eq!(parse("reviews.default.svc.cluster.local:80"), Ok(host));
    }

    #[test]
    fn one_spelling_for_each_place() {
        assert_eq!(parse("[::ffff:10.0.0.5]:80"), parse("10.0.0.5:80"));
        assert_eq!(parse("Reviews.Default:80"), parse("reviews.default:80"));
        assert_eq!(parse("[0:0::1]:80"), parse("[::1]:80"));
        let scoped: SocketAddr = "[fe80::1%3]:80".parse().unwrap();
        assert_eq!(Target::from(scoped).to_string(), "[fe80::1]:80");
        assert_eq!(Target::Address(scoped).to_string(), "[fe80::1]:80");
    }

    #[test]
    fn refuses_what_is_not_exact() {
        for (text, error) in [
            ("", TargetError::NoPort),
            ("10.0.0.5", TargetError::NoPort),
            ("10.0.0.5:", TargetError::Port),
            ("10.0.0.5:0", TargetError::Port),
            ("10.0.0.5:080", TargetError::Port),
            ("10.0.0.5:+80", TargetError::Port),
            ("10.0.0.5:65536", TargetError::Port),
            ("10.0.0.5:80 ", TargetError::Port),
            ("[::1:80", TargetError::Address),
            ("[fe80::1%3]:80", TargetError::Address),
            ("[10.0.0.5]:80", TargetError::Address),
            ("[]:80", TargetError::Address),
            ("::1:80", TargetError::Host),
            (":80", TargetError::Host),
            ("10.0.0.256:80", TargetError::Host),
            ("10.0.5:80", TargetError::Host),
            ("0x7f000001:80", TargetError::Host),
            ("a..b:80", TargetError::Host),
            ("a.:80", TargetError::Host),
            ("-a:80", TargetError::Host),
            ("a b:80", TargetError::Host),
            ("user@a:80", TargetError::Host),
            ("\u{e9}t\u{e9}:80", TargetError::Host),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
        assert_eq!(parse(&format!("{}:80", "a.".repeat(200))), Err(TargetError::TooLong { length: 403 }));
        assert_eq!(parse(&format!("{}:80", "a".repeat(64))), Err(TargetError::Host));
    }

    fn any_target() -> impl Strategy<Value = Target> {
        let address =
            (any::<IpAddr>(), 1..=u16::MAX).prop_map(|(ip, port)| Target::from(SocketAddr::new(ip, port)));
        let host = ("[a-z_]([a-z0-9_-]{0,20}[a-z0-9_])?(\\.[a-z]{1,10}){0,5}", 1..=u16::MAX)
            .prop_map(|(host, port)| Target::Host { host: host.parse().unwrap(), port });
        prop_oneof![address, host]
    }

    proptest! {
        #[test]
        fn display_then_parse_is_identity(target in any_target()) {
            prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
        }

        #[test]
        fn parse_then_display_is_canonical(text in "(\\[[0-9a-f:.]{0,20}\\]|[A-Za-z0-9._-]{0,30}):[0-9+]{0,6}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,300}") {
            let _ = text.parse::<Target>();
        }
    }
}
