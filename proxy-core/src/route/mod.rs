//! Route: where a captured connection goes, from the facts alone.
//!
//! ```text
//!   destination is             and                             it goes
//!   our own port, by loopback                                  nowhere: a loop
//!   a service's address        it has a waypoint               through the waypoint
//!                              one in another network          to that network's gateway, and in that tunnel to it
//!                              no healthy endpoint             nowhere
//!                              an endpoint                     to it, by tunnel or directly, as it takes them
//!                              one in another network          to that network's gateway, and in that tunnel to it
//!   a workload's address       it has a waypoint               through the waypoint
//!                                                              to it, by tunnel or directly, as it takes them
//!   anything else                                              directly: it is outside the mesh
//! ```

use std::net::{IpAddr, SocketAddr};

use hbone::Target;
use identity::SpiffeId;

use crate::address::{HopAddr, OriginalDst};
use crate::config::Ports;
use crate::workload::{Gateway, GatewayDestination, Protocol, Service, ServiceName, Snapshot, Workload};
use across::Far;

mod across;
mod endpoint;
mod gateway;
#[cfg(test)]
mod tests;

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// Plain TCP to this address.
    Direct(HopAddr),
    /// An HBONE tunnel.
    Tunnel(TunnelRoute),
    /// An HBONE tunnel in another, to another network.
    Double(DoubleRoute),
}

/// A tunnel to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunnelRoute {
    /// Where the tunnel's connection goes.
    pub hop: HopAddr,
    /// What the CONNECT asks for.
    pub target: Target,
    /// Exactly the identities of which the hop must prove one; never empty.
    pub expected: Vec<SpiffeId>,
    /// The service that was addressed, for the `forwarded` header.
    pub service: Option<String>,
}

/// Two tunnels to be opened, one in the other, both for the same target.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DoubleRoute {
    /// The one to the gateway.
    pub outer: TunnelRoute,
    /// Exactly the identities of which the far end must prove one; never empty, and the gateway's is none of them unless the
    /// service says so.
    pub expected: Vec<SpiffeId>,
    /// The network that the far end is in.
    pub network: String,
}

/// A route, and by what it was decided.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Decision<'a> {
    /// The route.
    pub route: Route,
    /// Whose address the destination is.
    pub addressee: Addressee<'a>,
    /// Who is at the hop, as far as facts tell.
    pub hop: Option<&'a Workload>,
    /// The gateway that leads to another network, as the facts name it.
    pub network_gateway: Option<&'a Gateway>,
}

/// Whose address a destination is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Addressee<'a> {
    /// A service's.
    Service(&'a Service),
    /// A workload's.
    Workload(&'a Workload),
    /// Nobody's in the mesh.
    Stranger,
}

impl<'a> Addressee<'a> {
    /// Who has `address`, seen from `source`.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot, source: &Workload, address: IpAddr) -> Self {
        let network = source.network.as_str();
        let service = || snapshot.service_at(network, &source.name.namespace, address);
        let workload = || snapshot.workload_at(network, address);
        let found = service().map(|service| Self::Service(service));
        found.or_else(|| workload().map(|workload| Self::Workload(workload))).unwrap_or(Self::Stranger)
    }

    /// Where connections to it must go first.
    #[must_use]
    pub fn waypoint(self) -> Option<&'a Gateway> {
        match self {
            Self::Service(service) => service.waypoint.as_ref(),
            Self::Workload(workload) => workload.waypoint.as_ref(),
            Self::Stranger => None,
        }
    }
}

/// Why there is no route. The connection fails; it never falls back to plain TCP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRoute {
    /// The destination is one of the proxy's own ports.
    #[error("{0} is the proxy's own port")]
    OwnPort(SocketAddr),
    /// The service has no healthy endpoint for the port.
    #[error("service {service} has no healthy endpoint for port {port}")]
    NoEndpoint {
        /// The service.
        service: ServiceName,
        /// The service's port.
        port: u16,
    },
    /// The waypoint that traffic must pass is not known.
    #[error("waypoint {0:?} is not known")]
    UnknownWaypoint(GatewayDestination),
    /// The endpoint has no address of the needed kind.
    #[error("workload {0} has no address")]
    NoAddress(String),
    /// The destination is in another network that no gateway leads to.
    #[error("no gateway leads to workload {workload} in network {network:?}")]
    NoNetworkGateway {
        /// The workload's uid.
        workload: String,
        /// Its network.
        network: String,
    },
    /// The gateway of another network is not known.
    #[error("network gateway {0:?} is not known")]
    UnknownNetworkGateway(GatewayDestination),
    /// What is in another network was not addressed by a service, which is all that both networks know.
    #[error("workload {workload} in network {network:?} is not reached by its address")]
    NoService {
        /// The workload's uid.
        workload: String,
        /// Its network.
        network: String,
    },
    /// The service's hostname is none, so that no gateway can be asked for it.
    #[error("service {0} has a hostname that cannot be asked for")]
    NoHostname(ServiceName),
    /// Nobody has said whom to expect behind the gateway.
    #[error("service {0} names no identity to expect in another network")]
    NoIdentity(ServiceName),
}

impl NoRoute {
    fn no_gateway(far: &Workload) -> Self {
        Self::NoNetworkGateway { workload: far.uid.clone(), network: far.network.clone() }
    }

    fn no_service(far: &Workload) -> Self {
        Self::NoService { workload: far.uid.clone(), network: far.network.clone() }
    }
}

/// Where a connection of `source` to `destination` goes: [`decide`], without the reasons.
///
/// # Errors
/// [`NoRoute`] when it may go nowhere.
pub fn route(
    snapshot: &Snapshot,
    source: &Workload,
    ports: Ports,
    destination: OriginalDst,
    pick: u64,
) -> Result<Route, NoRoute> {
    decide(snapshot, source, ports, destination, pick).map(|decision| decision.route)
}

/// Decides where a connection of `source` to `destination` goes, and says by what.
///
/// `pick` chooses among a service's endpoints, weighted by capacity: any number, uniformly drawn by the caller.
///
/// # Errors
/// [`NoRoute`] when it may go nowhere.
pub fn decide<'a>(
    snapshot: &'a Snapshot,
    source: &Workload,
    ports: Ports,
    destination: OriginalDst,
    pick: u64,
) -> Result<Decision<'a>, NoRoute> {
    if ports.contains(destination.port()) && destination.ip().is_loopback() {
        return Err(NoRoute::OwnPort(destination.socket_addr()));
    }
    let addressee = Addressee::of(snapshot, source, destination.ip());
    let Routed { route, hop, network_gateway } = match (addressee, addressee.waypoint()) {
        (_, Some(gateway)) => through(snapshot, source, gateway, addressee, destination, pick)?,
        (Addressee::Service(service), None) => {
            to_service(snapshot, source, ports, service, destination, pick)?
        }
        (Addressee::Workload(workload), None) => {
            let address = destination.socket_addr();
            Routed::to(to_workload(ports, workload, address, None), Some(workload))
        }
        (Addressee::Stranger, None) => {
            Routed::to(Route::Direct(HopAddr::new(destination.socket_addr())), None)
        }
    };
    Ok(Decision { route, addressee, hop, network_gateway })
}

/// A route, who is at its hop, and what leads out of the network.
struct Routed<'a> {
    route: Route,
    hop: Option<&'a Workload>,
    network_gateway: Option<&'a Gateway>,
}

impl<'a> Routed<'a> {
    /// Within the network.
    fn to(route: Route, hop: Option<&'a Workload>) -> Self {
        Self { route, hop, network_gateway: None }
    }
}

fn to_service<'a>(
    snapshot: &'a Snapshot,
    source: &Workload,
    ports: Ports,
    service: &'a Service,
    destination: OriginalDst,
    pick: u64,
) -> Result<Routed<'a>, NoRoute> {
    let no_endpoint = || NoRoute::NoEndpoint { service: service.name.clone(), port: destination.port() };
    let usable = |workload: &Workload| across::is_reachable(workload, source);
    let chosen = endpoint::choose(snapshot, service, destination.port(), usable, pick);
    let (workload, port) =
        chosen.ok_or_else(|| across::lacks_gateway(snapshot, source, service).unwrap_or_else(no_endpoint))?;
    if workload.network != source.network {
        let far = Far { workload, service: Some(service) };
        return across::route(snapshot, source, service, far, destination, pick);
    }
    let address = SocketAddr::new(address_like(workload, destination.ip())?, port);
    Ok(Routed::to(to_workload(ports, workload, address, Some(service)), Some(workload)))
}

/// To `address` of a workload, which may be behind a service.
fn to_workload(ports: Ports, workload: &Workload, address: SocketAddr, service: Option<&Service>) -> Route {
    match workload.protocol {
        Protocol::Tcp => Route::Direct(HopAddr::new(address)),
        Protocol::Hbone => Route::Tunnel(TunnelRoute {
            hop: HopAddr::new(SocketAddr::new(address.ip(), ports.hbone)),
            target: Target::Address(address),
            expected: identities(workload, service),
            service: service.map(|service| service.name.hostname.clone()),
        }),
    }
}

/// The tunnel to a waypoint, which carries the destination untranslated within a network.
fn through<'a>(
    snapshot: &'a Snapshot,
    source: &Workload,
    waypoint: &Gateway,
    addressee: Addressee<'_>,
    destination: OriginalDst,
    pick: u64,
) -> Result<Routed<'a>, NoRoute> {
    let usable = |workload: &Workload| across::is_reachable(workload, source);
    let found = gateway::find(snapshot, source, waypoint, usable, pick);
    let found = found.ok_or_else(|| NoRoute::UnknownWaypoint(waypoint.destination.clone()))?;
    let service = match addressee {
        Addressee::Service(service) => Some(service),
        Addressee::Workload(_) | Addressee::Stranger => None,
    };
    if found.workload.network != source.network {
        let service = service.ok_or_else(|| NoRoute::no_service(found.workload))?;
        let far = Far { workload: found.workload, service: found.service };
        return across::route(snapshot, source, service, far, destination, pick);
    }
    let tunnel = TunnelRoute {
        hop: found.hop(destination.ip())?,
        target: Target::Address(destination.socket_addr()),
        expected: found.identities(),
        service: service.map(|service| service.name.hostname.clone()),
    };
    Ok(Routed::to(Route::Tunnel(tunnel), Some(found.workload)))
}

/// The workload's own identity, and those that a service names besides.
fn identities(workload: &Workload, service: Option<&Service>) -> Vec<SpiffeId> {
    let mut expected = vec![workload.identity()];
    expected.extend(service.into_iter().flat_map(|service| service.subject_alt_names.iter().cloned()));
    expected
}

/// The workload's address of the family that the client used, else any.
fn address_like(workload: &Workload, like: IpAddr) -> Result<IpAddr, NoRoute> {
    let same_family = workload.addresses.iter().find(|address| address.is_ipv4() == like.is_ipv4());
    let any = same_family.or_else(|| workload.addresses.first());
    any.copied().ok_or_else(|| NoRoute::NoAddress(workload.uid.clone()))
}
