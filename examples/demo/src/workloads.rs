//! Workloads: what the proxy is told of who is in the mesh, as the text of a workloads file.

use anyhow::{Context as _, Result};
use identity::{ServiceAccount, SpiffeId, TrustDomain};
use proxy_core::workload::{self, PodName, Snapshot};
use testkit::lab::Pod;

/// Kubernetes namespace of the demo's pods.
const NAMESPACE: &str = "demo";
/// The name of the policy of strict mode.
pub(crate) const STRICT: &str = "demo/strict";

/// Who may reach a pod in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everyone.
    Permissive,
    /// Who proves an identity.
    Strict,
}

/// The facts about a mesh of `pods`.
pub(crate) fn snapshot(pods: &[&Pod], mode: Mode) -> Result<Snapshot> {
    let workloads = pods.iter().map(|pod| workload(pod, pod.name()));
    let policies = match mode {
        Mode::Permissive => "",
        // Denied is whose principal is not present.
        Mode::Strict => {
            "policies:\n- {name: strict, namespace: demo, scope: Namespace, action: Deny, \
             rules: [[[{notPrincipals: [Presence: []]}]]]}\n"
        }
    };
    parse(&format!("workloads:\n{}{policies}", workloads.collect::<String>()))
}

/// What [`snapshot`] says of a client and a server, but that the server is someone else.
pub(crate) fn mistaken(client: &Pod, server: &Pod) -> Result<Snapshot> {
    parse(&format!("workloads:\n{}{}", workload(client, client.name()), workload(server, "someone-else")))
}

fn parse(text: &str) -> Result<Snapshot> {
    workload::file::parse(text, &trust_domain()?).context("the workloads file")
}

fn workload(pod: &Pod, account: &str) -> String {
    let (name, v4, v6) = (pod.name(), pod.v4(), pod.v6());
    format!(
        "- {{name: {name}, namespace: {NAMESPACE}, serviceAccount: {account}, workloadIps: [\"{v4}\", \"{v6}\"], \
         protocol: HBONE}}\n"
    )
}

/// What a node agent calls a pod: its service account has the pod's name.
pub(crate) fn name(pod: &Pod) -> PodName {
    PodName {
        namespace: NAMESPACE.to_owned(),
        name: pod.name().to_owned(),
        service_account: pod.name().to_owned(),
    }
}

/// The identity that a pod of this name proves.
pub(crate) fn identity(name: &PodName) -> Result<SpiffeId> {
    let account = ServiceAccount::new(&name.namespace, &name.service_account)?;
    Ok(account.spiffe_id(&trust_domain()?))
}

/// The mesh's trust domain: Istio's default.
pub(crate) fn trust_domain() -> Result<TrustDomain> {
    Ok("cluster.local".parse()?)
}
