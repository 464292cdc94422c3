//! Passthrough: one plaintext connection to the pod, top to bottom. The same as a tunnel, without an identity; refusing
//! is closing.

use std::sync::Arc;

use crate::address::{LocalAddr, OriginalDst};
use crate::config::Ports;
use crate::dial;
use crate::error::ConnectionError;
use crate::hand_over::HandOver;
use crate::listen::Accepted;
use crate::pod::Core;
use crate::policy::{Permit, Question};
use crate::relay;
use crate::report::{Direction, Ongoing, Relayed};
use crate::workload::{Admission, Workload};

/// Serves one accepted connection and reports it.
pub(crate) async fn serve(core: Arc<Core>, accepted: Accepted) {
    let mut ongoing = Ongoing::begin(Direction::Plaintext, &core.pod.name, accepted.client);
    let relayed = forward(&core, accepted, &mut ongoing).await;
    ongoing.end(relayed, core.pod.observer.as_ref());
}

async fn forward(core: &Core, accepted: Accepted, ongoing: &mut Ongoing) -> Result<Relayed, ConnectionError> {
    let (permit, admission, hand_over) = admit(core, &accepted, ongoing)?;
    let client = accepted.client;
    let application =
        dial::application(&core.pod, &permit, client, &hand_over).await.map_err(ConnectionError::dial)?;
    let (moved, outcome) = relay::direct(accepted.stream, application, admission.cut()).await;
    Ok((moved, admission.denied().map_or(outcome, |denied| Err(ConnectionError::Denied(denied)))))
}

/// Everything that is asked before the application hears of the connection.
fn admit(
    core: &Core,
    accepted: &Accepted,
    ongoing: &mut Ongoing,
) -> Result<(Permit, Admission, HandOver), ConnectionError> {
    let pod = &core.pod;
    let destination = accepted.original_destination(pod.config.ports).ok_or(ConnectionError::NotCaptured)?;
    ongoing.report.destination = Some(destination.socket_addr());
    let snapshot = pod.facts.load();
    let workload = snapshot.workload_named(&pod.name).ok_or(ConnectionError::UnknownPod)?;
    if !is_ours(workload, pod.config.ports, accepted.local(), destination) {
        return Err(ConnectionError::NotOurs { target: destination.to_string() });
    }
    let question = Question { client: accepted.client, peer: None, destination: destination.socket_addr() };
    let hand_over = HandOver::in_plaintext(workload, accepted.client, destination.socket_addr());
    let (permit, admission) = pod.facts.admit(&pod.name, &question, &core.cut)?;
    Ok((permit, admission, hand_over))
}

/// Whether it is for an application of the pod: what a pod that routes for others forwards is captured too.
pub(crate) fn is_ours(
    workload: &Workload,
    ports: Ports,
    local: Option<LocalAddr>,
    destination: OriginalDst,
) -> bool {
    let is_pods_own = workload.addresses.contains(&destination.ip())
        || local.is_some_and(|local| local.ip() == destination.ip());
    is_pods_own && !ports.contains(destination.port())
}
