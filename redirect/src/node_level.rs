//! NodeLevel: capture in the node's own namespace, for a proxy behind a pair of links, or in that namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::elements::Elements;
use crate::family::Family;
use crate::intent::{Families, Ports};
use crate::interface::{InterfaceName, InterfaceNameError};
use crate::mark::{Mark, MarkError, Marks};
use crate::plan::Plan;
use crate::routing::{ReplyRouting, ReplyRoutingError};
use crate::set::Set;

/// Capture in the *node's* namespace instead of each pod's: what enrolled pods send, and what comes for them, is routed into a
/// pair of links, at whose other ends the proxy is. The design that Istio's ambient mode had until its version 1.20.
///
/// ```text
///                   +-- marked, by its own table --> outbound link --> proxy
///   pod A -- node --+
///   peer  -- node ----- marked, by its own table --> inbound link ---> proxy
/// ```
///
/// A proxy that lives in the node's namespace itself needs no links ([`NodeLevel::here`]): its sockets take what pods send and what
/// comes for them, by TPROXY.
///
/// For proxies that cannot have sockets in the pods, and for contrast: it sees what the node sees. What a network plugin takes
/// past the node's stack is not captured; Service addresses that the node translates arrive translated; and where the plugin
/// or its policies decide by source or interface, they meet the links. Capture in the pod has none of this.
///
/// What is excepted: the proxy's own packets, as far as they come in by a link; what sockets of the node send, so health
/// probes; and what pods send to the node's own addresses. The proxy keeps the addresses of others, so the kernel must not check
/// sources on the links (`rp_filter` is 0, and `accept_local` 1 where pods' addresses are the node's own).
///
/// Always valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLevel(NodeProxy);

/// Where the proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeProxy {
    /// At the other ends of two links.
    Behind { outbound: Leg, inbound: Leg },
    /// In the node's namespace.
    Here { ports: Ports, marks: Marks, routing: ReplyRouting, families: Families },
}

/// One link to the proxy, and how packets are routed into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The link's end in the node's namespace.
    pub interface: InterfaceName,
    /// The addresses of its other end.
    pub gateways: Gateways,
    /// The mark of packets that take it.
    pub mark: Mark,
    /// The routing table with the way into it, and the priority of the rule that looks it up.
    pub routing: ReplyRouting,
}

/// The addresses of the proxy's end of a link. Without one of IPv6, IPv6 is not captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gateways {
    /// For IPv4.
    pub v4: Ipv4Addr,
    /// For IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// Why two legs are not a [`NodeLevel`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeLevelError {
    /// Both legs are one link, so that the proxy cannot tell directions apart.
    #[error("both directions go by interface {0}")]
    OneLink(InterfaceName),
    /// A leg is the loopback interface, which leads to nobody.
    #[error("the loopback interface leads to no proxy")]
    Loopback,
    /// The marks cannot be told apart.
    #[error("packets of both directions have the mark {0}")]
    OneMark(Mark),
    /// Both directions use one routing table or one priority.
    #[error("both directions use routing table {table} or priority {priority}")]
    OneRouting {
        /// The first leg's table.
        table: u32,
        /// The first leg's priority.
        priority: u32,
    },
    /// One leg has an address of IPv6 and the other has none, so that half of a connection would be captured.
    #[error("only one of the two links has an IPv6 address")]
    HalfIpv6,
    /// A table or priority cannot be used.
    #[error(transparent)]
    Routing(#[from] ReplyRoutingError),
    /// A name cannot be used.
    #[error(transparent)]
    Name(#[from] InterfaceNameError),
    /// A mark cannot be used.
    #[error(transparent)]
    Mark(#[from] MarkError),
}

impl NodeLevel {
    /// By these legs: what pods send, and what comes for them.
    ///
    /// # Errors
    /// When the two cannot work together.
    pub fn new(outbound: Leg, inbound: Leg) -> Result<Self, NodeLevelError> {
        if [&outbound, &inbound].iter().any(|leg| leg.interface == InterfaceName::loopback()) {
            return Err(NodeLevelError::Loopback);
        }
        if outbound.interface == inbound.interface {
            return Err(NodeLevelError::OneLink(outbound.interface));
        }
        if !outbound.mark.differs(inbound.mark) {
            return Err(NodeLevelError::OneMark(inbound.mark));
        }
        let (one, other) = (outbound.routing, inbound.routing);
        if one.table() == other.table() || one.priority() == other.priority() {
            return Err(NodeLevelError::OneRouting { table: one.table(), priority: one.priority() });
        }
        if outbound.gateways.v6.is_some() != inbound.gateways.v6.is_some() {
            return Err(NodeLevelError::HalfIpv6);
        }
        Ok(Self(NodeProxy::Behind { outbound, inbound }))
    }

    /// With a proxy in the node's namespace, which listens on these ports with `IP_TRANSPARENT` and has the proxy's mark on all its
    /// sockets; packets take the other mark, by which this table and rule route them to the node itself.
    ///
    /// Tunnels are told by their port. Where nobody listens, what is captured goes nowhere.
    pub fn here(ports: Ports, marks: Marks, routing: ReplyRouting, families: Families) -> Self {
        Self(NodeProxy::Here { ports, marks, routing, families })
    }

    /// With Istio's names, IPv4 addresses, marks and tables (`cni/pkg/ambient/constants` of its version 1.20): links `istioout` to
    /// 192.168.127.2 and `istioin` to 192.168.126.2. IPv6 where its addresses are given, of both links.
    ///
    /// # Errors
    /// Never; the numbers are checked as anybody's.
    pub fn istio(ipv6: Option<[Ipv6Addr; 2]>) -> Result<Self, NodeLevelError> {
        let leg = |name: &str, v4, v6, bits, table, priority| -> Result<Leg, NodeLevelError> {
            Ok(Leg {
                interface: InterfaceName::new(name)?,
                gateways: Gateways { v4, v6 },
                mark: Mark::new(bits, bits)?,
                routing: ReplyRouting::new(table, priority)?,
            })
        };
        let [out6, in6] = ipv6.map_or([None, None], |[outbound, inbound]| [Some(outbound), Some(inbound)]);
        let outbound = leg("istioout", Ipv4Addr::new(192, 168, 127, 2), out6, 0x100, 101, 101)?;
        let inbound = leg("istioin", Ipv4Addr::new(192, 168, 126, 2), in6, 0x040, 100, 102)?;
        Self::new(outbound, inbound)
    }

    /// The rules and routes, for the node's namespace. Which pods are captured is not part of them: see [`pods`](Self::pods).
    pub fn plan(&self) -> Plan {
        Plan::of_node_level(self)
    }

    /// The elements that name these pods, by their addresses: for [`apply_with`](crate::apply_with) and
    /// [`set_elements`](crate::set_elements). Addresses of a family that is not captured are left out.
    pub fn pods(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Elements {
        Elements::of_addresses(&self.sets(), addresses)
    }

    /// Where the proxy is.
    pub(crate) fn proxy(&self) -> &NodeProxy {
        &self.0
    }

    /// Which families are captured.
    pub(crate) fn families(&self) -> &'static [Family] {
        match &self.0 {
            NodeProxy::Behind { outbound, .. } if outbound.gateways.v6.is_some() => &Family::ALL,
            NodeProxy::Behind { .. } => &[Family::V4],
            NodeProxy::Here { families, .. } => families.all(),
        }
    }

    pub(crate) fn sets(&self) -> Vec<Set> {
        self.families().iter().filter_map(|&family| crate::plan::pods(family)).collect()
    }
}

impl Gateways {
    /// The one of this family.
    pub fn of(self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => Some(self.v4.into()),
            Family::V6 => self.v6.map(IpAddr::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn istio() -> NodeLevel {
        NodeLevel::istio(None).unwrap()
    }

    #[test]
    fn legs_that_cannot_work_together_are_refused() {
        let NodeProxy::Behind { outbound, inbound } = istio().0 else { panic!("it has links") };
        let with = |change: fn(&mut Leg, &Leg)| {
            let mut other = inbound.clone();
            change(&mut other, &outbound);
            NodeLevel::new(outbound.clone(), other)
        };
        assert!(with(|_, _| {}).is_ok());
        let one_link = with(|leg, other| leg.interface = other.interface.clone());
        assert_eq!(one_link, Err(NodeLevelError::OneLink(outbound.interface.clone())));
        let loopback = with(|leg, _| leg.interface = InterfaceName::loopback());
        assert_eq!(loopback, Err(NodeLevelError::Loopback));
        assert_eq!(with(|leg, other| leg.mark = other.mark), Err(NodeLevelError::OneMark(outbound.mark)));
        let one_routing = Err(NodeLevelError::OneRouting { table: 101, priority: 101 });
        assert_eq!(with(|leg, _| leg.routing = ReplyRouting::new(101, 7).unwrap()), one_routing);
        assert_eq!(with(|leg, _| leg.routing = ReplyRouting::new(7, 101).unwrap()), one_routing);
        let half = with(|leg, _| leg.gateways.v6 = Some(Ipv6Addr::LOCALHOST));
        assert_eq!(half, Err(NodeLevelError::HalfIpv6));
    }

    #[test]
    fn only_addresses_of_captured_families_are_elements() {
        let addresses = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(istio().pods(addresses).iter().count(), 1);
        let both = NodeLevel::istio(Some([Ipv6Addr::LOCALHOST; 2])).unwrap();
        assert_eq!(both.pods(addresses).iter().count(), 2);
    }
}
