//! Cluster: an API server, and the processes of this node's pods, as the agent finds both.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::id;
use std::sync::Arc;

use inpod_proxy_core::agent::Starting;
use inpod_proxy_core::agent::kubernetes::{Access, Kubernetes, Settings};
use netns::Namespace;
use netns::find::{Cgroups, Finder};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::kubernetes::Api;
use testkit::lab::Pod;

use super::{NodeAgent, Result, wait_for};

/// The node's name.
pub(crate) const NODE: &str = "n1";

/// What the status annotation is called.
const REDIRECTION: &str = "/metadata/annotations/ambient.istio.io~1redirection";

pub(crate) struct Cluster {
    pub(crate) api: Api,
    files: TempDir,
}

impl Cluster {
    /// A cluster with the namespace `test`, of which nobody says that it is in the mesh.
    pub(crate) fn new() -> Result<Self> {
        let cluster = Self { api: Api::start(&Namespace::current()?)?, files: TempDir::new()? };
        fs::create_dir(cluster.proc())?;
        fs::write(cluster.kubeconfig(), cluster.api.kubeconfig())?;
        cluster.api.put_namespace("test", &json!({}));
        Ok(cluster)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.files.path().join("kubeconfig")
    }

    fn proc(&self) -> PathBuf {
        self.files.path().join("proc")
    }

    /// Has `agent` follow the cluster.
    pub(crate) fn follow(&self, agent: &NodeAgent) -> Result<Arc<Kubernetes>> {
        self.follow_by(agent, &Access::kubeconfig(self.kubeconfig(), identity::tls::aws_lc_rs()))
    }

    pub(crate) fn follow_by(&self, agent: &NodeAgent, access: &Access) -> Result<Arc<Kubernetes>> {
        agent.follow_cluster(Settings::new(NODE), access, Finder::new(self.proc(), Cgroups))
    }

    /// A process of a pod with this uid in this namespace, as if it ran.
    pub(crate) fn run(&self, uid: &str, namespace: &Namespace) -> Result<()> {
        let pids = fs::read_dir(self.proc())?.count();
        let folder = self.proc().join((1000 + pids).to_string());
        fs::create_dir_all(folder.join("ns"))?;
        let container = "a".repeat(64);
        fs::write(folder.join("cgroup"), format!("0::/kubepods/burstable/pod{uid}/{container}\n"))?;
        Ok(symlink(format!("/proc/{}/fd/{}", id(), namespace.as_fd().as_raw_fd()), folder.join("ns/net"))?)
    }

    /// A pod that runs, by its name as uid, with these labels.
    pub(crate) fn start(&self, pod: &Pod, labels: &Value) -> Result<()> {
        self.run(pod.name(), pod.namespace())?;
        self.say(pod, pod.name(), labels);
        Ok(())
    }

    /// Has the API server say this of a pod, and nothing else of it.
    pub(crate) fn say(&self, pod: &Pod, uid: &str, labels: &Value) {
        self.api.put_pod(&description(pod, uid, labels));
    }

    /// What the status annotation of a pod says.
    pub(crate) fn redirection(&self, pod: &Pod) -> Option<String> {
        let pod = self.api.pod("test", pod.name())?;
        pod.pointer(REDIRECTION).and_then(Value::as_str).map(str::to_owned)
    }

    pub(crate) fn wait_for_redirection(&self, pod: &Pod, wanted: Option<&str>) -> Result<()> {
        let waited = wait_for(|| Ok(self.redirection(pod).as_deref() == wanted));
        waited.map_err(|error| format!("{error}: {:?}", self.redirection(pod)).into())
    }
}

/// A pod of this node, as the API server has it.
pub(crate) fn description(pod: &Pod, uid: &str, labels: &Value) -> Value {
    let name = pod.name();
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"uid": uid, "namespace": "test", "name": name, "labels": labels},
        "spec": {"nodeName": NODE, "serviceAccountName": name},
        "status": {"phase": "Running", "podIP": pod.v4(), "podIPs": [{"ip": pod.v4()}, {"ip": pod.v6()}]},
    })
}

/// A pod that a runtime is about to start.
pub(crate) fn starting(pod: &Pod, uid: Option<&str>) -> Starting {
    Starting {
        namespace: "test".into(),
        name: pod.name().into(),
        uid: uid.map(str::to_owned),
        network: pod.namespace().clone(),
        addresses: Vec::new(),
    }
}
