//! Route: where a captured connection goes, from the facts alone.
//!
//! ```text
//!   destination is             and                             it goes
//!   our own port, by loopback                                  nowhere: a loop
//!   a service's address        it has a waypoint               through the waypoint
//!                              no healthy endpoint             nowhere
//!                              an endpoint                     to it, by tunnel or directly, as it takes them
//!   a workload's address       it has a waypoint               through the waypoint
//!                                                              to it, by tunnel or directly, as it takes them
//!   anything else                                              directly: it is outside the mesh
//! ```

use std::net::{IpAddr, SocketAddr};

use hbone::Target;
use identity::SpiffeId;

use crate::address::{HopAddr, OriginalDst};
use crate::config::Ports;
use crate::workload::{
    Gateway, GatewayDestination, NetworkAddress, Protocol, Service, ServiceName, Snapshot, Workload,
};

mod endpoint;
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
    let (route, hop) = match (addressee, addressee.waypoint()) {
        (_, Some(gateway)) => through(snapshot, source, gateway, addressee, destination, pick)?,
        (Addressee::Service(service), None) => {
            to_service(snapshot, source, ports, service, destination, pick)?
        }
        (Addressee::Workload(workload), None) => {
            let address = destination.socket_addr();
            (to_workload(ports, workload, address, None), Some(workload))
        }
        (Addressee::Stranger, None) => (Route::Direct(HopAddr::new(destination.socket_addr())), None),
    };
    Ok(Decision { route, addressee, hop })
}

type Routed<'a> = (Route, Option<&'a Workload>);

fn to_service<'a>(
    snapshot: &'a Snapshot,
    source: &Workload,
    ports: Ports,
    service: &Service,
    destination: OriginalDst,
    pick: u64,
) -> Result<Routed<'a>, NoRoute> {
    let no_endpoint = || NoRoute::NoEndpoint { service: service.name.clone(), port: destination.port() };
    let chosen = endpoint::choose(snapshot, service, destination.port(), &source.network, pick);
    let (workload, port) = chosen.ok_or_else(no_endpoint)?;
    let address = SocketAddr::new(address_like(workload, destination.ip())?, port);
    Ok((to_workload(ports, workload, address, Some(service)), Some(workload)))
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

/// The tunnel to a waypoint, which carries the destination untranslated.
fn through<'a>(
    snapshot: &'a Snapshot,
    source: &Workload,
    gateway: &Gateway,
    addressee: Addressee<'_>,
    destination: OriginalDst,
    pick: u64,
) -> Result<Routed<'a>, NoRoute> {
    let unknown = || NoRoute::UnknownWaypoint(gateway.destination.clone());
    let by_service = |service: &Service| {
        let (workload, port) = endpoint::choose(snapshot, service, gateway.hbone_port, &source.network, pick)
            .ok_or_else(unknown)?;
        let hop = SocketAddr::new(address_like(workload, destination.ip())?, port);
        Ok((hop, identities(workload, Some(service)), workload))
    };
    let (hop, expected, workload) = match &gateway.destination {
        GatewayDestination::Service(name) => by_service(snapshot.service(name).ok_or_else(unknown)?)?,
        GatewayDestination::Address(NetworkAddress { network, address }) => {
            if let Some(workload) = snapshot.workload_at(network, *address) {
                (SocketAddr::new(*address, gateway.hbone_port), identities(workload, None), workload)
            } else {
                let service = snapshot.service_at(network, &source.name.namespace, *address);
                by_service(service.ok_or_else(unknown)?)?
            }
        }
    };
    let service = match addressee {
        Addressee::Service(service) => Some(service.name.hostname.clone()),
        Addressee::Workload(_) | Addressee::Stranger => None,
    };
    let target = Target::Address(destination.socket_addr());
    Ok((Route::Tunnel(TunnelRoute { hop: HopAddr::new(hop), target, expected, service }), Some(workload)))
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
