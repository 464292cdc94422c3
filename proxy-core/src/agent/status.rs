//! Status: where a pod is, for people and programs that watch.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use netns::NamespaceId;

use super::decide::Rules;
use super::roster::Heard;
use crate::workload::{PodName, Uid};

/// What an agent is to do about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// Capture its traffic.
    Enrolled,
    /// Let it go: it lives on outside of the mesh.
    Released,
    /// Forget it: it is gone.
    Gone,
}

/// What is known of the rules in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Captured {
    /// Nothing yet, or a step has failed and it is not looked again so far.
    Unknown,
    /// No rule of ours is there.
    No,
    /// All are, and nothing else in their places.
    Yes,
    /// Some are, or others.
    Differs,
    /// New connections are not captured any more; so many that were go on.
    Draining(usize),
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodStatus {
    /// Its id.
    pub uid: Uid,
    /// Its name.
    pub name: PodName,
    /// Its network namespace.
    pub namespace: NamespaceId,
    /// By which others reach it, as far as it was looked: once it is captured.
    pub addresses: BTreeSet<IpAddr>,
    /// What is wanted.
    pub wanted: Wanted,
    /// What is known of its rules.
    pub captured: Captured,
    /// What the newest proxy says of it.
    pub proxy: Heard,
    /// Since when it is captured, or not: the time of the last change of that.
    pub since: SystemTime,
    /// Steps that have failed since the last one that succeeded.
    pub failures: u32,
    /// What the last failed step, or the last look at rules that differ, has said. None once it is as it should be.
    pub last_error: Option<String>,
}

impl PodStatus {
    /// Whether it is wanted in the mesh, is captured, and a proxy listens.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.wanted == Wanted::Enrolled && self.captured == Captured::Yes && self.proxy == Heard::Listening
    }
}

/// An agent as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether all pods that there are have been named: see [`Agent::complete`](super::Agent::complete).
    pub complete: bool,
    /// How many proxies are connected.
    pub proxies: usize,
    /// The pods, by id.
    pub pods: Vec<PodStatus>,
}

impl From<Rules> for Captured {
    fn from(rules: Rules) -> Self {
        match rules {
            Rules::Unknown => Self::Unknown,
            Rules::Absent => Self::No,
            Rules::InPlace(_) => Self::Yes,
            Rules::Differ => Self::Differs,
            Rules::Draining { connections, .. } => Self::Draining(connections),
        }
    }
}
