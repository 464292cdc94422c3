//! Cluster: an API server in a node's namespace, and the processes of its pods, as the agent finds both.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::symlink;
use std::process::{Command, id};

use netns::Namespace;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::kubernetes::Api;

use super::{Member, Result, wait_for};

/// The node's name.
pub(crate) const NODE: &str = "n1";

/// The status annotation, in a pod.
const REDIRECTION: &str = "/metadata/annotations/ambient.istio.io~1redirection";

pub(crate) struct Cluster {
    pub(crate) api: Api,
    files: TempDir,
}

/// Labels by which a pod is in the mesh,
pub(crate) fn ambient() -> Value {
    json!({"istio.io/dataplane-mode": "ambient"})
}

/// or out.
pub(crate) fn none() -> Value {
    json!({"istio.io/dataplane-mode": "none"})
}

impl Cluster {
    /// A cluster with the namespace `test`, of which nobody says that it is in the mesh.
    pub(crate) fn new(node: &Namespace) -> Result<Self> {
        let cluster = Self { api: Api::start(node)?, files: TempDir::new()? };
        fs::create_dir(cluster.files.path().join("proc"))?;
        fs::write(cluster.files.path().join("kubeconfig"), cluster.api.kubeconfig())?;
        cluster.api.put_namespace("test", &json!({}));
        Ok(cluster)
    }

    /// Tells the agent of it.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.args(["--kubernetes", "--node", NODE]);
        command.arg("--kubeconfig").arg(self.files.path().join("kubeconfig"));
        command.arg("--proc").arg(self.files.path().join("proc"));
    }

    /// A pod that runs, by its name as uid, with these labels.
    pub(crate) fn start(&self, pod: &Member, labels: &Value) -> Result<()> {
        let folder = self.files.path().join("proc");
        let folder = folder.join((1000 + fs::read_dir(&folder)?.count()).to_string());
        fs::create_dir_all(folder.join("ns"))?;
        let container = "a".repeat(64);
        fs::write(folder.join("cgroup"), format!("0::/kubepods/burstable/pod{}/{container}\n", pod.name))?;
        symlink(format!("/proc/{}/fd/{}", id(), pod.namespace.as_fd().as_raw_fd()), folder.join("ns/net"))?;
        self.say(pod, labels);
        Ok(())
    }

    /// Has the API server say this of a pod, and leaves its annotations.
    pub(crate) fn say(&self, pod: &Member, labels: &Value) {
        let addresses: Vec<Value> = pod.addresses.iter().map(|address| json!({ "ip": address })).collect();
        let before = self.api.pod("test", &pod.name);
        let annotations = before.as_ref().and_then(|pod| pod.pointer("/metadata/annotations"));
        self.api.put_pod(&json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "uid": pod.name, "namespace": "test", "name": pod.name, "labels": labels,
                "annotations": annotations.cloned().unwrap_or_else(|| json!({})),
            },
            "spec": {"nodeName": NODE, "serviceAccountName": pod.name},
            "status": {"phase": "Running", "podIPs": addresses},
        }));
    }

    /// Waits until the status annotation of a pod is so.
    pub(crate) fn wait_for_redirection(&self, pod: &str, wanted: Option<&str>) -> Result<()> {
        let said = |pod: &Value| pod.pointer(REDIRECTION).and_then(Value::as_str).map(str::to_owned);
        wait_for(&format!("{pod} says {wanted:?}"), || {
            Ok(self.api.pod("test", pod).and_then(|pod| said(&pod)).as_deref() == wanted)
        })
    }
}
