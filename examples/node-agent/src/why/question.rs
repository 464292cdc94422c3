//! Question: which connection, as it is asked for, and as it is meant.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::view::{Refusal, Way};
use crate::view::PodView;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// `namespace/name`, a uid, or a name that no other pod has.
    pub(crate) pod: String,
    /// Who opens the connection; none: the pod.
    pub(crate) source: Option<Source>,
    /// Where to.
    pub(crate) destination: Destination,
}

/// `IP` or `IP:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Source {
    ip: IpAddr,
    port: Option<u16>,
}

/// `IP:PORT`, or `:PORT` for an address of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Destination {
    ip: Option<IpAddr>,
    port: NonZeroU16,
}

/// It is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("a source is IP or IP:PORT, or [IP]:PORT for IPv6")]
    Source,
    #[error("a destination is IP:PORT, [IP]:PORT for IPv6, or :PORT")]
    Destination,
}

/// Which connection is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) way: Way,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// The port of a client that nobody has named: one that is nobody's.
const CLIENT: u16 = 40000;

impl Question {
    /// The pod that is meant.
    pub(super) fn find<'pods>(&self, pods: &'pods [PodView]) -> Result<&'pods PodView, Refusal> {
        let full = |pod: &&PodView| {
            pod.uid == self.pod || self.pod.split_once('/') == Some((&pod.namespace, &pod.name))
        };
        if let Some(pod) = pods.iter().find(full) {
            return Ok(pod);
        }
        let mut named = pods.iter().filter(|pod| pod.name == self.pod);
        match (named.next(), named.next()) {
            (Some(pod), None) => Ok(pod),
            (Some(_), Some(_)) => Err(Refusal::Ambiguous { pod: self.pod.clone() }),
            (None, _) => Err(Refusal::UnknownPod { pod: self.pod.clone() }),
        }
    }

    /// The connection that is meant, where the pod has these addresses.
    pub(super) fn connection(&self, own: &[IpAddr]) -> Result<Connection, Refusal> {
        let is_own = |ip: IpAddr| own.contains(&ip) || ip.is_loopback();
        match self.source {
            Some(source) if !is_own(source.ip) => self.inbound(source, own),
            source => self.outbound(source, own),
        }
    }

    fn inbound(&self, source: Source, own: &[IpAddr]) -> Result<Connection, Refusal> {
        let ip = match self.destination.ip {
            Some(ip) if own.contains(&ip) => ip,
            Some(ip) => return Err(Refusal::NotThePods { address: ip }),
            None => first_like(own, source.ip)?,
        };
        Ok(Connection {
            way: Way::Inbound,
            source: source.address(),
            destination: SocketAddr::new(ip, self.destination.port.get()),
        })
    }

    fn outbound(&self, source: Option<Source>, own: &[IpAddr]) -> Result<Connection, Refusal> {
        let to = self.destination.ip.ok_or(Refusal::WhichAddress)?;
        let source = match source {
            Some(source) => source,
            None if to.is_loopback() || own.contains(&to) => Source { ip: to, port: None },
            None => Source { ip: first_like(own, to)?, port: None },
        };
        let destination = SocketAddr::new(to, self.destination.port.get());
        Ok(Connection { way: Way::Outbound, source: source.address(), destination })
    }
}

/// The first address of the same family that is more than the link's.
fn first_like(own: &[IpAddr], like: IpAddr) -> Result<IpAddr, Refusal> {
    let is_links = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let found = own.iter().find(|ip| ip.is_ipv4() == like.is_ipv4() && !is_links(ip));
    found.copied().ok_or(Refusal::NoAddressLike { address: like })
}

impl Source {
    fn address(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(CLIENT))
    }
}

impl FromStr for Source {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let alone = || text.parse::<IpAddr>().map(|ip| (ip, None));
        let with_port = |at: SocketAddr| (at.ip(), Some(at.port()));
        let parsed = text.parse().map(with_port).or_else(|_| alone());
        let (ip, port) = parsed.map_err(|_| AddressError::Source)?;
        Ok(Self { ip: ip.to_canonical(), port })
    }
}

impl FromStr for Destination {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (ip, port) = match text.strip_prefix(':') {
            Some(port) => (None, port.parse().ok()),
            None => {
                let at: SocketAddr = text.parse().map_err(|_| AddressError::Destination)?;
                (Some(at.ip().to_canonical()), Some(at.port()))
            }
        };
        let port = port.and_then(NonZeroU16::new).ok_or(AddressError::Destination)?;
        Ok(Self { ip, port })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => SocketAddr::new(ip, self.port.get()).fmt(f),
            None => write!(f, ":{}", self.port),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<String> for Destination {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_in_result, reason = "what a test asks is valid")]
mod tests {
    use super::*;

    const OWN: [&str; 3] = ["fe80::1", "10.0.0.2", "fd00::2"];

    fn meant(source: Option<&str>, destination: &str) -> Result<Connection, Refusal> {
        let question = Question {
            pod: "p".into(),
            source: source.map(|source| source.parse().unwrap()),
            destination: destination.parse().unwrap(),
        };
        question.connection(&OWN.map(|ip| ip.parse().unwrap()))
    }

    fn connection(way: Way, source: &str, destination: &str) -> Result<Connection, Refusal> {
        Ok(Connection { way, source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    #[test]
    fn who_is_not_said_to_open_it_is_the_pod() {
        let out = |source, destination| connection(Way::Outbound, source, destination);
        assert_eq!(meant(None, "10.0.0.9:80"), out("10.0.0.2:40000", "10.0.0.9:80"));
        assert_eq!(meant(None, "[fd00::9]:80"), out("[fd00::2]:40000", "[fd00::9]:80"));
        assert_eq!(meant(None, "127.0.0.1:80"), out("127.0.0.1:40000", "127.0.0.1:80"));
        assert_eq!(meant(None, "10.0.0.2:80"), out("10.0.0.2:40000", "10.0.0.2:80"));
        assert_eq!(meant(Some("10.0.0.2:7"), "10.0.0.9:80"), out("10.0.0.2:7", "10.0.0.9:80"));
        assert_eq!(meant(None, ":80"), Err(Refusal::WhichAddress));
    }

    #[test]
    fn who_is_another_opens_it_to_the_pod() {
        let inward = |source, destination| connection(Way::Inbound, source, destination);
        assert_eq!(meant(Some("10.0.0.9"), "10.0.0.2:80"), inward("10.0.0.9:40000", "10.0.0.2:80"));
        assert_eq!(meant(Some("[fd00::9]:7"), ":80"), inward("[fd00::9]:7", "[fd00::2]:80"));
        assert_eq!(meant(Some("::ffff:10.0.0.9"), ":80"), inward("10.0.0.9:40000", "10.0.0.2:80"));
        let others = "10.0.0.3".parse().unwrap();
        assert_eq!(meant(Some("10.0.0.9"), "10.0.0.3:80"), Err(Refusal::NotThePods { address: others }));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for source in ["", "10.0.0", "10.0.0.1:", "fd00::1:80:x", "host"] {
            assert_eq!(source.parse::<Source>(), Err(AddressError::Source), "{source}");
        }
        for destination in ["", ":", ":0", ":65536", "10.0.0.1", "10.0.0.1:0", "fd00::1", "host:80"] {
            assert_eq!(destination.parse::<Destination>(), Err(AddressError::Destination), "{destination}");
        }
        for text in ["10.0.0.1:80", "[fd00::1]:80", ":80"] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        for text in ["10.0.0.1", "fd00::1", "[fd00::1]:80"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        let hostile = r#"{"pod": "p", "source": null, "destination": "nowhere"}"#;
        assert!(serde_json::from_str::<Question>(hostile).is_err());
    }

    #[test]
    fn a_pod_is_found_by_what_names_only_it() {
        let pod = |uid: &str, namespace: &str, name: &str| {
            let (uid, namespace, name) = (uid.into(), namespace.into(), name.into());
            PodView { uid, namespace, name, ..crate::why::tests::pod() }
        };
        let pods = [pod("1", "a", "web"), pod("2", "b", "web"), pod("3", "b", "cart"), pod("web", "c", "x")];
        let find = |name: &str| {
            let destination = ":1".parse().unwrap();
            let question = Question { pod: name.into(), source: None, destination };
            question.find(&pods).map(|pod| pod.uid.clone())
        };
        assert_eq!(find("2"), Ok("2".into()));
        assert_eq!(find("b/web"), Ok("2".into()));
        assert_eq!(find("cart"), Ok("3".into()));
        assert_eq!(find("web"), Ok("web".into()), "a uid comes first");
        let ambiguous = Question { pod: "web".into(), source: None, destination: ":1".parse().unwrap() };
        assert_eq!(ambiguous.find(&pods[..3]), Err(Refusal::Ambiguous { pod: "web".into() }));
        assert_eq!(find("b/nobody"), Err(Refusal::UnknownPod { pod: "b/nobody".into() }));
    }
}
