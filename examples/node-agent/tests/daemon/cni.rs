//! By CNI: a pod starts when it is captured, and not before.

use std::net::SocketAddr;
use std::path::PathBuf;

use netns::Namespace;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::cni::{Attachment, CniError, Container, Network};
use testkit::http;
use testkit::kernel::{Case, Outcome};
use testkit::lab::loopback_up;

use crate::mesh::{APPLICATION, Member, Result, Site, is_captured, program, wait_for, with_programs};

/// Where Debian has the plugins.
const PLUGINS: &str = "/usr/lib/cni";

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        with_programs("a_pod_starts_captured", a_pod_starts_captured),
        with_programs("without_a_proxy_a_pod_does_not_start", without_a_proxy_a_pod_does_not_start),
        with_programs("a_pod_that_nobody_knows_starts_as_it_is", a_pod_that_nobody_knows_starts_as_it_is),
        with_programs(
            "an_agent_that_comes_back_knows_its_containers",
            an_agent_that_comes_back_knows_its_containers,
        ),
        with_programs("gc_forgets_who_has_left", gc_forgets_who_has_left),
    ];
    cases.into_iter().map(|case| case.needs_path(format!("{PLUGINS}/bridge"))).collect()
}

/// Debian's bridge, and our plugin.
pub(crate) fn network(site: &Site, limit: u64) -> Result<Network> {
    Ok(empty()?.bridge().plugin(ours(site, limit)))
}

/// Our plugin alone, by the newest version: Debian's plugins do not know its commands yet.
fn latest(site: &Site) -> Result<Network> {
    Ok(empty()?.plugin(ours(site, 20)).version("1.1.0"))
}

fn empty() -> Result<Network> {
    let own = program("inpod-cni").parent().ok_or("no folder")?.to_owned();
    Ok(Network::new("pods", [own, PathBuf::from(PLUGINS)])?)
}

fn ours(site: &Site, limit: u64) -> Value {
    json!({ "type": "inpod-cni", "agentSocket": site.files.cni(), "answerLimitSeconds": limit })
}

/// A namespace as a runtime makes it.
pub(crate) fn namespace() -> Result<Namespace> {
    let namespace = Namespace::create()?;
    loopback_up(&namespace)?;
    Ok(namespace)
}

/// A container of the pod with this name.
pub(crate) fn container<'a>(
    id: &'a str,
    namespace: &'a Namespace,
    arguments: &'a [(&'a str, &'a str)],
) -> Container<'a> {
    Container { id, namespace, interface: "eth0", arguments }
}

const WEB: &[(&str, &str)] =
    &[("IgnoreUnknown", "1"), ("K8S_POD_NAMESPACE", "test"), ("K8S_POD_NAME", "web")];
const CLIENT: &[(&str, &str)] =
    &[("IgnoreUnknown", "1"), ("K8S_POD_NAMESPACE", "test"), ("K8S_POD_NAME", "client")];

/// Our plugin's own words.
pub(crate) fn said(error: &CniError) -> Result<String> {
    match error {
        CniError::Failed { plugin, error } if plugin == "inpod-cni" => Ok(error.to_string()),
        other => Err(other.to_string().into()),
    }
}

pub(crate) fn pods(site: &Site) -> Result<usize> {
    Ok(site.status()?.get("pods").and_then(Value::as_array).map_or(0, Vec::len))
}

fn a_pod_starts_captured() -> Outcome {
    let node = namespace()?;
    let site = Site::new(&node, &[])?;
    let (agent, proxy) = (site.agent()?, site.proxy()?);
    site.files.write("web", "")?;
    site.files.write("client", "")?;
    let network = network(&site, 20)?;
    wait_for("a proxy", || {
        Ok(site.status().is_ok_and(|status| status.get("proxies") == Some(&Value::from(1))))
    })?;
    let (web, client) = (namespace()?, namespace()?);
    let (web_container, client_container) = (container("c1", &web, WEB), container("c2", &client, CLIENT));
    let attached = network.add(&node, &web_container).map_err(|error| agent.with_log(error.into()))?;
    assert!(is_captured(&web)?, "before its first packet");
    let attached_client = network.add(&node, &client_container)?;
    let member = |name: &str, namespace: &Namespace, attachment: &Attachment| Member {
        name: name.into(),
        namespace: namespace.clone(),
        addresses: attachment.addresses(),
    };
    let members = [member("web", &web, &attached), member("client", &client, &attached_client)];
    site.files.write_workloads(&members.each_ref())?;
    proxy.signal(Signal::SIGHUP)?;
    wait_for("the facts are read", || Ok(proxy.log()?.contains("facts replaced")))?;
    let _application = http::Server::start(&web, APPLICATION)?;
    for address in attached.addresses() {
        let answer = http::request(&client, SocketAddr::new(address, APPLICATION), "/", b"")?;
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(pods(&site)?, 2);
    network.check(&node, &web_container, &attached)?;
    latest(&site)?.ask("STATUS", &node, "inpod-cni", &[])?;
    network.del(&node, &web_container, &attached)?;
    network.del(&node, &web_container, &attached)?;
    wait_for("forgotten", || Ok(pods(&site)? == 1))?;
    network.check(&node, &client_container, &attached_client)?;
    Ok(())
}

fn without_a_proxy_a_pod_does_not_start() -> Outcome {
    let node = namespace()?;
    let site = Site::new(&node, &[])?;
    let agent = site.agent()?;
    site.files.write("web", "")?;
    let network = network(&site, 2)?;
    wait_for("the agent", || Ok(site.status().is_ok()))?;
    let web = namespace()?;
    let error = network.add(&node, &container("c1", &web, WEB)).err().ok_or("it starts")?;
    let said = said(&error).map_err(|error| agent.with_log(error))?;
    assert!(said.contains("answer"), "{said}");
    let unready = latest(&site)?.ask("STATUS", &node, "inpod-cni", &[]).err().ok_or("it is ready")?;
    assert!(unready.to_string().contains("no proxy is connected"), "{unready}");
    wait_for("forgotten", || Ok(pods(&site)? == 0))
}

fn a_pod_that_nobody_knows_starts_as_it_is() -> Outcome {
    let node = namespace()?;
    let site = Site::new(&node, &[])?;
    let (_agent, _proxy) = (site.agent()?, site.proxy()?);
    wait_for("the agent", || Ok(site.status().is_ok()))?;
    let network = network(&site, 20)?;
    let web = namespace()?;
    network.add(&node, &container("c1", &web, WEB))?;
    assert!(!is_captured(&web)?);
    // One whose file cannot be read may be meant to be in.
    std::fs::write(site.files.pod("web"), "{name: web, ")?;
    let other = namespace()?;
    let error = network.add(&node, &container("c2", &other, WEB)).err().ok_or("it starts")?;
    assert!(said(&error)?.contains("may be this pod's"), "{error}");
    Ok(())
}

fn an_agent_that_comes_back_knows_its_containers() -> Outcome {
    let node = namespace()?;
    let site = Site::new(&node, &[])?;
    let (mut agent, _proxy) = (site.agent()?, site.proxy()?);
    site.files.write("web", "")?;
    let network = network(&site, 20)?;
    wait_for("a proxy", || {
        Ok(site.status().is_ok_and(|status| status.get("proxies") == Some(&Value::from(1))))
    })?;
    let web = namespace()?;
    let web_container = container("c1", &web, WEB);
    let attached = network.add(&node, &web_container)?;
    agent.signal(Signal::SIGKILL)?;
    agent.wait()?;
    let error = network.check(&node, &web_container, &attached).err().ok_or("it knows")?;
    said(&error)?;
    let agent = site.agent()?;
    // The runtime's path is that of a process's descriptor, as long as this test runs.
    site.wait_for_enrolled(1).map_err(|error| agent.with_log(error))?;
    assert_eq!(site.served()?, 1);
    network.del(&node, &web_container, &attached)?;
    wait_for("forgotten", || Ok(pods(&site)? == 0 && site.served()? == 0))
}

fn gc_forgets_who_has_left() -> Outcome {
    let node = namespace()?;
    let site = Site::new(&node, &[])?;
    let (_agent, _proxy) = (site.agent()?, site.proxy()?);
    for name in ["web", "client"] {
        site.files.write(name, "")?;
    }
    wait_for("a proxy", || {
        Ok(site.status().is_ok_and(|status| status.get("proxies") == Some(&Value::from(1))))
    })?;
    let network = network(&site, 20)?;
    let members = [("web", WEB), ("client", CLIENT)];
    let namespaces = [namespace()?, namespace()?];
    let ids = ["c1", "c2"];
    let containers: Vec<Container<'_>> = members
        .iter()
        .zip(&namespaces)
        .zip(ids)
        .map(|(((_, arguments), namespace), id)| container(id, namespace, arguments))
        .collect();
    for container in &containers {
        network.add(&node, container)?;
    }
    assert_eq!(pods(&site)?, 2);
    let stays: Vec<&Container<'_>> = containers.iter().take(1).collect();
    latest(&site)?.ask("GC", &node, "inpod-cni", &stays)?;
    wait_for("one is left", || Ok(pods(&site)? == 1))
}
