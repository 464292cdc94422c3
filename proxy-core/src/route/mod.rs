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

/// Decides where a connection of `source` to `destination` goes.
///
/// `pick` chooses among a service's endpoints, weighted by capacity: any number, uniformly drawn by the caller.
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
    if ports.contains(destination.port()) && destination.ip().is_loopback() {
        return Err(NoRoute::OwnPort(destination.socket_addr()));
    }
    let network = source.network.as_str();
    if let Some(service) = snapshot.service_at(network, &source.name.namespace, destination.ip()) {
        return to_service(snapshot, source, ports, service, destination, pick);
    }
    match snapshot.workload_at(network, destination.ip()) {
        Some(workload) => to_workload(snapshot, source, ports, workload, destination, pick),
        None => Ok(Route::Direct(HopAddr::new(destination.socket_addr()))),
    }
}

fn to_service(
    snapshot: &Snapshot,
    source: &Workload,
    ports: Ports,
    service: &Service,
    destination: OriginalDst,
    pick: u64,
) -> Result<Route, NoRoute> {
    let hostname = service.name.hostname.clone();
    if let Some(gateway) = &service.waypoint {
        let target = Target::Address(destination.socket_addr());
        let route = through(snapshot, source, gateway, destination.ip(), target, pick)?;
        return Ok(Route::Tunnel(TunnelRoute { service: Some(hostname), ..route }));
    }
    let no_endpoint = || NoRoute::NoEndpoint { service: service.name.clone(), port: destination.port() };
    let chosen = endpoint::choose(snapshot, service, destination.port(), &source.network, pick);
    let (workload, port) = chosen.ok_or_else(no_endpoint)?;
    let address = SocketAddr::new(address_like(workload, destination.ip())?, port);
    Ok(match workload.protocol {
        Protocol::Tcp => Route::Direct(HopAddr::new(address)),
        Protocol::Hbone => Route::Tunnel(TunnelRoute {
            hop: HopAddr::new(SocketAddr::new(address.ip(), ports.hbone)),
            target: Target::Address(address),
            expected: identities(workload, Some(service)),
            service: Some(hostname),
        }),
    })
}

fn to_workload(
    snapshot: &Snapshot,
    source: &Workload,
    ports: Ports,
    workload: &Workload,
    destination: OriginalDst,
    pick: u64,
) -> Result<Route, NoRoute> {
    let address = destination.socket_addr();
    if let Some(gateway) = &workload.waypoint {
        let target = Target::Address(address);
        return through(snapshot, source, gateway, address.ip(), target, pick).map(Route::Tunnel);
    }
    Ok(match workload.protocol {
        Protocol::Tcp => Route::Direct(HopAddr::new(address)),
        Protocol::Hbone => Route::Tunnel(TunnelRoute {
            hop: HopAddr::new(SocketAddr::new(address.ip(), ports.hbone)),
            target: Target::Address(address),
            expected: identities(workload, None),
            service: None,
        }),
    })
}

/// The tunnel to a waypoint, which carries the destination untranslated.
fn through(
    snapshot: &Snapshot,
    source: &Workload,
    gateway: &Gateway,
    like: IpAddr,
    target: Target,
    pick: u64,
) -> Result<TunnelRoute, NoRoute> {
    let unknown = || NoRoute::UnknownWaypoint(gateway.destination.clone());
    let by_service = |service: &Service| {
        let (workload, port) = endpoint::choose(snapshot, service, gateway.hbone_port, &source.network, pick)
            .ok_or_else(unknown)?;
        Ok((SocketAddr::new(address_like(workload, like)?, port), identities(workload, Some(service))))
    };
    let (hop, expected) = match &gateway.destination {
        GatewayDestination::Service(name) => by_service(snapshot.service(name).ok_or_else(unknown)?)?,
        GatewayDestination::Address(NetworkAddress { network, address }) => {
            if let Some(workload) = snapshot.workload_at(network, *address) {
                (SocketAddr::new(*address, gateway.hbone_port), identities(workload, None))
            } else {
                let service = snapshot.service_at(network, &source.name.namespace, *address);
                by_service(service.ok_or_else(unknown)?)?
            }
        }
    };
    Ok(TunnelRoute { hop: HopAddr::new(hop), target, expected, service: None })
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
