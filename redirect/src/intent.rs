//! Intent: which traffic of a pod to capture, and where to send it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::exception::Exception;
use crate::family::Family;
use crate::interface::InterfaceName;
use crate::mark::Marks;
use crate::port::Port;
use crate::routing::ReplyRouting;

/// The most virtual interfaces that one pod may have captured: far above any real pod, and few enough that the
/// rules stay one small transaction, since the list often comes from an annotation on the pod.
const MAX_VIRTUAL_INTERFACES: usize = 64;

/// The most exceptions that one pod may have: as many, and for the same reasons.
const MAX_EXCEPTIONS: usize = 64;

/// Which traffic of a pod to capture, and where to send it. Always valid: an intent that cannot work, or that
/// would let the proxy capture itself, cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    ports: Ports,
    inbound: Inbound,
    dns: DnsCapture,
    virtual_interfaces: Vec<InterfaceName>,
    families: Families,
    probe_addresses: ProbeAddresses,
    marks: Marks,
    reply_routing: ReplyRouting,
    guard: Guard,
    exceptions: Vec<Exception>,
}

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

/// The ports on which the proxy listens in the pod. Its listeners are on the wildcard address: a redirected
/// connection arrives at loopback (out) or at the pod's own address (in).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Takes what the application sends, `SO_ORIGINAL_DST` tells to where.
    pub outbound: Port,
    /// Takes what arrives for the application outside any tunnel.
    pub inbound_plaintext: Port,
    /// Takes tunnels (HBONE). Peers connect to it themselves: it is excepted from capture, not redirected to.
    pub inbound_hbone: Port,
}

impl Ports {
    /// Istio's: 15001, 15006, 15008.
    pub const ISTIO: Self = Self {
        outbound: Port::literal(15001),
        inbound_plaintext: Port::literal(15006),
        inbound_hbone: Port::literal(15008),
    };
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

/// The addresses from which the node's health probes come (the node translates the source of each probe to
/// them, so that rules in the pod can know it). Always valid: neither unspecified, loopback nor multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeAddresses {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

/// An address from which no probe can come: unspecified, loopback or multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no probe can come from {0}")]
#[non_exhaustive]
pub struct ProbeAddressError(pub IpAddr);

impl ProbeAddresses {
    /// Istio's: 169.254.7.127 and fd16:9254:7127:1337:ffff:ffff:ffff:ffff (`HOST_PROBE_SNAT_IP` and
    /// `HOST_PROBE_SNAT_IPV6`).
    pub const ISTIO: Self = Self {
        v4: Ipv4Addr::new(169, 254, 7, 127),
        v6: Ipv6Addr::new(0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff),
    };

    /// These addresses.
    ///
    /// # Errors
    /// When no probe can come from one of them.
    pub const fn new(v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Self, ProbeAddressError> {
        if v4.is_unspecified() || v4.is_loopback() || v4.is_multicast() || v4.is_broadcast() {
            return Err(ProbeAddressError(IpAddr::V4(v4)));
        }
        if v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() {
            return Err(ProbeAddressError(IpAddr::V6(v6)));
        }
        Ok(Self { v4, v6 })
    }

    /// The address of this family.
    pub const fn of(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }
}

/// Why an [`Intent`] cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntentError {
    /// One port has two roles, so the proxy could not tell what it accepts there.
    #[error("port {port} cannot be both {first} and {second}")]
    OnePortTwoRoles {
        /// The port.
        port: Port,
        /// What it already is.
        first: PortRole,
        /// What it should also become.
        second: PortRole,
    },
    /// The loopback interface is named as a virtual one: the proxy's own connections to the application, which
    /// come in by it, would be captured as the application's.
    #[error("the loopback interface cannot be captured as a virtual one")]
    LoopbackIsVirtual,
    /// The loopback interface is excepted: redirected connections go by it, so that answers to them would count as excepted.
    #[error("the loopback interface cannot be excepted: captured connections go by it")]
    LoopbackIsExcepted,
    /// More exceptions are named than one pod may have.
    #[error("at most {limit} exceptions can be made, not {actual}")]
    TooManyExceptions {
        /// The most that are taken.
        limit: usize,
        /// How many were named.
        actual: usize,
    },
    /// More virtual interfaces are named than one pod may have.
    #[error("at most {limit} virtual interfaces can be captured, not {actual}")]
    TooManyInterfaces {
        /// The most that are taken.
        limit: usize,
        /// How many were named.
        actual: usize,
    },
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PortRole {
    /// [`Ports::outbound`].
    Outbound,
    /// [`Ports::inbound_plaintext`].
    InboundPlaintext,
    /// [`Ports::inbound_hbone`].
    InboundHbone,
    /// [`DnsCapture::To`].
    Dns,
}

impl fmt::Display for PortRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outbound => "the outbound port",
            Self::InboundPlaintext => "the inbound plaintext port",
            Self::InboundHbone => "the inbound HBONE port",
            Self::Dns => "the DNS port",
        })
    }
}

impl Intent {
    /// What Istio's ambient mode captures in a pod, with Istio's ports, marks and addresses, for both families;
    /// but DNS is left alone until [`with_dns`](Self::with_dns) says where a DNS proxy listens, and what would escape
    /// capture is refused until [`with_guard`](Self::with_guard) says otherwise.
    pub fn ambient() -> Self {
        Self {
            ports: Ports::ISTIO,
            inbound: Inbound::Captured,
            dns: DnsCapture::Off,
            virtual_interfaces: Vec::new(),
            families: Families::V4AndV6,
            probe_addresses: ProbeAddresses::ISTIO,
            marks: Marks::ISTIO,
            reply_routing: ReplyRouting::ISTIO,
            guard: Guard::On,
            exceptions: Vec::new(),
        }
    }

    /// With the proxy on these ports.
    ///
    /// # Errors
    /// When one port has two roles.
    pub fn with_ports(self, ports: Ports) -> Result<Self, IntentError> {
        Self { ports, ..self }.with_distinct_ports()
    }

    /// With DNS captured, or not.
    ///
    /// # Errors
    /// When the port already has another role.
    pub fn with_dns(self, dns: DnsCapture) -> Result<Self, IntentError> {
        Self { dns, ..self }.with_distinct_ports()
    }

    /// With connections to the application captured, or not.
    #[must_use]
    pub fn with_inbound(self, inbound: Inbound) -> Self {
        Self { inbound, ..self }
    }

    /// With all TCP that comes in by these interfaces treated as what the application sends: behind each is a
    /// virtual machine (KubeVirt) or a nested container. Istio: annotation `istio.io/reroute-virtual-interfaces`.
    /// A name given twice counts once.
    ///
    /// # Errors
    /// When one of them is `lo`, or when there are too many.
    pub fn with_virtual_interfaces(self, interfaces: Vec<InterfaceName>) -> Result<Self, IntentError> {
        let mut virtual_interfaces: Vec<InterfaceName> = Vec::new();
        if interfaces.len() > MAX_VIRTUAL_INTERFACES {
            let actual = interfaces.len();
            return Err(IntentError::TooManyInterfaces { limit: MAX_VIRTUAL_INTERFACES, actual });
        }
        for interface in interfaces {
            if interface == InterfaceName::loopback() {
                return Err(IntentError::LoopbackIsVirtual);
            }
            if !virtual_interfaces.contains(&interface) {
                virtual_interfaces.push(interface);
            }
        }
        Ok(Self { virtual_interfaces, ..self })
    }

    /// With these families captured.
    #[must_use]
    pub fn with_families(self, families: Families) -> Self {
        Self { families, ..self }
    }

    /// With the node's probes coming from these addresses.
    #[must_use]
    pub fn with_probe_addresses(self, probe_addresses: ProbeAddresses) -> Self {
        Self { probe_addresses, ..self }
    }

    /// With these marks.
    #[must_use]
    pub fn with_marks(self, marks: Marks) -> Self {
        Self { marks, ..self }
    }

    /// With replies routed to the proxy by this table and rule.
    #[must_use]
    pub fn with_reply_routing(self, reply_routing: ReplyRouting) -> Self {
        Self { reply_routing, ..self }
    }

    /// With what would escape capture refused, or not.
    #[must_use]
    pub fn with_guard(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// With these exceptions from capture. One given twice counts once.
    ///
    /// # Errors
    /// When one of them is the loopback interface, or when there are too many.
    pub fn with_exceptions(self, exceptions: Vec<Exception>) -> Result<Self, IntentError> {
        if exceptions.len() > MAX_EXCEPTIONS {
            return Err(IntentError::TooManyExceptions { limit: MAX_EXCEPTIONS, actual: exceptions.len() });
        }
        let mut once: Vec<Exception> = Vec::new();
        for exception in exceptions {
            if exception == Exception::ByInterface(InterfaceName::loopback()) {
                return Err(IntentError::LoopbackIsExcepted);
            }
            if !once.contains(&exception) {
                once.push(exception);
            }
        }
        Ok(Self { exceptions: once, ..self })
    }

    /// What is left alone, each once.
    pub fn exceptions(&self) -> &[Exception] {
        &self.exceptions
    }

    /// Whether what would escape capture is refused.
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// The proxy's ports.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Whether connections to the application are captured.
    pub fn inbound(&self) -> Inbound {
        self.inbound
    }

    /// Whether DNS queries are captured.
    pub fn dns(&self) -> DnsCapture {
        self.dns
    }

    /// The interfaces whose incoming traffic counts as the application's, each once.
    pub fn virtual_interfaces(&self) -> &[InterfaceName] {
        &self.virtual_interfaces
    }

    /// The families captured.
    pub fn families(&self) -> Families {
        self.families
    }

    /// From where the node's probes come.
    pub fn probe_addresses(&self) -> ProbeAddresses {
        self.probe_addresses
    }

    /// The marks.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// The table and rule that route replies to the proxy.
    pub fn reply_routing(&self) -> ReplyRouting {
        self.reply_routing
    }

    fn with_distinct_ports(self) -> Result<Self, IntentError> {
        let mut taken: Vec<(Port, PortRole)> = vec![
            (self.ports.outbound, PortRole::Outbound),
            (self.ports.inbound_plaintext, PortRole::InboundPlaintext),
            (self.ports.inbound_hbone, PortRole::InboundHbone),
        ];
        if let DnsCapture::To(port) = self.dns {
            taken.push((port, PortRole::Dns));
        }
        for (index, &(port, second)) in taken.iter().enumerate() {
            if let Some(&(_, first)) = taken.iter().take(index).find(|&&(earlier, _)| earlier == port) {
                return Err(IntentError::OnePortTwoRoles { port, first, second });
            }
        }
        Ok(self)
    }
}

impl Default for Intent {
    /// [`Intent::ambient`].
    fn default() -> Self {
        Self::ambient()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    #[test]
    fn one_port_has_one_role() {
        let same = Ports { outbound: port(15006), ..Ports::ISTIO };
        assert_eq!(
            Intent::ambient().with_ports(same),
            Err(IntentError::OnePortTwoRoles {
                port: port(15006),
                first: PortRole::Outbound,
                second: PortRole::InboundPlaintext
            })
        );
        let dns = Intent::ambient().with_dns(DnsCapture::To(port(15053))).unwrap();
        assert!(dns.clone().with_dns(DnsCapture::To(port(15001))).is_err());
        assert!(dns.with_ports(Ports { inbound_hbone: port(15053), ..Ports::ISTIO }).is_err());
    }

    #[test]
    fn virtual_interfaces_count_once_are_bounded_and_never_lo() {
        let names = |names: &[&str]| names.iter().map(|name| InterfaceName::new(*name).unwrap()).collect();
        let twice = Intent::ambient().with_virtual_interfaces(names(&["b", "a", "b"])).unwrap();
        assert_eq!(twice.virtual_interfaces(), &names(&["b", "a"]) as &Vec<_>);
        assert_eq!(
            Intent::ambient().with_virtual_interfaces(names(&["a", "lo"])),
            Err(IntentError::LoopbackIsVirtual)
        );
        assert_eq!(
            Intent::ambient().with_virtual_interfaces(names(&["a"; 65])),
            Err(IntentError::TooManyInterfaces { limit: 64, actual: 65 })
        );
    }

    #[test]
    fn exceptions_count_once_are_bounded_and_never_lo() {
        let by = |name| Exception::ByInterface(InterfaceName::new(name).unwrap());
        let twice = Intent::ambient().with_exceptions(vec![by("eth1"), by("eth2"), by("eth1")]).unwrap();
        assert_eq!(twice.exceptions(), [by("eth1"), by("eth2")]);
        assert_eq!(Intent::ambient().with_exceptions(vec![by("lo")]), Err(IntentError::LoopbackIsExcepted));
        assert_eq!(
            Intent::ambient().with_exceptions(vec![by("eth1"); 65]),
            Err(IntentError::TooManyExceptions { limit: 64, actual: 65 })
        );
    }

    #[test]
    fn no_probe_comes_from_loopback_or_everywhere() {
        let v6 = "fd00::1".parse().unwrap();
        assert!(ProbeAddresses::new(Ipv4Addr::new(169, 254, 7, 127), v6).is_ok());
        assert!(ProbeAddresses::new(Ipv4Addr::UNSPECIFIED, v6).is_err());
        assert!(ProbeAddresses::new(Ipv4Addr::LOCALHOST, v6).is_err());
        assert!(ProbeAddresses::new(Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::LOCALHOST).is_err());
    }
}
