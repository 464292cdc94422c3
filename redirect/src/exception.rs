//! Exception: traffic that is left alone though capture is on.

use std::fmt;

use crate::family::Family;
use crate::interface::InterfaceName;
use crate::network::Network;
use crate::owner::Owner;
use crate::port_range::PortRange;
use crate::rule::{Match, Test};

/// TCP that is left alone though capture is on: it passes in plaintext, past the proxy, in both directions of its connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Exception {
    /// What the application sends to these ports. Istio: `excludeOutboundPorts`.
    ToPorts(PortRange),
    /// What the application sends to these addresses. Istio: `excludeOutboundIPRanges`.
    ToNetwork(Network),
    /// What comes for these ports of the application. Istio: `excludeInboundPorts`.
    AtPorts(PortRange),
    /// What comes from these addresses. Linkerd: `skip-subnets`.
    FromNetwork(Network),
    /// What this owner's sockets send. Linkerd: `proxy-uid`; Consul: `ExcludeUIDs`.
    SentBy(Owner),
    /// What comes in or goes out by this interface. Istio: `excludeInterfaces`.
    ByInterface(InterfaceName),
}

impl Exception {
    /// How a packet shows it that the application sends.
    pub(crate) fn sent(&self) -> Option<Match> {
        match self {
            Self::ToPorts(ports) => Some(Match::DestinationPort(Test::Is(*ports))),
            Self::ToNetwork(network) => Some(Match::Destination(Test::Is(*network))),
            Self::ByInterface(name) => Some(Match::Outgoing(Test::Is(name.clone()))),
            // Whose it is, is remembered on the connection: see `plan::past`.
            Self::AtPorts(_) | Self::FromNetwork(_) | Self::SentBy(_) => None,
        }
    }

    /// How a packet shows it that comes for the application.
    pub(crate) fn received(&self) -> Option<Match> {
        match self {
            Self::AtPorts(ports) => Some(Match::DestinationPort(Test::Is(*ports))),
            Self::FromNetwork(network) => Some(Match::Source(Test::Is(*network))),
            Self::ByInterface(name) => Some(Match::Incoming(Test::Is(name.clone()))),
            Self::ToPorts(_) | Self::ToNetwork(_) | Self::SentBy(_) => None,
        }
    }

    /// How an answer shows it to what came for the application, unless by what it sends.
    pub(crate) fn answered(&self) -> Option<Match> {
        match self {
            Self::AtPorts(ports) => Some(Match::SourcePort(Test::Is(*ports))),
            Self::FromNetwork(network) => Some(Match::Destination(Test::Is(*network))),
            Self::ToPorts(_) | Self::ToNetwork(_) | Self::SentBy(_) | Self::ByInterface(_) => None,
        }
    }

    /// The family of which packets can show it; none if those of both can.
    pub(crate) fn family(&self) -> Option<Family> {
        match self {
            Self::ToNetwork(network) | Self::FromNetwork(network) => Some(network.family()),
            Self::ToPorts(_) | Self::AtPorts(_) | Self::SentBy(_) | Self::ByInterface(_) => None,
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToPorts(ports) => write!(f, "to port {ports}"),
            Self::ToNetwork(network) => write!(f, "to {network}"),
            Self::AtPorts(ports) => write!(f, "at port {ports}"),
            Self::FromNetwork(network) => write!(f, "from {network}"),
            Self::SentBy(owner) => write!(f, "by {owner}"),
            Self::ByInterface(name) => write!(f, "by interface {name}"),
        }
    }
}
