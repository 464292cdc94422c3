//! Inclusion: what alone is captured.

use std::fmt;

use crate::family::Family;
use crate::network::Network;
use crate::owner::Owner;
use crate::port_range::PortRange;
use crate::rule::{Match, Test};

/// TCP that is captured when not everything is. The twin of [`Exception`](crate::Exception).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Inclusion {
    /// What the application sends to these ports. Istio: `includeOutboundPorts`.
    ToPorts(PortRange),
    /// What the application sends to these addresses. Istio: `includeOutboundIPRanges`.
    ToNetwork(Network),
    /// What comes for these ports of the application. Istio: `includeInboundPorts`; Linkerd: `ports-to-redirect`.
    AtPorts(PortRange),
    /// What this owner's sockets send. Istio: `includeOutboundOwnerGroups`.
    SentBy(Owner),
}

impl Inclusion {
    /// Whether it is of what the application sends, by to where.
    pub(crate) fn is_sent_to(&self) -> bool {
        self.not_sent_to().is_some()
    }

    /// How a packet that the application sends shows that it goes to elsewhere.
    pub(crate) fn not_sent_to(&self) -> Option<Match> {
        match self {
            Self::ToPorts(ports) => Some(Match::DestinationPort(Test::IsNot(*ports))),
            Self::ToNetwork(network) => Some(Match::Destination(Test::IsNot(*network))),
            Self::AtPorts(_) | Self::SentBy(_) => None,
        }
    }

    /// How a packet that the application sends shows that somebody else sends it.
    pub(crate) fn not_sent_by(&self) -> Option<Match> {
        match self {
            Self::SentBy(owner) => Some(owner.is_not()),
            Self::ToPorts(_) | Self::ToNetwork(_) | Self::AtPorts(_) => None,
        }
    }

    /// How a packet shows that it comes for something else.
    pub(crate) fn not_received(&self) -> Option<Match> {
        match self {
            Self::AtPorts(ports) => Some(Match::DestinationPort(Test::IsNot(*ports))),
            Self::ToPorts(_) | Self::ToNetwork(_) | Self::SentBy(_) => None,
        }
    }

    /// The family of which packets can show it; none if those of both can.
    pub(crate) fn family(&self) -> Option<Family> {
        match self {
            Self::ToNetwork(network) => Some(network.family()),
            Self::ToPorts(_) | Self::AtPorts(_) | Self::SentBy(_) => None,
        }
    }
}

impl fmt::Display for Inclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToPorts(ports) => write!(f, "to port {ports}"),
            Self::ToNetwork(network) => write!(f, "to {network}"),
            Self::AtPorts(ports) => write!(f, "at port {ports}"),
            Self::SentBy(owner) => write!(f, "by {owner}"),
        }
    }
}
