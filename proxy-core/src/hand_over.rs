//! Hand over: what an application is told before the first byte of a connection to it, and at which port. Pure.
//!
//! ```text
//!   its workload asks for    by a tunnel                            in plaintext
//!   nothing                  the port that was asked for            the same
//!   a port                   that port                              the port that was asked for
//!   a preamble               preamble, the port that was asked for  the same
//!   a preamble at a port     preamble, that port                    that port: preamble; others: as if it asked for nothing
//! ```
//!
//! An application that takes a preamble believes it. So on its port everybody gets one, also who proves no identity: what he
//! writes himself comes after it.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use bytes::Bytes;
use hbone::Target;
use hbone::proxy_protocol::{AUTHORITY, Addresses, PEER_IDENTITY, ProxyHeader, TlvError, Transport};
use identity::SpiffeId;

use crate::address::ClientAddr;
use crate::workload::{Preamble, Snapshot, Workload};

/// How one connection is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandOver {
    /// The port that takes it; none: the one that it is to.
    pub(crate) port: Option<NonZeroU16>,
    /// What is written before its first byte; empty: nothing.
    pub(crate) preamble: Bytes,
}

impl HandOver {
    const PLAIN: Self = Self { port: None, preamble: Bytes::new() };

    /// Of a tunnel that `peer` has opened for `target`, which means `destination` in this pod.
    pub(crate) fn of_tunnel(
        snapshot: &Snapshot,
        workload: &Workload,
        (client, peer): (ClientAddr, &SpiffeId),
        target: &Target,
        destination: SocketAddr,
    ) -> Result<Self, TlvError> {
        let Some(asked) = workload.application_tunnel else { return Ok(Self::PLAIN) };
        let preamble = match asked.preamble {
            Preamble::Nothing => Bytes::new(),
            Preamble::Proxy => {
                let wanted = wanted(snapshot, workload, target, destination);
                let header = header(client, wanted).with_tlv(AUTHORITY, target.to_string())?;
                header.with_tlv(PEER_IDENTITY, peer.to_string())?.to_bytes().freeze()
            }
        };
        Ok(Self { port: asked.port, preamble })
    }

    /// Of a connection in plaintext.
    pub(crate) fn in_plaintext(workload: &Workload, client: ClientAddr, destination: SocketAddr) -> Self {
        let takes_all = |port: NonZeroU16| port.get() == destination.port();
        match workload.application_tunnel {
            Some(asked) if asked.preamble == Preamble::Proxy && asked.port.is_none_or(takes_all) => {
                Self { port: None, preamble: header(client, destination).to_bytes().freeze() }
            }
            _ => Self::PLAIN,
        }
    }

    /// Where the application takes what is to `destination`.
    pub(crate) fn place(&self, destination: SocketAddr) -> SocketAddr {
        let port = self.port.map_or_else(|| destination.port(), NonZeroU16::get);
        SocketAddr::new(destination.ip(), port)
    }
}

fn header(client: ClientAddr, destination: SocketAddr) -> ProxyHeader {
    Addresses::inet(Transport::Stream, client.socket_addr(), destination).into()
}

/// The address that the client wanted: the service's where it named one, of the family that it reached us by if there is one.
fn wanted(snapshot: &Snapshot, workload: &Workload, target: &Target, destination: SocketAddr) -> SocketAddr {
    let Target::Host { host, port } = target else { return destination };
    let service = snapshot.service_named(&workload.name.namespace, host.as_str());
    let vips = service.into_iter().flat_map(|service| &service.vips);
    let ours = vips.filter(|vip| vip.network == workload.network).map(|vip| vip.address);
    // The smallest key is the first: false is less than true.
    let best = ours.min_by_key(|address| address.is_ipv4() != destination.is_ipv4());
    best.map_or(destination, |address| SocketAddr::new(address, *port))
}

#[cfg(test)]
#[cfg(feature = "yaml")]
mod tests {
    use hbone::proxy_protocol::{Parsed, parse};

    use super::*;
    use crate::workload::file;

    fn facts(asked: &str) -> Snapshot {
        let text = format!(
            "workloads: [{{name: p, namespace: n, workloadIps: [10.0.0.1, 'fd00::1']{asked}}}]
services: [{{name: s, namespace: n, hostname: s.n, vips: [far/10.1.0.9, '/10.1.0.1', '/fd01::1'], ports: {{80: 8080}}}}]"
        );
        file::parse(&text, &"cluster.local".parse().unwrap()).unwrap()
    }

    fn client() -> ClientAddr {
        ClientAddr::new("10.0.0.9:4000".parse().unwrap())
    }

    fn peer() -> SpiffeId {
        "spiffe://cluster.local/ns/n/sa/c".parse().unwrap()
    }

    fn by_tunnel(asked: &str, target: &str, destination: &str) -> HandOver {
        let snapshot = facts(asked);
        let workload = snapshot.workload_at("", "10.0.0.1".parse().unwrap()).unwrap();
        let (target, destination) = (target.parse().unwrap(), destination.parse().unwrap());
        HandOver::of_tunnel(&snapshot, workload, (client(), &peer()), &target, destination).unwrap()
    }

    fn in_plaintext(asked: &str, destination: &str) -> HandOver {
        let snapshot = facts(asked);
        let workload = snapshot.workload_at("", "10.0.0.1".parse().unwrap()).unwrap();
        HandOver::in_plaintext(workload, client(), destination.parse().unwrap())
    }

    /// Source, destination, authority, identity.
    fn told(hand_over: &HandOver) -> [Option<String>; 4] {
        let Parsed { header, length } = parse(&hand_over.preamble).unwrap();
        assert_eq!(length, hand_over.preamble.len());
        let ProxyHeader::Proxied { addresses, tlvs } = header else { panic!("{header:?}") };
        let ends = [addresses.source(), addresses.destination()].map(|end| end.map(|end| end.to_string()));
        let [source, destination] = ends;
        [source, destination, tlvs.authority().map(str::to_owned), tlvs.peer_identity().map(str::to_owned)]
    }

    const PROXY: &str = ", applicationTunnel: {protocol: PROXY}";
    const PROXY_AT: &str = ", applicationTunnel: {protocol: PROXY, port: 15088}";
    const AT: &str = ", applicationTunnel: {protocol: NONE, port: 15088}";

    #[test]
    fn who_does_not_ask_is_told_nothing() {
        assert_eq!(by_tunnel("", "10.0.0.1:80", "10.0.0.1:80"), HandOver::PLAIN);
        assert_eq!(in_plaintext("", "10.0.0.1:80"), HandOver::PLAIN);
        assert_eq!(in_plaintext(AT, "10.0.0.1:80"), HandOver::PLAIN);
        assert_eq!(in_plaintext(PROXY_AT, "10.0.0.1:80"), HandOver::PLAIN);
        let at = by_tunnel(AT, "10.0.0.1:80", "10.0.0.1:80");
        assert!(at.preamble.is_empty());
        assert_eq!(at.place("10.0.0.1:80".parse().unwrap()), "10.0.0.1:15088".parse().unwrap());
    }

    #[test]
    fn a_tunnel_is_told_with_its_target_and_the_identity() {
        let some = |text: &str| Some(text.to_owned());
        let identity = some("spiffe://cluster.local/ns/n/sa/c");
        for (asked, place) in [(PROXY, "10.0.0.1:80"), (PROXY_AT, "10.0.0.1:15088")] {
            let hand_over = by_tunnel(asked, "10.0.0.1:80", "10.0.0.1:80");
            let wanted = [some("10.0.0.9:4000"), some("10.0.0.1:80"), some("10.0.0.1:80"), identity.clone()];
            assert_eq!(told(&hand_over), wanted);
            assert_eq!(hand_over.place("10.0.0.1:80".parse().unwrap()), place.parse().unwrap());
        }
        // By a service's name: what the client wanted is the service's address in this network.
        let by_name = by_tunnel(PROXY, "s.n:80", "10.0.0.1:8080");
        assert_eq!(told(&by_name), [some("10.0.0.9:4000"), some("10.1.0.1:80"), some("s.n:80"), identity]);
        let v6 = by_tunnel(PROXY, "s.n:80", "[fd00::1]:8080");
        assert_eq!(told(&v6)[..2], [some("[::ffff:10.0.0.9]:4000"), some("[fd01::1]:80")]);
        let unknown = by_tunnel(PROXY, "other.n:80", "10.0.0.1:8080");
        assert_eq!(told(&unknown)[1..3], [some("10.0.0.1:8080"), some("other.n:80")]);
    }

    #[test]
    fn plaintext_is_told_without_an_identity_where_preambles_are_taken() {
        let some = |text: &str| Some(text.to_owned());
        for (asked, to) in [(PROXY, "10.0.0.1:80"), (PROXY_AT, "10.0.0.1:15088")] {
            let hand_over = in_plaintext(asked, to);
            assert_eq!(told(&hand_over), [some("10.0.0.9:4000"), some(to), None, None]);
            assert_eq!(hand_over.place(to.parse().unwrap()), to.parse().unwrap());
        }
    }
}
