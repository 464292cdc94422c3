//! Outbound: where a connection from the pod would go.

use super::{Addressee, Connections, Going, Outbound, Party, Refusal, Tunnel, unknown_pod};
use crate::address::OriginalDst;
use crate::config::Ports;
use crate::pod::TunnelKey;
use crate::route::{self, Decision, NoRoute, Route};
use crate::workload::{Gateway, GatewayDestination, Snapshot, Workload};

/// What each worker has for a tunnel.
pub(crate) type Usages<'a> = &'a dyn Fn(&TunnelKey) -> Vec<Connections>;

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
        Route::Direct(hop) => Going { hop: *hop, at, waypoint, tunnel: None },
        Route::Tunnel(tunnel) => {
            let connections = usages(&TunnelKey::from(tunnel.clone()));
            let (target, expected) = (tunnel.target.to_string(), tunnel.expected.clone());
            Going { hop: tunnel.hop, at, waypoint, tunnel: Some(Tunnel { target, expected, connections }) }
        }
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
        NoRoute::NoEndpoint { .. } | NoRoute::UnknownWaypoint(_) | NoRoute::NoAddress(_) => {
            Refusal::lacking(none)
        }
    }
}
