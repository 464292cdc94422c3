//! In a cluster: labels say which pods are in the mesh, and the API server may come and go.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::conversation::converse;
use testkit::http;
use testkit::kernel::{Case, Outcome};
use testkit::kubernetes::Fault;
use testkit::lab::Lab;

use crate::cni::{container, namespace, network, pods, said};
use crate::life::{members, reaches};
use crate::mesh::{
    APPLICATION, Cluster, Member, NODE, Result, Site, ambient, is_captured, none, pair, wait_for,
    with_programs,
};

pub(crate) fn cases() -> Vec<Case> {
    let bridge = "/usr/lib/cni/bridge";
    vec![
        with_programs("pods_of_a_cluster_are_enrolled", pods_of_a_cluster_are_enrolled),
        with_programs("an_agent_comes_back_in_a_cluster", an_agent_comes_back_in_a_cluster),
        with_programs("a_pod_of_a_cluster_starts_captured", a_pod_of_a_cluster_starts_captured)
            .needs_path(bridge),
        with_programs("a_pod_that_left_meanwhile_is_released", a_pod_that_left_meanwhile_is_released)
            .needs_path(bridge),
    ]
}

/// The problem that is shown of this, if any.
fn problem(site: &Site, of: &str) -> Result<String> {
    let status = site.status()?;
    Ok(status.get("problems").and_then(|all| all.get(of)).and_then(Value::as_str).unwrap_or_default().into())
}

fn pods_of_a_cluster_are_enrolled() -> Outcome {
    let lab = Lab::new()?;
    let [client, server, lost] = members(&lab, ["client", "server", "lost"])?;
    let site = Site::new(lab.node(), &[&client, &server])?;
    let cluster = Cluster::new(lab.node())?;
    let (agent, _proxy) = (site.agent_in(&cluster)?, site.proxy()?);
    cluster.start(&client, &ambient())?;
    cluster.start(&server, &json!({}))?;
    cluster.say(&lost, &ambient());
    site.wait_for_enrolled(1).map_err(|error| agent.with_log(error))?;
    wait_for("a pod that is not found is shown", || Ok(problem(&site, "test/lost")?.contains("no process")))?;
    cluster.api.delete_pod("test", "lost");
    // The other one by its namespace.
    cluster.api.put_namespace("test", &ambient());
    site.wait_for_enrolled(2).map_err(|error| agent.with_log(error))?;
    assert!(is_captured(&client.namespace)? && is_captured(&server.namespace)?);
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    reaches(&client, &server)?;
    for pod in ["client", "server"] {
        cluster.wait_for_redirection(pod, Some("enabled")).map_err(|error| agent.with_log(error))?;
    }
    let (near, far) = pair(&client, &server, 8081)?;
    converse(&near, &far)?;
    drop((near, far));
    // One leaves the mesh by its own label, and lives on.
    cluster.say(&client, &none());
    wait_for("released", || Ok(!is_captured(&client.namespace)?)).map_err(|error| agent.with_log(error))?;
    cluster.wait_for_redirection("client", None)?;
    site.wait_for_enrolled(1)?;
    reaches(&client, &server)
}

fn an_agent_comes_back_in_a_cluster() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = members(&lab, ["client", "server"])?;
    let site = Site::new(lab.node(), &[&client, &server])?;
    let cluster = Cluster::new(lab.node())?;
    let (mut agent, _proxy) = (site.agent_in(&cluster)?, site.proxy()?);
    cluster.start(&client, &ambient())?;
    cluster.start(&server, &ambient())?;
    site.wait_for_enrolled(2).map_err(|error| agent.with_log(error))?;
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    let (near, far) = pair(&client, &server, 8081)?;
    // Away while the agent runs: nothing changes.
    cluster.api.fail(Fault::Away);
    wait_for("it is not heard", || Ok(!problem(&site, "API server: pods")?.is_empty()))?;
    site.wait_for_enrolled(2)?;
    converse(&near, &far)?;
    // And while the agent is replaced: the proxy goes on with what it serves.
    agent.signal(Signal::SIGKILL)?;
    agent.wait()?;
    agent = site.agent_in(&cluster)?;
    wait_for("it is not heard", || {
        Ok(site.status().is_ok() && !problem(&site, "API server: pods")?.is_empty())
    })?;
    wait_for("the proxy is there", || Ok(site.proxies()? == 1))?;
    converse(&near, &far)?;
    reaches(&client, &server)?;
    assert_eq!(site.served()?, 2);
    // It is back, and somebody has been busy.
    cluster.say(&client, &none());
    cluster.api.fail(Fault::None);
    wait_for("released", || Ok(!is_captured(&client.namespace)?)).map_err(|error| agent.with_log(error))?;
    drop((near, far));
    site.wait_for_enrolled(1).map_err(|error| agent.with_log(error))?;
    cluster.wait_for_redirection("client", None)?;
    cluster.say(&client, &ambient());
    site.wait_for_enrolled(2).map_err(|error| agent.with_log(error))?;
    reaches(&client, &server)
}

/// By this, plugins that do not know what Kubernetes adds pass over it (CNI's conventions).
const IGNORE: (&str, &str) = ("IgnoreUnknown", "1");

/// A pod that a runtime starts, as CNI's arguments name it.
const WEB: &[(&str, &str)] =
    &[IGNORE, ("K8S_POD_NAMESPACE", "test"), ("K8S_POD_NAME", "web"), ("K8S_POD_UID", "web-uid")];

/// A pod before it has started: no address.
fn scheduled(cluster: &Cluster, uid: &str, labels: &Value) {
    cluster.api.put_pod(&json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"uid": uid, "namespace": "test", "name": "web", "labels": labels},
        "spec": {"nodeName": NODE, "serviceAccountName": "web"},
        "status": {"phase": "Pending"},
    }));
}

fn a_pod_of_a_cluster_starts_captured() -> Outcome {
    let node = namespace()?;
    let site = Site::new(&node, &[])?;
    let cluster = Cluster::new(&node)?;
    let (mut agent, _proxy) = (site.agent_in(&cluster)?, site.proxy()?);
    let network = network(&site, 20)?;
    wait_for("a proxy", || Ok(site.status().is_ok() && site.proxies()? == 1))?;
    let web = namespace()?;
    let starting = container("c1", &web, WEB);
    // Nobody knows it.
    let error = network.add(&node, &starting).err().ok_or("it starts")?;
    assert!(said(&error)?.contains("does not know the pod"), "{error}");
    // A predecessor of its name, in the cache and out of the mesh.
    scheduled(&cluster, "other-uid", &none());
    let error = network.add(&node, &starting).err().ok_or("it starts")?;
    assert!(said(&error)?.contains("another uid"), "{error}");
    // Its own, of which watches tell nothing yet.
    cluster.api.fail(Fault::Behind);
    scheduled(&cluster, "web-uid", &ambient());
    let attached = network.add(&node, &starting).map_err(|error| agent.with_log(error.into()))?;
    assert!(is_captured(&web)?, "before its first packet");
    cluster.api.fail(Fault::None);
    cluster.wait_for_redirection("web", Some("enabled")).map_err(|error| agent.with_log(error))?;
    // An agent that comes back while the API server is away knows that it is there, and the proxy goes on.
    agent.signal(Signal::SIGKILL)?;
    agent.wait()?;
    cluster.api.fail(Fault::Away);
    let agent = site.agent_in(&cluster)?;
    wait_for("the proxy is there", || Ok(site.status().is_ok() && site.proxies()? == 1))?;
    assert_eq!(site.served()?, 1);
    // Nobody can tell of a new one meanwhile; but for those of excluded namespaces, which nobody has to.
    let other = namespace()?;
    let unknown =
        [IGNORE, ("K8S_POD_NAMESPACE", "test"), ("K8S_POD_NAME", "new"), ("K8S_POD_UID", "new-uid")];
    let error = network.add(&node, &container("c2", &other, &unknown)).err().ok_or("it starts")?;
    assert!(said(&error)?.contains("API server"), "{error}");
    let excluded = namespace()?;
    let system =
        [IGNORE, ("K8S_POD_NAMESPACE", "kube-system"), ("K8S_POD_NAME", "dns"), ("K8S_POD_UID", "dns-uid")];
    network.add(&node, &container("c3", &excluded, &system))?;
    assert!(!is_captured(&excluded)?);
    cluster.api.fail(Fault::None);
    // Its process is nowhere to be found here, so it is the runtime's word that counts.
    wait_for("complete", || Ok(site.status()?.get("complete") == Some(&Value::Bool(true))))
        .map_err(|error| agent.with_log(error))?;
    assert_eq!(site.served()?, 1);
    assert!(is_captured(&web)?);
    network.del(&node, &starting, &attached)?;
    cluster.api.delete_pod("test", "web");
    wait_for("forgotten", || Ok(pods(&site)? == 0 && site.served()? == 0))
        .map_err(|error| agent.with_log(error))
}

fn a_pod_that_left_meanwhile_is_released() -> Outcome {
    let node = namespace()?;
    let site = Site::new(&node, &[])?;
    let cluster = Cluster::new(&node)?;
    let (mut agent, _proxy) = (site.agent_in(&cluster)?, site.proxy()?);
    let network = network(&site, 20)?;
    wait_for("a proxy", || Ok(site.status().is_ok() && site.proxies()? == 1))?;
    scheduled(&cluster, "web-uid", &ambient());
    let web = namespace()?;
    let attached =
        network.add(&node, &container("c1", &web, WEB)).map_err(|error| agent.with_log(error.into()))?;
    let member = Member { name: "web".into(), namespace: web.clone(), addresses: attached.addresses() };
    agent.signal(Signal::SIGTERM)?;
    agent.wait()?;
    assert!(is_captured(&web)?);
    scheduled(&cluster, "web-uid", &none());
    let agent = site.agent_in(&cluster)?;
    wait_for("released", || Ok(!is_captured(&web)?)).map_err(|error| agent.with_log(error))?;
    let _application = http::Server::start(&web, APPLICATION)?;
    let address = SocketAddr::new(*member.addresses.first().ok_or("no address")?, APPLICATION);
    // Without a proxy that would let it in.
    let answers = || Ok(http::request(&node, address, "/", b"").is_ok_and(|answer| answer.status() == 200));
    wait_for("it answers", answers).map_err(|error| agent.with_log(error))?;
    wait_for("forgotten", || Ok(pods(&site)? == 0 && site.served()? == 0))
}
