//! Explain: what would become of a connection, and why. Asked by an agent, for people who look for a mistake.
//!
//! It is decided by the functions that decide for real ones ([`route::decide`](crate::route::decide),
//! [`Snapshot::judge`](crate::workload::Snapshot::judge)), on the facts of that moment; nothing is opened, and no permit made.

use std::net::IpAddr;
use std::time::SystemTime;

use identity::SpiffeId;

use crate::address::{ClientAddr, HopAddr, OriginalDst};
use crate::config::Ports;
use crate::error::ConnectionError;
use crate::pod::Pod;
use crate::policy::{Action, Mode, Principal, Scope};
use crate::workload::{PodName, Protocol, Snapshot, Uid, Workload};

mod inbound;
mod outbound;
#[cfg(test)]
mod tests;

pub(crate) use self::outbound::Usages;

/// Which connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The pod that opens it, or that it is to.
    pub uid: Uid,
    /// Which of both.
    pub way: Way,
    /// Who opens it. Its port is any for whom it is not known.
    pub client: ClientAddr,
    /// Where to. Inbound, one of the pod's own addresses.
    pub destination: OriginalDst,
}

/// Which way a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// From the pod.
    Out,
    /// To the pod.
    In {
        /// The identity that the client proves; none: the one that it has by the facts.
        peer: Option<SpiffeId>,
    },
}

/// What the proxy knows of a pod, and what it would do with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// The pod, as the agent has named it.
    pub name: PodName,
    /// What it proves to peers.
    pub identity: SpiffeId,
    /// Until when the SVID is valid that it does so by; none: there is none.
    pub expires: Option<SystemTime>,
    /// What the facts say of the pod; none: nothing, and all its connections are refused.
    pub facts: Option<Party>,
    /// Without those: what they say of a workload with the pod's name, but another service account.
    pub namesake: Option<Party>,
    /// What it would do.
    pub fate: Fate,
}

/// What would become of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// One from the pod.
    Outbound(Outbound),
    /// One to the pod.
    Inbound(Inbound),
}

/// A workload of the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Its uid in the facts.
    pub uid: String,
    /// `namespace/name`.
    pub name: String,
    /// What it proves by the facts.
    pub identity: SpiffeId,
    /// Its addresses by the facts.
    pub addresses: Vec<IpAddr>,
    /// How it takes connections.
    pub protocol: Protocol,
}

/// Why a connection would not be let pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For people.
    pub reason: String,
    /// Whether that is meant, or the facts lack something.
    pub cause: Cause,
}

/// Where a refusal comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Somebody has decided so.
    Meant,
    /// The facts lack what is needed to decide otherwise.
    Lacking,
}

/// What would become of a connection from the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outbound {
    /// Whose address the destination is.
    pub addressee: Addressee,
    /// Where it goes.
    pub going: Result<Going, Refusal>,
}

/// Whose address a destination is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Addressee {
    /// Nobody's in the mesh.
    Stranger,
    /// A workload's.
    Workload(Party),
    /// A service's, `namespace/hostname`.
    Service(String),
}

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Going {
    /// The address that is dialled.
    pub hop: HopAddr,
    /// Who is there, as far as facts tell. Of a service's endpoints it is one that may be chosen.
    pub at: Option<Party>,
    /// The waypoint that it must pass, as the facts name it.
    pub waypoint: Option<String>,
    /// The tunnel; none: plain TCP.
    pub tunnel: Option<Tunnel>,
    /// The tunnel in that one, where the hop is another network's gateway.
    pub beyond: Option<Beyond>,
}

/// A tunnel through a gateway to another network, for the same target.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Beyond {
    /// The network.
    pub network: String,
    /// Its gateway, as the facts name it.
    pub gateway: String,
    /// The identities of which the far end must prove one.
    pub expected: Vec<SpiffeId>,
    /// What each worker has for it now; workers that have nothing are left out.
    pub connections: Vec<Connections>,
}

/// A tunnel to a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tunnel {
    /// What the CONNECT asks for.
    pub target: String,
    /// The identities of which the hop must prove one.
    pub expected: Vec<SpiffeId>,
    /// What each worker has for it now; workers that have nothing are left out.
    pub connections: Vec<Connections>,
}

/// What one worker has for a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Which worker.
    pub worker: u32,
    /// Connections that are open.
    pub open: u32,
    /// Connections that are being dialled.
    pub dialling: u32,
    /// Tunnels in them.
    pub streams: u32,
}

/// What would become of a connection to the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inbound {
    /// Who has the client's address by the facts.
    pub client: Option<Party>,
    /// What is decided if it comes by a tunnel; none: no identity of the client is known, so it cannot be told.
    pub tunnel: Option<Judged>,
    /// What is decided if it comes in plaintext.
    pub plaintext: Judged,
    /// All policies that apply to the pod.
    pub policies: Vec<Applied>,
}

/// What policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// About whom.
    pub peer: Option<SpiffeId>,
    /// Permitted: by this policy, or because none asks for anything.
    pub verdict: Result<Option<String>, Refusal>,
}

/// A policy that applies to the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// `namespace/name`.
    pub name: String,
    /// What it says.
    pub action: Action,
    /// Whom it is about.
    pub scope: Scope,
    /// Whether it counts.
    pub mode: Mode,
    /// The number of its first rule that matches if the connection comes by a tunnel, from 1.
    pub tunnel: Option<u32>,
    /// The same if it comes in plaintext.
    pub plaintext: Option<u32>,
}

/// Who has proved an identity, to policy.
pub(crate) type Principals<'a> = &'a dyn Fn(SpiffeId) -> Principal;

/// All that a pod's proxy has to say about a connection.
pub(crate) fn account(pod: &Pod, query: &Query, usages: Usages<'_>) -> Account {
    let snapshot = pod.facts.load();
    let workload = snapshot.workload_named(&pod.name).map(AsRef::as_ref);
    Account {
        name: (*pod.name).clone(),
        identity: pod.credentials.id().clone(),
        expires: pod.credentials.expires(),
        facts: workload.map(Party::from),
        namesake: namesake(&snapshot, workload, &pod.name),
        fate: fate(&snapshot, workload, pod.config.ports, query, usages, &|id| pod.credentials.principal(id)),
    }
}

fn namesake(snapshot: &Snapshot, workload: Option<&Workload>, name: &PodName) -> Option<Party> {
    match workload {
        Some(_) => None,
        None => snapshot.namesake(name).map(|workload| Party::from(workload.as_ref())),
    }
}

fn fate(
    snapshot: &Snapshot,
    workload: Option<&Workload>,
    ports: Ports,
    query: &Query,
    usages: Usages<'_>,
    principals: Principals<'_>,
) -> Fate {
    match &query.way {
        Way::Out => Fate::Outbound(outbound::explain(snapshot, workload, ports, query.destination, usages)),
        Way::In { peer } => {
            Fate::Inbound(inbound::explain(snapshot, workload, ports, query, peer.as_ref(), principals))
        }
    }
}

impl From<&Workload> for Party {
    fn from(workload: &Workload) -> Self {
        Self {
            uid: workload.uid.clone(),
            name: workload.name.to_string(),
            identity: workload.identity(),
            addresses: workload.addresses.clone(),
            protocol: workload.protocol,
        }
    }
}

impl Refusal {
    fn meant(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), cause: Cause::Meant }
    }

    fn lacking(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), cause: Cause::Lacking }
    }
}

/// What is said of every connection of a pod that there are no facts about.
fn unknown_pod() -> Refusal {
    Refusal::lacking(ConnectionError::UnknownPod)
}
