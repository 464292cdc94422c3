//! Settings: what of a cluster is an agent's, and how its pods are captured.

use std::collections::BTreeSet;

use redirect::Intent;

/// What of a cluster is an agent's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The agent's node: pods of others are none of its business.
    pub node: String,
    /// Pods of these namespaces are never in the mesh, whatever they say. `kube-system`, as with Istio: what a node cannot do without
    /// is there.
    pub excluded_namespaces: BTreeSet<String>,
    /// Pods that are never in the mesh, as namespace and name: the agent's own, and the proxy's.
    pub own_pods: BTreeSet<(String, String)>,
    /// What is captured in each pod, unless its annotations say otherwise.
    pub intent: Intent,
}

impl Settings {
    /// For a node of this name: Kubernetes' `spec.nodeName`.
    #[must_use]
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            excluded_namespaces: ["kube-system".to_owned()].into(),
            own_pods: BTreeSet::new(),
            intent: Intent::ambient(),
        }
    }
}
