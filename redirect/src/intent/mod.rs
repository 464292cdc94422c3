//! Intent: which traffic of a pod to capture, and where to send it.

mod error;
mod options;
mod ports;
mod probe_addresses;

use crate::exception::Exception;
use crate::id_range::IdRange;
use crate::inclusion::Inclusion;
use crate::interface::InterfaceName;
use crate::mark::Marks;
use crate::owner::Owner;
use crate::port::Port;
use crate::routing::ReplyRouting;

pub use error::IntentError;
pub use options::{DnsCapture, Families, Guard, HboneSign, Inbound, Method, ProxyIdentity};
pub use ports::{PortRole, Ports};
pub use probe_addresses::{ProbeAddressError, ProbeAddresses};

/// The most virtual interfaces that one pod may have captured: far above any real pod, and few enough that the
/// rules stay one small transaction, since the list often comes from an annotation on the pod.
const MAX_VIRTUAL_INTERFACES: usize = 64;

/// The most exceptions that one pod may have: as many, and for the same reasons.
const MAX_EXCEPTIONS: usize = 64;

/// The most inclusions, likewise.
const MAX_INCLUSIONS: usize = 64;

/// The most owners by which a proxy can be known, likewise.
const MAX_OWNERS: usize = 64;

/// The user and the group as which a sidecar runs in Istio (`PROXY_UID` and `PROXY_GID`).
const SIDECAR: u32 = 1337;

/// Which traffic of a pod to capture, and where to send it. Always valid: an intent that cannot work, or that
/// would let the proxy capture itself, cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    ports: Ports,
    proxy: ProxyIdentity,
    inbound: Inbound,
    inbound_method: Method,
    outbound_method: Method,
    hbone: HboneSign,
    dns: DnsCapture,
    virtual_interfaces: Vec<InterfaceName>,
    families: Families,
    probe_addresses: Option<ProbeAddresses>,
    marks: Marks,
    reply_routing: ReplyRouting,
    guard: Guard,
    exceptions: Vec<Exception>,
    inclusions: Vec<Inclusion>,
}

impl Intent {
    /// What Istio's ambient mode captures in a pod, with Istio's ports, marks and addresses, for both families;
    /// but DNS is left alone until [`with_dns`](Self::with_dns) says where a DNS proxy listens, and what would escape
    /// capture is refused until [`with_guard`](Self::with_guard) says otherwise.
    pub fn ambient() -> Self {
        Self {
            ports: Ports::ISTIO,
            proxy: ProxyIdentity::Mark,
            inbound: Inbound::Captured,
            inbound_method: Method::Redirect,
            outbound_method: Method::Redirect,
            hbone: HboneSign::Port,
            dns: DnsCapture::Off,
            virtual_interfaces: Vec::new(),
            families: Families::V4AndV6,
            probe_addresses: Some(ProbeAddresses::ISTIO),
            marks: Marks::ISTIO,
            reply_routing: ReplyRouting::ISTIO,
            guard: Guard::On,
            exceptions: Vec::new(),
            inclusions: Vec::new(),
        }
    }

    /// What a proxy of the pod's own captures, as in Istio's sidecar mode: it runs in the pod as user or group 1337, delivers to
    /// the application from 127.0.0.6 or ::6, and answers probes for it; all TCP in both directions goes to it.
    pub fn sidecar() -> Self {
        let id = IdRange::single(SIDECAR);
        Self {
            proxy: ProxyIdentity::Owners(vec![Owner::User(id), Owner::Group(id)]),
            probe_addresses: None,
            ..Self::ambient()
        }
    }

    /// With the proxy on these ports.
    ///
    /// # Errors
    /// When one port has two roles.
    pub fn with_ports(self, ports: Ports) -> Result<Self, IntentError> {
        Self { ports, ..self }.checked()
    }

    /// With DNS captured, or not.
    ///
    /// # Errors
    /// When the port already has another role.
    pub fn with_dns(self, dns: DnsCapture) -> Result<Self, IntentError> {
        Self { dns, ..self }.checked()
    }

    /// With the proxy known by this.
    ///
    /// # Errors
    /// When it has no owner or too many.
    pub fn with_proxy(self, proxy: ProxyIdentity) -> Result<Self, IntentError> {
        Self { proxy, ..self }.checked()
    }

    /// With connections to the application captured, or not.
    ///
    /// # Errors
    /// When they are not and some are included.
    pub fn with_inbound(self, inbound: Inbound) -> Result<Self, IntentError> {
        Self { inbound, ..self }.checked()
    }

    /// With connections to the application brought to the proxy in this way.
    #[must_use]
    pub fn with_inbound_method(self, inbound_method: Method) -> Self {
        Self { inbound_method, ..self }
    }

    /// With connections of the application brought to the proxy in this way.
    #[must_use]
    pub fn with_outbound_method(self, outbound_method: Method) -> Self {
        Self { outbound_method, ..self }
    }

    /// With tunnels known by this.
    ///
    /// # Errors
    /// When it is a mark that cannot be told apart from the others.
    pub fn with_hbone(self, hbone: HboneSign) -> Result<Self, IntentError> {
        Self { hbone, ..self }.checked()
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

    /// With the node's probes coming from these addresses; or, with none, nothing excepted for them: then probes are sent to
    /// the proxy, or fail.
    #[must_use]
    pub fn with_probe_addresses(self, probe_addresses: impl Into<Option<ProbeAddresses>>) -> Self {
        Self { probe_addresses: probe_addresses.into(), ..self }
    }

    /// With these marks.
    ///
    /// # Errors
    /// When tunnels are known by a mark that cannot be told apart from them.
    pub fn with_marks(self, marks: Marks) -> Result<Self, IntentError> {
        Self { marks, ..self }.checked()
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

    /// With only this captured: of what the application sends, what goes to an included port or address, if such are named;
    /// and only what an included owner sends, if such are named; of what comes for it, what comes for an included port, if
    /// such are named. Exceptions are excepted from it. One given twice counts once.
    ///
    /// # Errors
    /// When there are too many, or ports at which nothing is captured.
    pub fn with_inclusions(self, inclusions: Vec<Inclusion>) -> Result<Self, IntentError> {
        if inclusions.len() > MAX_INCLUSIONS {
            return Err(IntentError::TooManyInclusions { limit: MAX_INCLUSIONS, actual: inclusions.len() });
        }
        let mut once: Vec<Inclusion> = Vec::new();
        for inclusion in inclusions {
            if !once.contains(&inclusion) {
                once.push(inclusion);
            }
        }
        Self { inclusions: once, ..self }.checked()
    }

    /// What alone is captured, each once; with none, everything.
    pub fn inclusions(&self) -> &[Inclusion] {
        &self.inclusions
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

    /// By what the proxy is known.
    pub fn proxy(&self) -> &ProxyIdentity {
        &self.proxy
    }

    /// How connections to the application are brought to the proxy.
    pub fn inbound_method(&self) -> Method {
        self.inbound_method
    }

    /// How connections of the application are brought to the proxy.
    pub fn outbound_method(&self) -> Method {
        self.outbound_method
    }

    /// By what tunnels are known.
    pub fn hbone(&self) -> HboneSign {
        self.hbone
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

    /// From where the node's probes come, if anything is excepted for them.
    pub fn probe_addresses(&self) -> Option<ProbeAddresses> {
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

    fn checked(self) -> Result<Self, IntentError> {
        self.has_distinct_ports()?;
        let marks = self.marks;
        if let HboneSign::Mark(mark) = self.hbone
            && let Some(other) =
                [marks.proxy(), marks.connection()].into_iter().find(|other| !mark.differs(*other))
        {
            return Err(IntentError::OneMarkTwoMeanings { mark, other });
        }
        if self.inbound == Inbound::Bypassed
            && let Some(inclusion) =
                self.inclusions.iter().find(|inclusion| inclusion.not_received().is_some())
        {
            return Err(IntentError::IncludedButBypassed { inclusion: inclusion.clone() });
        }
        match &self.proxy {
            ProxyIdentity::Owners(owners) if owners.is_empty() => Err(IntentError::ProxyUnknown),
            ProxyIdentity::Owners(owners) if owners.len() > MAX_OWNERS => {
                Err(IntentError::TooManyOwners { limit: MAX_OWNERS, actual: owners.len() })
            }
            ProxyIdentity::Owners(_) | ProxyIdentity::Mark => Ok(self),
        }
    }

    fn has_distinct_ports(&self) -> Result<(), IntentError> {
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
        Ok(())
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
    use crate::mark::Mark;

    #[test]
    fn what_cannot_work_does_not_build() {
        let port = |number| Port::new(number).unwrap().into();
        let at = vec![Inclusion::AtPorts(port(80))];
        let bypassed = Intent::ambient().with_inbound(Inbound::Bypassed).unwrap();
        let inclusion = at[0].clone();
        assert_eq!(bypassed.with_inclusions(at.clone()), Err(IntentError::IncludedButBypassed { inclusion }));
        let included = Intent::ambient().with_inclusions(at).unwrap();
        assert!(included.with_inbound(Inbound::Bypassed).is_err());

        let mark = Mark::new(0x1000, 0x1000).unwrap();
        let signed = Intent::ambient().with_hbone(HboneSign::Mark(mark)).unwrap();
        let others = Marks::new(mark, Mark::new(0x2000, 0xf000).unwrap()).unwrap();
        assert_eq!(signed.with_marks(others), Err(IntentError::OneMarkTwoMeanings { mark, other: mark }));
        let proxys = HboneSign::Mark(Marks::ISTIO.proxy());
        assert!(Intent::ambient().with_hbone(proxys).is_err());

        let nobody = ProxyIdentity::Owners(Vec::new());
        assert_eq!(Intent::sidecar().with_proxy(nobody), Err(IntentError::ProxyUnknown));
        let many = ProxyIdentity::Owners(vec![Owner::User(IdRange::single(1)); 65]);
        assert_eq!(
            Intent::sidecar().with_proxy(many),
            Err(IntentError::TooManyOwners { limit: 64, actual: 65 })
        );
        let many = vec![Inclusion::ToPorts(port(1)); 65];
        assert_eq!(
            Intent::ambient().with_inclusions(many),
            Err(IntentError::TooManyInclusions { limit: 64, actual: 65 })
        );
    }

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
}
