//! Facts: what the API server says of a pod and of a namespace, as far as it decides anything. Instances are always valid.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netns::find::PodUid;

use super::overrides::{Notice, Overrides};
use super::shape::{NamespaceShape, PodShape};
use crate::agent::name::{MAX_NAME, excerpt, is_name};
use crate::workload::PodName;

/// Istio's label that says whether a pod, or all of a namespace, is in the mesh.
pub(super) const MODE: &str = "istio.io/dataplane-mode";
/// By this annotation Istio's injector says that a pod has a sidecar.
const SIDECAR: &str = "sidecar.istio.io/status";
/// By this annotation a node agent says that a pod is captured.
pub(super) const REDIRECTION: &str = "ambient.istio.io/redirection";
/// By this annotation kubelet says that a pod is from a file on its node, where it has this other uid (Kubernetes, "Well-Known Labels,
/// Annotations and Taints").
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodFacts {
    pub(super) uid: PodUid,
    pub(super) name: PodName,
    /// Where it runs; none before that is known.
    pub(super) node: Option<String>,
    /// What its own label says.
    pub(super) mode: Mode,
    pub(super) host_network: bool,
    pub(super) sidecar: bool,
    /// Its uid on the node, if it is from a file there.
    pub(super) mirror_of: Option<String>,
    /// All its containers have ended, and none will start again.
    pub(super) ended: bool,
    /// It has been deleted, and runs until it has ended.
    pub(super) terminating: bool,
    pub(super) addresses: BTreeSet<IpAddr>,
    /// What its status annotation says.
    pub(super) redirection: Option<String>,
    pub(super) overrides: Overrides,
    /// What of its annotations is not honoured.
    pub(super) notices: Vec<Notice>,
}

/// What a label says of the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    #[default]
    Unsaid,
    /// In.
    Ambient,
    /// Out.
    None,
    /// Something that nobody knows; the beginning of it.
    Other(String),
}

/// Why nothing can be made of a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// Something is left away that every pod has.
    #[error("it has no {field}")]
    Missing {
        /// What.
        field: &'static str,
    },
    /// A name is not one.
    #[error("{field} {value:?} is not a name: letters, digits, '-' and '.', at most {MAX_NAME}")]
    Name {
        /// Which.
        field: &'static str,
        /// The beginning of what it says.
        value: String,
    },
    /// Its uid is not one.
    #[error("its uid {value:?} is not one")]
    Uid {
        /// The beginning of what it says.
        value: String,
    },
}

impl PodFacts {
    pub(super) fn parse(shape: PodShape) -> Result<Self, FactsError> {
        let PodShape { metadata, spec, status } = shape;
        let annotations = metadata.annotations.unwrap_or_default();
        let (overrides, notices) = Overrides::parse(&annotations);
        // The API server has put in "default" where nothing else was said, unless it has no service accounts at all.
        let account = spec.service_account_name.filter(|name| !name.is_empty());
        let listed = status.pod_ips.unwrap_or_default().into_iter().filter_map(|address| address.ip);
        Ok(Self {
            uid: uid(metadata.uid)?,
            name: PodName {
                namespace: name("namespace", metadata.namespace)?,
                name: name("name", metadata.name)?,
                service_account: name("service account", account.or_else(|| Some("default".into())))?,
            },
            node: spec.node_name.filter(|name| !name.is_empty()),
            mode: Mode::parse(metadata.labels.as_ref()),
            host_network: spec.host_network.unwrap_or(false),
            sidecar: annotations.contains_key(SIDECAR),
            mirror_of: annotations.get(MIRROR).cloned(),
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            terminating: metadata.deletion_timestamp.is_some(),
            addresses: listed.chain(status.pod_ip).filter_map(|address| address.parse().ok()).collect(),
            redirection: annotations.get(REDIRECTION).cloned(),
            overrides,
            notices,
        })
    }
}

impl Mode {
    fn parse(labels: Option<&BTreeMap<String, String>>) -> Self {
        match labels.and_then(|labels| labels.get(MODE)).map(String::as_str) {
            None => Self::Unsaid,
            Some("ambient") => Self::Ambient,
            Some("none") => Self::None,
            Some(other) => Self::Other(excerpt(other)),
        }
    }
}

/// The name of a namespace, and what its label says of its pods.
pub(super) fn namespace(shape: NamespaceShape) -> Option<(String, Mode)> {
    let mode = Mode::parse(shape.metadata.labels.as_ref());
    Some((shape.metadata.name?, mode))
}

fn name(field: &'static str, value: Option<String>) -> Result<String, FactsError> {
    let value = value.ok_or(FactsError::Missing { field })?;
    if is_name(&value) { Ok(value) } else { Err(FactsError::Name { field, value: excerpt(&value) }) }
}

fn uid(value: Option<String>) -> Result<PodUid, FactsError> {
    let value = value.ok_or(FactsError::Missing { field: "uid" })?;
    value.parse().map_err(|_| FactsError::Uid { value: excerpt(&value) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn shape(value: Value) -> PodShape {
        serde_json::from_value(value).unwrap()
    }

    fn pod(value: Value) -> Result<PodFacts, FactsError> {
        PodFacts::parse(shape(value))
    }

    #[test]
    fn all_that_decides_is_read() {
        let facts = pod(json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "uid": "0b6c", "namespace": "shop", "name": "cart-0", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"istio.io/dataplane-mode": "ambient"},
                "annotations": {
                    "ambient.istio.io/redirection": "pending", "sidecar.istio.io/status": "{}",
                    "kubernetes.io/config.mirror": "77", "ambient.istio.io/bypass-inbound-capture": "true",
                },
            },
            "spec": {"nodeName": "n1", "serviceAccountName": "cart", "hostNetwork": true, "containers": []},
            "status": {"phase": "Failed", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}, {"ip": "fd00::5"}, {}]},
        }))
        .unwrap();
        let name =
            PodName { namespace: "shop".into(), name: "cart-0".into(), service_account: "cart".into() };
        let wanted = PodFacts {
            uid: "0b6c".parse().unwrap(),
            name,
            node: Some("n1".into()),
            mode: Mode::Ambient,
            host_network: true,
            sidecar: true,
            mirror_of: Some("77".into()),
            ended: true,
            terminating: true,
            addresses: ["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()].into(),
            redirection: Some("pending".into()),
            overrides: Overrides { bypass_inbound: true, ..Overrides::default() },
            notices: Vec::new(),
        };
        assert_eq!(facts, wanted);
    }

    #[test]
    fn what_is_left_away_says_nothing() {
        let facts = pod(json!({"metadata": {"uid": "1", "namespace": "shop", "name": "cart-0"}})).unwrap();
        assert_eq!((facts.node, facts.mode, facts.host_network), (None, Mode::Unsaid, false));
        assert_eq!((facts.sidecar, facts.ended, facts.terminating), (false, false, false));
        assert_eq!(facts.name.service_account, "default");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |metadata: Value| pod(json!({ "metadata": metadata })).unwrap_err().to_string();
        assert_eq!(refused(json!({"namespace": "a", "name": "b"})), "it has no uid");
        assert_eq!(
            refused(json!({"uid": "../1", "namespace": "a", "name": "b"})),
            "its uid \"../1\" is not one"
        );
        assert!(refused(json!({"uid": "1", "namespace": "a"})).starts_with("it has no name"));
        let said = refused(json!({"uid": "1", "namespace": "a", "name": "é".repeat(10_000)}));
        assert!(said.contains("is not a name") && said.chars().count() < 200, "{said}");
    }

    proptest! {
        #[test]
        fn what_others_write_is_valid_or_refused(uid in "\\PC{0,80}", name in "\\PC{0,300}", mode in "\\PC{0,80}") {
            let metadata = json!({"uid": uid, "namespace": name, "name": name, "labels": {MODE: mode}});
            if let Ok(facts) = pod(json!({"metadata": metadata})) {
                prop_assert!(is_name(&facts.name.name) && is_name(&facts.name.namespace));
                prop_assert_eq!(facts.mode == Mode::Ambient, mode == "ambient");
            }
        }
    }
}
