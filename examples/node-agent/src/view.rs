//! View: the agent's status, as it is said to `node-agent status` and to programs. Fields are added and never change their meaning.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use proxy_core::agent::{Captured, Heard, PodStatus, Status, Wanted};
use serde::{Deserialize, Serialize};

/// The agent as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    /// Whether all pods that there are have been named.
    pub(crate) complete: bool,
    /// How many proxies are connected.
    pub(crate) proxies: usize,
    /// What is wrong, by pod file or pod.
    pub(crate) problems: BTreeMap<String, String>,
    pub(crate) pods: Vec<PodView>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodView {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// `ns/NAMESPACE/sa/SERVICE-ACCOUNT`: the path of its SPIFFE ID.
    pub(crate) identity: String,
    /// The network namespace's inode, as `readlink /proc/PID/ns/net` has it.
    pub(crate) network: u64,
    pub(crate) addresses: Vec<IpAddr>,
    /// `enrolled`, `released`, `gone`.
    pub(crate) desired: String,
    /// `yes`, `no`, `unknown`, `differs`, `draining N`.
    pub(crate) captured: String,
    /// `listening`, `asked`, `none`, `leaving`, `not offered`, `refused: WHY`.
    pub(crate) proxy: String,
    /// Whether all three are as they should be.
    pub(crate) enrolled: bool,
    /// When `captured` became or ceased to be `yes`: seconds since 1970.
    pub(crate) since: u64,
    pub(crate) failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
}

impl View {
    pub(crate) fn new(status: Status, problems: BTreeMap<String, String>) -> Self {
        let pods = status.pods.into_iter().map(PodView::from).collect();
        Self { complete: status.complete, proxies: status.proxies, problems, pods }
    }
}

impl From<PodStatus> for PodView {
    fn from(pod: PodStatus) -> Self {
        let enrolled = pod.is_enrolled();
        Self {
            identity: format!("ns/{}/sa/{}", pod.name.namespace, pod.name.service_account),
            uid: pod.uid,
            namespace: pod.name.namespace,
            name: pod.name.name,
            network: pod.namespace.inode(),
            addresses: pod.addresses.into_iter().collect(),
            desired: desired(pod.wanted).into(),
            captured: captured(pod.captured),
            proxy: proxy(pod.proxy),
            enrolled,
            since: pod.since.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default(),
            failures: pod.failures,
            last_error: pod.last_error,
        }
    }
}

fn desired(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Enrolled => "enrolled",
        Wanted::Released => "released",
        Wanted::Gone => "gone",
        _ => "unknown",
    }
}

fn captured(captured: Captured) -> String {
    match captured {
        Captured::Yes => "yes".into(),
        Captured::No => "no".into(),
        Captured::Differs => "differs".into(),
        Captured::Draining(connections) => format!("draining {connections}"),
        _ => "unknown".into(),
    }
}

fn proxy(heard: Heard) -> String {
    match heard {
        Heard::Listening => "listening".into(),
        Heard::Asked => "asked".into(),
        Heard::NoProxy => "none".into(),
        Heard::Leaving => "leaving".into(),
        Heard::NotOffered => "not offered".into(),
        Heard::Refused(why) => format!("refused: {why}"),
        _ => "unknown".into(),
    }
}

/// How long ago that was, in one unit.
pub(crate) fn ago(since: u64, now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).map(|now| now.as_secs()).unwrap_or_default();
    let seconds = now.saturating_sub(since);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
