//! Across: the way to another network, whose addresses mean nothing here. A tunnel to that network's gateway, and in it one
//! to whom the gateway finds there. Only services have names that both networks know.

use hbone::{HostName, Target};

use super::gateway::{self, Found};
use super::{DoubleRoute, NoRoute, Route, Routed, TunnelRoute};
use crate::address::OriginalDst;
use crate::workload::{Gateway, Service, Snapshot, Workload};

/// Whether `workload` can be reached from `source`: in its own network by an address, in another through a gateway.
pub(super) fn is_reachable(workload: &Workload, source: &Workload) -> bool {
    if workload.network == source.network {
        has_address(workload)
    } else {
        workload.network_gateway.is_some()
    }
}

fn has_address(workload: &Workload) -> bool {
    !workload.addresses.is_empty()
}

/// Who in another network is to take a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Far<'a> {
    /// One of those who may. Which of them gets it, the gateway decides.
    pub(super) workload: &'a Workload,
    /// The service whose names they prove.
    pub(super) service: Option<&'a Service>,
}

/// The way to `far`, for a connection to `service`.
pub(super) fn route<'a>(
    snapshot: &'a Snapshot,
    source: &Workload,
    service: &Service,
    far: Far<'a>,
    destination: OriginalDst,
    pick: u64,
) -> Result<Routed<'a>, NoRoute> {
    let host: Result<HostName, _> = service.name.hostname.parse();
    let host = host.map_err(|_| NoRoute::NoHostname(service.name.clone()))?;
    let gateway = far.workload.network_gateway.as_ref();
    let gateway = gateway.ok_or_else(|| NoRoute::no_gateway(far.workload))?;
    let found = at(snapshot, source, gateway, pick)?;
    // Not the workload's own: whom the gateway chooses is another than the one that was chosen here.
    let expected = far.service.map(|service| service.subject_alt_names.clone()).unwrap_or_default();
    if expected.is_empty() {
        return Err(NoRoute::NoIdentity(far.service.unwrap_or(service).name.clone()));
    }
    let outer = TunnelRoute {
        hop: found.hop(destination.ip())?,
        target: Target::Host { host, port: destination.port() },
        expected: found.identities(),
        service: Some(service.name.hostname.clone()),
    };
    let network = far.workload.network.clone();
    Ok(Routed {
        route: Route::Double(DoubleRoute { outer, expected, network }),
        hop: Some(found.workload),
        network_gateway: Some(gateway),
    })
}

/// Who is at a network's gateway.
fn at<'a>(
    snapshot: &'a Snapshot,
    source: &Workload,
    gateway: &Gateway,
    pick: u64,
) -> Result<Found<'a>, NoRoute> {
    // Gateways are in any network, and have addresses that are dialled from here. Drawn by other bits than the far end was.
    let found = gateway::find(snapshot, source, gateway, has_address, pick.rotate_left(u64::BITS / 2));
    found.ok_or_else(|| NoRoute::UnknownNetworkGateway(gateway.destination.clone()))
}

/// Why a service has no endpoint, if that is for want of a gateway.
pub(super) fn lacks_gateway(snapshot: &Snapshot, source: &Workload, service: &Service) -> Option<NoRoute> {
    let endpoints = snapshot.endpoints(&service.name).iter().map(|endpoint| &endpoint.workload);
    let mut far = endpoints.filter(|workload| workload.network != source.network);
    far.find(|workload| workload.network_gateway.is_none()).map(|workload| NoRoute::no_gateway(workload))
}
