//! Outbound: one connection that an application in the pod opened, top to bottom.

use std::sync::Arc;

use hbone::{ConnectRequest, PoolError, Pooled};

use crate::dial;
use crate::double::{self, Requests};
use crate::error::ConnectionError;
use crate::headers;
use crate::listen::Accepted;
use crate::pod::Core;
use crate::relay;
use crate::report::{Direction, Ongoing, Relayed};
use crate::route::{Route, TunnelRoute, route};
use crate::standings::Standing;

/// Serves one accepted connection and reports it.
pub(crate) async fn serve(core: Arc<Core>, accepted: Accepted) {
    let mut ongoing = Ongoing::begin(Direction::Outbound, &core.pod.name, accepted.client);
    let relayed = forward(&core, accepted, &mut ongoing).await;
    ongoing.end(relayed, core.pod.observer.as_ref());
}

async fn forward(
    core: &Arc<Core>,
    accepted: Accepted,
    ongoing: &mut Ongoing,
) -> Result<Relayed, ConnectionError> {
    let pod = &core.pod;
    let destination = accepted.original_destination(pod.config.ports).ok_or(ConnectionError::NotCaptured)?;
    ongoing.report.destination = Some(destination.socket_addr());
    let snapshot = pod.facts.load();
    let source = snapshot.workload_named(&pod.name).ok_or(ConnectionError::UnknownPod)?;
    let chosen = route(&snapshot, source, pod.config.ports, destination, fastrand::u64(..));
    match chosen.map_err(ConnectionError::NoRoute)? {
        Route::Direct(hop) => {
            let far = dial::plain(pod, hop).await.map_err(ConnectionError::dial)?;
            Ok(relay::direct(accepted.stream, far, &core.cut).await)
        }
        Route::Tunnel(tunnel) => {
            ongoing.report.tunnel = Some(tunnel.hop);
            let request = headers::request(source, accepted.client, &tunnel);
            let far = open(core, tunnel, request).await?;
            through(accepted, far, ongoing).await
        }
        Route::Double(double) => {
            ongoing.report.tunnel = Some(double.outer.hop);
            let outer = headers::request(source, accepted.client, &double.outer);
            let requests = Requests { inner: headers::from_network(source, outer.clone()), outer };
            // In a box: few connections go this way, and all others need not have room for it.
            let opening = Box::pin(double::open(core, double, requests));
            let far = opening.await.map_err(ConnectionError::Double)?;
            through(accepted, far, ongoing).await
        }
    }
}

/// Relays through a tunnel, for as long as its peer is believed.
async fn through(accepted: Accepted, far: Pooled, ongoing: &mut Ongoing) -> Result<Relayed, ConnectionError> {
    let Some(standing) = standing(&far) else { return Err(ConnectionError::Cut) };
    ongoing.report.peer = Some(standing.id().clone());
    let relaying = relay::into_tunnel(accepted.stream, far.into_tunnel(), standing.cut());
    let (moved, outcome) = relaying.await;
    Ok((moved, standing.told(outcome)))
}

/// That of the connection which the tunnel is in; [`dial::secure`] has left it there.
fn standing(far: &Pooled) -> Option<Arc<Standing>> {
    Arc::clone(far.note()?).downcast().ok()
}

/// The tunnel of a route.
async fn open(
    core: &Arc<Core>,
    route: TunnelRoute,
    request: ConnectRequest,
) -> Result<Pooled, ConnectionError> {
    dial::pooled(core, route.into(), request).await.map_err(|error| match error {
        PoolError::Dial { source } => ConnectionError::Dial(source),
        PoolError::Open { source } => ConnectionError::Open(Arc::new(source)),
        exhausted => ConnectionError::Exhausted(exhausted.to_string()),
    })
}
