//! Shape: as much of a pod and of a namespace as is read, as the API server writes it (Kubernetes API, core/v1).

use std::borrow::Cow;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use serde::Deserialize;

/// A pod.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct PodShape {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: Spec,
    #[serde(default)]
    pub(super) status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) node_name: Option<String>,
    #[serde(default)]
    pub(super) service_account_name: Option<String>,
    #[serde(default)]
    pub(super) host_network: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(default)]
    pub(super) phase: Option<String>,
    #[serde(default, rename = "podIP")]
    pub(super) pod_ip: Option<String>,
    #[serde(default, rename = "podIPs")]
    pub(super) pod_ips: Option<Vec<Address>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Address {
    #[serde(default)]
    pub(super) ip: Option<String>,
}

/// A namespace.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct NamespaceShape {
    pub(super) metadata: ObjectMeta,
}

macro_rules! resource {
    ($shape:ty, $scope:ty, $kind:literal, $plural:literal) => {
        impl Resource for $shape {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                "".into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(PodShape, NamespaceResourceScope, "Pod", "pods");
resource!(NamespaceShape, ClusterResourceScope, "Namespace", "namespaces");
