//! View: what `node-agent why` is told, and tells programs. Fields are added and never change their meaning.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::view::PodView;

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    Why(Box<Why>),
    Refused(Refusal),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(crate) enum Refusal {
    #[error("no pod {pod:?} is known; `node-agent status` shows those that are")]
    UnknownPod { pod: String },
    #[error("several pods are named {pod:?}; which is told by namespace/name")]
    Ambiguous { pod: String },
    #[error("{address} is none of the pod's addresses, and who opens the connection is another")]
    NotThePods { address: IpAddr },
    #[error("the pod has no address of the family of {address}")]
    NoAddressLike { address: IpAddr },
    #[error("the pod opens the connection, so its destination needs an address")]
    WhichAddress,
    #[error("the pod cannot be looked at: {error}")]
    Kernel { error: String },
    #[error("the question is none: {error}")]
    NoQuestion { error: String },
    #[error("the answer would have {bytes} bytes, more than {limit}")]
    TooLong { bytes: usize, limit: usize },
}

/// Everything about one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Why {
    pub(crate) pod: PodView,
    pub(crate) way: Way,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// The pod's addresses as its kernel has them.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) rules: Rules,
    /// What becomes of each packet that may open the connection.
    pub(crate) packets: Vec<Packet>,
    /// Who waits at the destination in the pod; empty for a connection from the pod.
    pub(crate) application: Vec<Socket>,
    pub(crate) proxy: Proxy,
    /// One sentence: what becomes of the connection.
    pub(crate) verdict: String,
    /// All that is not as it is intended.
    pub(crate) differs: Vec<Differs>,
}

/// Which way a connection goes, seen from the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Way {
    Outbound,
    Inbound,
}

/// Whether the kernel has the rules that are intended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rules {
    pub(crate) same: bool,
    /// The first of what is not the same.
    pub(crate) differences: Vec<String>,
    /// How many more there are.
    pub(crate) more: usize,
}

/// What becomes of a packet by the intended rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Packet {
    /// `captured`: of an application here; `tunnel`, `plaintext`: of a peer.
    pub(crate) kind: Kind,
    pub(crate) met: Vec<Rule>,
    pub(crate) end: End,
    /// Who waits for it there.
    pub(crate) sockets: Vec<Socket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    Captured,
    Tunnel,
    Plaintext,
}

/// A rule that a packet meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) chain: String,
    /// From 1.
    pub(crate) number: usize,
    pub(crate) rule: String,
    pub(crate) why: String,
    /// How many have met it; none where the rules are not as intended.
    pub(crate) packets: Option<u64>,
}

/// Where a packet ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "to")]
pub(crate) enum End {
    /// At one of the proxy's ports.
    Proxy { port: u16 },
    /// Past the proxy, at a socket here.
    Socket { address: SocketAddr },
    /// Past the proxy, out of the pod.
    Leaves { interface: String, address: SocketAddr },
    /// Its sender gets a reset.
    Reset,
    /// Nowhere.
    Dropped,
}

/// A socket that waits for connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Socket {
    pub(crate) address: SocketAddr,
    pub(crate) mark: Option<u32>,
    pub(crate) user: u32,
    pub(crate) waiting: u32,
    pub(crate) most_waiting: u32,
    pub(crate) has_proxys_mark: bool,
}

/// What the proxy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Proxy {
    /// It tells.
    Told(Box<Told>),
    /// It does not understand the question.
    DoesNotTell,
    /// It has not answered.
    Silent { error: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told {
    /// What it proves for the pod.
    pub(crate) identity: String,
    /// Until when its SVID is valid, in seconds since 1970; none: nobody has needed one yet.
    pub(crate) expires: Option<u64>,
    /// What its facts say of the pod.
    pub(crate) facts: Option<Workload>,
    /// Without those: what they say of one with the pod's name, but another service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namesake: Option<Workload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outbound: Option<Outbound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inbound: Option<Inbound>,
}

/// A workload of the facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Workload {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) identity: String,
    pub(crate) addresses: Vec<IpAddr>,
    /// `HBONE` or `TCP`.
    pub(crate) protocol: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outbound {
    /// The service that has the destination's address.
    pub(crate) service: Option<String>,
    /// The workload that has it.
    pub(crate) workload: Option<Workload>,
    /// `direct`, `tunnel`; none: it is refused.
    pub(crate) route: Option<Route>,
    pub(crate) refused: Option<No>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Route {
    /// What is dialled.
    pub(crate) hop: SocketAddr,
    /// Who is there.
    pub(crate) at: Option<Workload>,
    pub(crate) waypoint: Option<String>,
    /// None: plain TCP.
    pub(crate) tunnel: Option<Tunnel>,
    /// The tunnel in that one, where the hop is another network's gateway.
    #[serde(default)]
    pub(crate) beyond: Option<Beyond>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Beyond {
    pub(crate) network: String,
    /// As the facts name it.
    pub(crate) gateway: String,
    pub(crate) expected: Vec<String>,
    pub(crate) connections: Vec<Connections>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tunnel {
    pub(crate) target: String,
    pub(crate) expected: Vec<String>,
    pub(crate) connections: Vec<Connections>,
}

/// What one worker of the proxy has for a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connections {
    pub(crate) worker: u32,
    pub(crate) open: u32,
    pub(crate) dialling: u32,
    pub(crate) streams: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Inbound {
    /// Who has the source's address.
    pub(crate) client: Option<Workload>,
    /// None: no identity of the source is known.
    pub(crate) tunnel: Option<Decision>,
    pub(crate) plaintext: Decision,
    pub(crate) policies: Vec<Policy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decision {
    /// About whom.
    pub(crate) peer: Option<String>,
    pub(crate) permitted: bool,
    /// The policy that permits it; none: none is needed.
    pub(crate) policy: Option<String>,
    pub(crate) refused: Option<No>,
}

/// Why it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct No {
    pub(crate) reason: String,
    /// Whether somebody has decided so; else the facts lack something.
    pub(crate) intended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// `allow` or `deny`.
    pub(crate) action: String,
    pub(crate) dry_run: bool,
    /// Its first rule that matches a connection by a tunnel, from 1.
    pub(crate) tunnel: Option<u32>,
    /// The same in plaintext.
    pub(crate) plaintext: Option<u32>,
}

/// Something that is not as it is intended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Differs {
    /// `pod`, `rules`, `socket`, `application`, `proxy`, `facts`, `identity`, `policy`.
    pub(crate) what: String,
    /// For people.
    pub(crate) how: String,
}
