//! Pod: what is wanted of one pod.

use netns::Namespace;
use redirect::{Existing, Intent};

use crate::workload::{PodName, Uid};

/// A pod that is to be in the mesh.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its unique id, by which proxies know it.
    pub uid: Uid,
    /// What its identity is derived from.
    pub name: PodName,
    /// Where its traffic is captured and its proxy listens. Held, so that it is the same one until the pod is taken back.
    pub namespace: Namespace,
    /// What is captured.
    pub intent: Intent,
    /// What becomes of connections that it has when it is enrolled.
    pub existing: Existing,
}

impl Pod {
    /// A pod with what Istio captures. Its connections go on as they are.
    #[must_use]
    pub fn new(uid: impl Into<Uid>, name: PodName, namespace: Namespace) -> Self {
        Self { uid: uid.into(), name, namespace, intent: Intent::ambient(), existing: Existing::Keep }
    }

    /// Whether `other` wants the same of the same pod.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.name == other.name
            && self.namespace.id() == other.namespace.id()
            && self.intent == other.intent
            && self.existing == other.existing
    }
}
