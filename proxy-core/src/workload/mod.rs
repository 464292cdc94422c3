//! Facts about who is in the mesh: workloads, services, and the immutable [`Snapshot`] that holds them.
//!
//! Nothing here decides or performs anything. [`route`](crate::route) and [`policy`](crate::policy) decide on these
//! facts; a source (the YAML [`file`](mod@file), a control plane) makes them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use identity::{ServiceAccount, SpiffeId, TrustDomain};

mod admissions;
mod facts;
#[cfg(feature = "yaml")]
pub mod file;
mod snapshot;

pub(crate) use admissions::Admission;
pub use facts::Facts;
pub(crate) use facts::NotAdmitted;
pub use snapshot::{DuplicateWorkload, Snapshot, SnapshotBuilder};
pub(crate) use snapshot::{Endpoint, endpoint_port};

/// How a workload takes connections from the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Plain TCP: it is not in the mesh.
    Tcp,
    /// HBONE tunnels on its HBONE port.
    Hbone,
}

/// A pod's unique id, chosen by the agent; Kubernetes' pod UID.
pub type Uid = String;

/// The name that a node agent gives to a pod: what its service account and so its identity are derived from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodName {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Service account name.
    pub service_account: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One workload: a pod, or anything else with addresses.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Workload {
    /// Unique in the mesh.
    pub uid: String,
    /// Name, namespace, service account.
    pub name: PodName,
    /// Whose root signs its SVID.
    pub trust_domain: TrustDomain,
    /// The namespace and service account as an identity.
    pub service_account: ServiceAccount,
    /// Its addresses, canonical.
    pub addresses: Vec<IpAddr>,
    /// The network that its addresses have meaning in; `""` is the default one.
    pub network: String,
    /// How it takes connections.
    pub protocol: Protocol,
    /// Whether services may send connections to it.
    pub health: Health,
    /// Where connections to it must go first.
    pub waypoint: Option<Gateway>,
    /// By what it is reached from other networks. Within its own it is never used.
    pub network_gateway: Option<Gateway>,
    /// How what comes to it through the mesh is handed to its application.
    pub application_tunnel: Option<ApplicationTunnel>,
    /// Names (`namespace/name`) of the policies that select it.
    pub policies: Vec<String>,
    /// Labels that travel as baggage, for the peer's telemetry only.
    pub labels: Labels,
    /// Relative share of a service's connections.
    pub capacity: u32,
}

impl Workload {
    /// The SPIFFE ID that the workload proves.
    #[must_use]
    pub fn identity(&self) -> SpiffeId {
        self.service_account.spiffe_id(&self.trust_domain)
    }
}

/// Whether a workload may be chosen as an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// May be chosen.
    Healthy,
    /// Is not chosen for a service; connections to its own address still go to it.
    Unhealthy,
}

/// What the peer's telemetry may be told about a workload.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Labels {
    /// Cluster it runs in.
    pub cluster: String,
    /// Name of its deployment, job, and so on.
    pub workload: String,
    /// Canonical service name.
    pub service: String,
    /// Canonical revision.
    pub revision: String,
}

/// How a workload's application takes what comes through the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplicationTunnel {
    /// What is written before the client's first byte.
    pub preamble: Preamble,
    /// The one port that takes all that comes by tunnels; none: the port that was asked for.
    pub port: Option<NonZeroU16>,
}

/// What an application is told before the first byte of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preamble {
    /// Nothing.
    Nothing,
    /// Who is at the other end, by PROXY protocol, version 2.
    Proxy,
}

/// An address in a network. Networks may overlap, so an IP alone does not name a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetworkAddress {
    /// The network; `""` is the default one.
    pub network: String,
    /// The address, canonical.
    pub address: IpAddr,
}

/// A service by namespace and hostname.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Fully qualified hostname.
    pub hostname: String,
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)
    }
}

/// Where a waypoint or a network's gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gateway {
    /// Its address or name.
    pub destination: GatewayDestination,
    /// Its HBONE port.
    pub hbone_port: u16,
}

/// How a gateway is named.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GatewayDestination {
    /// By address: a workload's or a service's.
    Address(NetworkAddress),
    /// By service.
    Service(ServiceName),
}

/// One service: virtual addresses in front of endpoints.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Service {
    /// Namespace and hostname.
    pub name: ServiceName,
    /// Virtual addresses.
    pub vips: Vec<NetworkAddress>,
    /// Service port to default target port; 0 where each endpoint names its own.
    pub ports: BTreeMap<u16, u16>,
    /// Identities that may serve it besides its endpoints' own.
    pub subject_alt_names: Vec<SpiffeId>,
    /// Where connections to it must go first.
    pub waypoint: Option<Gateway>,
}
