//! Exchange: the client fetches from the server, without the mesh and with it. The twins differ in what must be on the wire.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, anyhow};
use proxy_core::{ConnectionError, DialError, Direction, Report};
use testkit::lab::Pod;

use crate::app::{Url, greeting};
use crate::evidence::{Evidence, holds, same};
use crate::meetings::Meetings;
use crate::mesh::Mesh;
use crate::program;
use crate::stage::{PORT, Stage};
use crate::wire::{Seen, watch};
use crate::workloads::{self, Mode};

/// The proxy's port for tunnels, the only one that pods of the mesh speak to each other on.
const TUNNELS: u16 = 15008;

/// The positive control: what [`with_mesh`] must not see, this sees.
pub(crate) fn without_mesh(stage: &Stage, canary: &str, evidence: &mut Evidence) -> Result<()> {
    for Exchange { family, client, url } in exchanges(stage, canary) {
        let (said, seen) = fetch(stage, &url)?;
        same("the server's answer", &greeting(client, url.path()), &said)?;
        evidence
            .add(format!("client fetches from server over {family}"), format_args!("{} bytes", said.len()));
        is_on_the_wire(&seen, canary)?;
        same("service ports on the wire", &[PORT][..], &seen.service_ports())?;
        evidence.add("they are on the wire, as they are", wire(&seen));
    }
    Ok(())
}

pub(crate) fn with_mesh(
    stage: &Stage,
    meetings: &Meetings,
    canary: &str,
    evidence: &mut Evidence,
) -> Result<()> {
    for Exchange { family, client, url } in exchanges(stage, canary) {
        meetings.forget();
        let (said, seen) = fetch(stage, &url)?;
        same("the server's answer", &greeting(client, url.path()), &said)?;
        evidence.add(
            format!("client fetches from server over {family}"),
            format_args!("the same {} bytes", said.len()),
        );
        evidence.add("the server sees the client's own address", client);
        is_not_on_the_wire(&seen, canary)?;
        same("service ports on the wire", &[TUNNELS][..], &seen.service_ports())?;
        evidence.add("they are not on the wire", wire(&seen));
        met(stage, meetings, url.address(), evidence)?;
    }
    Ok(())
}

/// The client's side asks who the server is: were it said to be someone else, there would be no exchange.
pub(crate) fn with_someone_else(
    stage: &Stage,
    mesh: &Mesh,
    meetings: &Meetings,
    evidence: &mut Evidence,
) -> Result<()> {
    mesh.learn(workloads::mistaken(&stage.client, &stage.server)?);
    meetings.forget();
    let url = stage.url_v4("/");
    program::fetch(&stage.client, &url)?.failure("the client, of someone else")?;
    let outbound = meetings.find(|report| report.direction == Direction::Outbound);
    let outcome = outbound.context("the client's side: expected a report, got none")?.outcome;
    let refused = match &outcome {
        Err(ConnectionError::Dial(error)) => matches!(**error, DialError::Handshake { .. }),
        _ => false,
    };
    let said = outcome.map_or_else(|error| format!("{:#}", anyhow!(error)), |()| "a connection".to_owned());
    holds("the client's side", refused, "a failed handshake", &said)?;
    evidence.add("if it expected someone else there", "the handshake fails, and the client gets no answer");
    mesh.learn(workloads::snapshot(&stage.members(), Mode::Permissive)?);
    Ok(())
}

/// One family's exchange.
struct Exchange {
    family: &'static str,
    client: IpAddr,
    url: Url,
}

fn exchanges(stage: &Stage, canary: &str) -> [Exchange; 2] {
    let path = format!("/{canary}");
    [
        Exchange { family: "IPv4", client: stage.client.v4().into(), url: stage.url_v4(&path) },
        Exchange { family: "IPv6", client: stage.client.v6().into(), url: stage.url_v6(&path) },
    ]
}

/// What the server says to the client, and what was on the wire meanwhile.
fn fetch(stage: &Stage, url: &Url) -> Result<(String, Seen)> {
    let (body, seen) = watch(&stage.pods(), || program::fetch(&stage.client, url)?.body("the client"))?;
    Ok((String::from_utf8(body).context("the server's answer")?, seen))
}

pub(crate) fn is_on_the_wire(seen: &Seen, canary: &str) -> Result<()> {
    holds("the wire", seen.contains(canary), format_args!("{canary:?} on it"), "frames without it")
}

pub(crate) fn is_not_on_the_wire(seen: &Seen, canary: &str) -> Result<()> {
    holds("the wire", !seen.contains(canary), format_args!("no {canary:?}"), "a frame with it")
}

fn wire(seen: &Seen) -> String {
    let ports: Vec<String> = seen.service_ports().iter().map(u16::to_string).collect();
    format!("{} frames, to port {}", seen.frames(), ports.join(", "))
}

/// Who the two ends of the tunnel proved to be, by the reports of both.
fn met(stage: &Stage, meetings: &Meetings, to: SocketAddr, evidence: &mut Evidence) -> Result<()> {
    let out = report(meetings, Direction::Outbound, &stage.client, to)?;
    let hop = out.tunnel.context("the client's report: expected a tunnel, got a direct connection")?;
    same("the tunnel's hop", &SocketAddr::new(to.ip(), TUNNELS), &hop.socket_addr())?;
    let inward = report(meetings, Direction::Inbound, &stage.server, to)?;
    let client = workloads::identity(&workloads::name(&stage.client))?;
    same("who the server's side met", &Some(client.clone()), &inward.peer)?;
    let server = workloads::identity(&workloads::name(&stage.server))?;
    same("whom the server's side serves", &server, &workloads::identity(&inward.pod)?)?;
    if let Some(peer) = out.peer {
        same("who the client's side met", &server, &peer)?;
    }
    evidence.add("the server's side met", client);
    evidence.add("the client's side met", server);
    Ok(())
}

/// The report of the connection that was opened to `to`, which must have gone well.
pub(crate) fn report(meetings: &Meetings, direction: Direction, pod: &Pod, to: SocketAddr) -> Result<Report> {
    let is_it = |report: &Report| {
        report.direction == direction && report.pod.name == pod.name() && report.destination == Some(to)
    };
    let what = || format!("{direction} to {to} in pod {}", pod.name());
    let report = meetings.find(is_it).with_context(|| format!("{}: expected a report, got none", what()))?;
    match &report.outcome {
        Ok(()) => Ok(report),
        Err(error) => Err(anyhow!(error.clone()).context(format!("{}: expected success", what()))),
    }
}
