//! Outbound: where a connection from the pod would go.

use super::{Addressee, Beyond, Connections, Going, Outbound, Party, Refusal, Tunnel, unknown_pod};
use crate::address::OriginalDst;
use crate::config::Ports;
use crate::double::DoubleKey;
use crate::pod::TunnelKey;
use crate::route::{self, Decision, DoubleRoute, NoRoute, Route, TunnelRoute};
use crate::workload::{Gateway, GatewayDestination, Snapshot, Workload};

/// What each worker has for tunnels.
#[derive(Clone, Copy)]
pub(crate) struct Usages<'a> {
    pub(crate) tunnel: &'a dyn Fn(&TunnelKey) -> Vec<Connections>,
    pub(crate) double: &'a dyn Fn(&DoubleKey) -> Vec<Connections>,
}

/// The endpoint of a service that is named among those that may be chosen.
const FIRST: u64 = 0;

pub(super) fn explain(
    snapshot: &Snapshot,
    source: Option<&Workload>,
    ports: Ports,
    destination: OriginalDst,
    usages: Usages<'_>,
) -> Outbound {
    let Some(source) = source else {
        return Outbound { addressee: Addressee::Stranger, going: Err(unknown_pod()) };
    };
    let addressee = route::Addressee::of(snapshot, source, destination.ip());
    let decided = route::decide(snapshot, source, ports, destination, FIRST);
    Outbound {
        addressee: match addressee {
            route::Addressee::Stranger => Addressee::Stranger,
            route::Addressee::Workload(workload) => Addressee::Workload(workload.into()),
            route::Addressee::Service(service) => Addressee::Service(service.name.to_string()),
        },
        going: decided.map(|decision| going(&decision, usages)).map_err(refusal),
    }
}

fn going(decision: &Decision<'_>, usages: Usages<'_>) -> Going {
    let at = decision.hop.map(Party::from);
    let waypoint = decision.addressee.waypoint().map(name);
    match &decision.route {
        Route::Direct(hop) => Going { hop: *hop, at, waypoint, tunnel: None, beyond: None },
        Route::Tunnel(route) => {
            Going { hop: route.hop, at, waypoint, tunnel: Some(tunnel(route, usages)), beyond: None }
        }
        Route::Double(route) => {
            let outer = Some(tunnel(&route.outer, usages));
            let beyond = Some(beyond(route, decision.network_gateway, usages));
            Going { hop: route.outer.hop, at, waypoint, tunnel: outer, beyond }
        }
    }
}

fn tunnel(route: &TunnelRoute, usages: Usages<'_>) -> Tunnel {
    let connections = (usages.tunnel)(&TunnelKey::from(route.clone()));
    Tunnel { target: route.target.to_string(), expected: route.expected.clone(), connections }
}

fn beyond(route: &DoubleRoute, gateway: Option<&Gateway>, usages: Usages<'_>) -> Beyond {
    Beyond {
        network: route.network.clone(),
        gateway: gateway.map(name).unwrap_or_default(),
        expected: route.expected.clone(),
        connections: (usages.double)(&DoubleKey::from(route.clone())),
    }
}

fn name(gateway: &Gateway) -> String {
    match &gateway.destination {
        GatewayDestination::Address(at) if at.network.is_empty() => at.address.to_string(),
        GatewayDestination::Address(at) => format!("{}/{}", at.network, at.address),
        GatewayDestination::Service(service) => service.to_string(),
    }
}

fn refusal(none: NoRoute) -> Refusal {
    match none {
        NoRoute::OwnPort(_) => Refusal::meant(none),
        NoRoute::NoEndpoint { .. }
        | NoRoute::UnknownWaypoint(_)
        | NoRoute::NoAddress(_)
        | NoRoute::NoNetworkGateway { .. }
        | NoRoute::UnknownNetworkGateway(_)
        | NoRoute::NoService { .. }
        | NoRoute::NoHostname(_)
        | NoRoute::NoIdentity(_) => Refusal::lacking(none),
    }
}
