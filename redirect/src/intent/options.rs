//! Options: what an intent chooses among a few.

use crate::dscp::Dscp;
use crate::family::Family;
use crate::mark::Mark;
use crate::owner::Owner;
use crate::port::Port;

/// Whether what would escape capture is refused.
///
/// Capture by address translation holds only while conntrack knows a connection. With the guard, TCP that is about to leave
/// the pod or to reach its application uncaptured, for whatever reason, is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// It is refused.
    On,
    /// It passes, as with the rules of Istio's ambient mode: for a pod whose proxy does not mark all its sockets.
    Off,
}

/// Whether connections to the application are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inbound {
    /// Plaintext connections go to the proxy.
    Captured,
    /// Plaintext connections go straight to the application, as a gateway that has its own entrance needs.
    /// Tunnels still reach the proxy. Istio: annotation `ambient.istio.io/bypass-inbound-capture`.
    Bypassed,
}

/// Whether the application's DNS queries (port 53, UDP and TCP) are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DnsCapture {
    /// They are treated as any other traffic: UDP is left alone.
    Off,
    /// They go to this port. The UDP listener must be bound to loopback, not to the wildcard: otherwise the
    /// reply carries the pod's address, is not translated back, and the resolver drops it.
    To(Port),
}

/// For which families traffic is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Families {
    /// IPv4 only. **IPv6 is then not captured at all**: for pods that have none.
    V4,
    /// Both. Where IPv6 is off in the pod's namespace this is right as well: see [`Applied`](crate::Applied).
    V4AndV6,
}

impl Families {
    /// The families, in order.
    pub const fn all(self) -> &'static [Family] {
        match self {
            Self::V4 => &[Family::V4],
            Self::V4AndV6 => &[Family::V4, Family::V6],
        }
    }
}

/// How connections are brought to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// By address translation (`REDIRECT`): `SO_ORIGINAL_DST` tells where the connection was meant to go. It holds as long as
    /// conntrack knows the connection, and needs nothing of the listener.
    Redirect,
    /// By giving the packets to the proxy's socket as they are (`TPROXY`): the local address of an accepted connection is where
    /// it was meant to go. It needs no conntrack entry, so nothing is lost when one dies. The listener needs `IP_TRANSPARENT`,
    /// and `SO_REUSEADDR`: its connections are bound to ports of the application, which otherwise cannot bind them.
    Tproxy,
}

/// By what packets of the proxy are known, which capture leaves alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProxyIdentity {
    /// By the mark of its sockets ([`Marks::proxy`](crate::Marks::proxy)): for a proxy that is not in the pod and serves many.
    /// It delivers to the application with the address of the client.
    Mark,
    /// By who owns its sockets: for a proxy that is in the pod. It delivers to the application from 127.0.0.6 or ::6. Whoever
    /// else runs as one of these passes capture as well.
    Owners(Vec<Owner>),
}

/// By what tunnels (HBONE) are known among the connections that come in. Connections to [`Ports::inbound_hbone`] always are.
///
/// [`Ports::inbound_hbone`]: crate::Ports::inbound_hbone
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HboneSign {
    /// By nothing else.
    Port,
    /// Also by their class of service, whatever their port: so that a NetworkPolicy sees the port of the workload.
    Dscp(Dscp),
    /// Also by this mark, which something before the pod's own rules has put on the first packet.
    Mark(Mark),
}
