//! Inbound: whether a connection to the pod would be let in.

use hbone::Target;
use identity::SpiffeId;

use super::{Applied, Inbound, Judged, Party, Principals, Query, Refusal, unknown_pod};
use crate::address::LocalAddr;
use crate::config::Ports;
use crate::error::ConnectionError;
use crate::inbound::our_address;
use crate::passthrough::is_ours;
use crate::policy::{Denied, Grounds, Principal, Question};
use crate::workload::{Protocol, Snapshot, Workload};

pub(super) fn explain(
    snapshot: &Snapshot,
    workload: Option<&Workload>,
    ports: Ports,
    query: &Query,
    peer: Option<&SpiffeId>,
    principals: Principals<'_>,
) -> Inbound {
    let Some(workload) = workload else {
        let plaintext = Judged { peer: None, verdict: Err(unknown_pod()) };
        return Inbound { client: None, tunnel: None, plaintext, policies: Vec::new() };
    };
    let client = snapshot.workload_at(&workload.network, query.client.ip());
    let known = client.filter(|client| client.protocol == Protocol::Hbone).map(|client| client.identity());
    let peer = peer.or(known.as_ref()).cloned().map(principals);
    let peer = peer.as_ref();
    let judged = |peer: Option<&Principal>, is_target: Result<(), ConnectionError>| {
        let judged = || verdict(snapshot, workload, &question(query, peer));
        Judged {
            peer: peer.map(|peer| peer.id().clone()),
            verdict: is_target.map_err(Refusal::meant).and_then(|()| judged()),
        }
    };
    let local = LocalAddr::new(query.destination.socket_addr());
    let by_tunnel = || {
        let target = Target::Address(query.destination.socket_addr());
        our_address(snapshot, workload, ports, local, &target).map(drop)
    };
    let not_ours = || ConnectionError::NotOurs { target: query.destination.to_string() };
    let ours = is_ours(workload, ports, Some(local), query.destination);
    let policies = snapshot.policies_for(workload).map(|policy| {
        let matching = |peer| policy.matching(&question(query, peer)).map(number);
        Applied {
            name: policy.to_string(),
            action: policy.action,
            scope: policy.scope,
            mode: policy.mode,
            tunnel: peer.and_then(|peer| matching(Some(peer))),
            plaintext: matching(None),
        }
    });
    Inbound {
        client: client.map(|client| Party::from(client.as_ref())),
        tunnel: peer.map(|peer| judged(Some(peer), by_tunnel())),
        plaintext: judged(None, ours.then_some(()).ok_or_else(not_ours)),
        policies: policies.collect(),
    }
}

fn question<'a>(query: &Query, peer: Option<&'a Principal>) -> Question<'a> {
    Question { client: query.client, peer, destination: query.destination.socket_addr() }
}

fn verdict(
    snapshot: &Snapshot,
    workload: &Workload,
    question: &Question<'_>,
) -> Result<Option<String>, Refusal> {
    match snapshot.judge(workload, question) {
        Ok(Grounds::By(policy)) => Ok(Some(policy.to_string())),
        Ok(Grounds::NoneAsks) => Ok(None),
        Err(denied @ (Denied::By { .. } | Denied::NoneAllows)) => Err(Refusal::meant(denied)),
        Err(denied @ Denied::Unknown { .. }) => Err(Refusal::lacking(denied)),
    }
}

/// Rules are counted from 1, for people.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
}
