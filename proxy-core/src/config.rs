//! The numbers that the data path runs by; each stated once, with its reason.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Ports that the proxy listens on inside each pod. Defaults are Istio's, which rules of other agents point at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ports {
    /// Captured connections that the pod's applications open (15001).
    pub outbound: u16,
    /// Captured plaintext connections to the pod (15006).
    pub plaintext: u16,
    /// HBONE tunnels to the pod (15008); also the port dialled on peers, since a mesh has one.
    pub hbone: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { outbound: 15001, plaintext: 15006, hbone: 15008 }
    }
}

impl Ports {
    /// Whether `port` is one of ours. A captured connection to it is a loop or an attempt to reach the proxy, never
    /// an application.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        [self.outbound, self.plaintext, self.hbone].contains(&port)
    }
}

/// Settings of the data path. [`Config::default`] is wire- and rule-compatible with Istio's ambient mode.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Listening ports inside each pod.
    pub ports: Ports,
    /// `SO_MARK` of every socket that the proxy makes in a pod; the redirection rules let it pass (0x539, Istio's).
    pub mark: u32,
    /// Longest wait for a TCP connection to be established (10 s, ztunnel's).
    pub connect_timeout: Duration,
    /// Longest TLS and HTTP/2 handshake, on both sides. Bounds what a silent peer holds (10 s, s2n's default).
    pub handshake_timeout: Duration,
    /// Life of the SVIDs that an embedded CA is to issue; renewed at about half of it (1 h).
    pub svid_lifetime: Duration,
    /// Bytes of TLS records that may wait for a slow socket (512 KiB: two frames, so that one is written while the next is made).
    pub tls_buffer: usize,
    /// Bytes that may wait, unsent, in the socket of a tunnel's connection (128 KiB, `TCP_NOTSENT_LOWAT` in tcp(7)). What waits
    /// in the socket can no longer be shared among streams; less of it also measured a tenth cheaper in bulk.
    pub unsent: u32,
    /// HTTP/2 settings of tunnels.
    pub hbone: hbone::Config,
    /// CONNECT streams that one connection to a peer carries before a second is opened (100, ztunnel's).
    pub streams_per_connection: usize,
    /// How long a connection to a peer is kept without a stream (5 min, ztunnel's).
    pub idle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ports: Ports::default(),
            mark: 0x539,
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            svid_lifetime: Duration::from_secs(3600),
            tls_buffer: 512 * 1024,
            unsent: 128 * 1024,
            hbone: hbone::Config::default(),
            streams_per_connection: 100,
            idle_timeout: Duration::from_secs(300),
        }
    }
}

/// Where a pod's listener binds: the dual-stack wildcard where the pod has IPv6, else the IPv4 one. The wildcard is
/// needed: `REDIRECT` rewrites to loopback on the way out and to the interface's address on the way in.
#[must_use]
pub(crate) fn wildcard(ipv6: Ipv6, port: u16) -> SocketAddr {
    match ipv6 {
        Ipv6::Present => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
        Ipv6::Absent => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
    }
}

/// Whether a pod's namespace can bind IPv6 sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ipv6 {
    Present,
    Absent,
}
