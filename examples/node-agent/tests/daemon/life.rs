//! A node's life: pods come, change and go, and so do the agent and the proxy.

use std::fs;
use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::conversation::converse;
use testkit::http;
use testkit::kernel::{Case, Outcome};
use testkit::lab::Lab;
use testkit::listening;

use crate::mesh::{APPLICATION, Member, Result, Site, is_captured, pair, wait_for, with_programs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        with_programs("pods_in_files_are_enrolled", pods_in_files_are_enrolled),
        with_programs("an_agent_comes_back_and_nobody_notices", an_agent_comes_back_and_nobody_notices),
        with_programs("what_left_while_no_agent_ran_is_released", what_left_while_no_agent_ran_is_released),
        with_programs("a_proxy_comes_back_and_is_told", a_proxy_comes_back_and_is_told),
        with_programs("bad_pod_files_are_shown", bad_pod_files_are_shown),
        with_programs("a_node_that_was_booted_again_is_as_before", a_node_that_was_booted_again_is_as_before),
        with_programs("probes_of_the_node_are_exempted", probes_of_the_node_are_exempted),
    ]
}

/// Pods of a lab.
pub(crate) fn members<const N: usize>(lab: &Lab, names: [&str; N]) -> Result<[Member; N]> {
    let pods = names.iter().map(|name| lab.pod(*name).map(|pod| Member::from(&pod)));
    let pods = pods.collect::<Result<Vec<_>, _>>()?;
    pods.try_into().map_err(|_| "as many pods as names".into())
}

/// Asks an application in `to` from inside `from`, at each address.
pub(crate) fn reaches(from: &Member, to: &Member) -> Result<()> {
    for address in &to.addresses {
        let address = SocketAddr::new(*address, APPLICATION);
        assert_eq!(http::request(&from.namespace, address, "/", b"")?.status(), 200);
    }
    Ok(())
}

fn pods_in_files_are_enrolled() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = members(&lab, ["client", "server"])?;
    let site = Site::new(lab.node(), &[&client, &server])?;
    let (agent, _proxy) = (site.agent()?, site.proxy()?);
    site.files.write_pod(&client, "")?;
    site.files.write_pod(&server, "")?;
    site.wait_for_enrolled(2).map_err(|error| agent.with_log(error))?;
    assert!(is_captured(&client.namespace)? && listening(&client.namespace, 15008)? > 0);
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    reaches(&client, &server)?;
    let status = site.status()?;
    let pod = status.pointer("/pods/0").ok_or("no pod")?;
    let field = |name: &str| pod.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    assert_eq!((field("name"), field("identity")), ("client".into(), "ns/test/sa/client".into()));
    assert_eq!(pod.get("addresses").and_then(Value::as_array).map(Vec::len), Some(2), "{pod}");
    let table = site.ask(&[])?;
    assert!(table.starts_with("2 of 2 pods enrolled; 1 proxies\n"), "{table}");
    // One leaves the mesh and lives on.
    fs::remove_file(site.files.pod("client"))?;
    site.wait_for_enrolled(1)?;
    wait_for("released", || Ok(!is_captured(&client.namespace)?))?;
    reaches(&client, &server)
}

fn an_agent_comes_back_and_nobody_notices() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = members(&lab, ["client", "server"])?;
    let site = Site::new(lab.node(), &[&client, &server])?;
    let (mut agent, _proxy) = (site.agent()?, site.proxy()?);
    site.files.write_pod(&client, "")?;
    site.files.write_pod(&server, "")?;
    site.wait_for_enrolled(2).map_err(|error| agent.with_log(error))?;
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    let (near, far) = pair(&client, &server, 8081)?;
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        agent.signal(signal)?;
        let ended = agent.wait()?;
        assert_eq!(ended.success(), signal == Signal::SIGTERM, "{ended}");
        converse(&near, &far)?;
        reaches(&client, &server)?;
        assert!(is_captured(&client.namespace)?);
        agent = site.agent()?;
        site.wait_for_enrolled(2).map_err(|error| agent.with_log(error))?;
        converse(&near, &far)?;
        reaches(&client, &server)?;
    }
    // A second one takes the first one's place, as in an upgrade.
    let second = site.agent()?;
    wait_for("two proxies' connections are one", || {
        Ok(site.status()?.get("complete") == Some(&Value::Bool(true)))
    })?;
    agent.signal(Signal::SIGTERM)?;
    agent.wait()?;
    site.wait_for_enrolled(2).map_err(|error| second.with_log(error))?;
    converse(&near, &far)
}

fn what_left_while_no_agent_ran_is_released() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = members(&lab, ["client", "server"])?;
    let site = Site::new(lab.node(), &[&client, &server])?;
    let (mut agent, _proxy) = (site.agent()?, site.proxy()?);
    site.files.write_pod(&client, "")?;
    site.files.write_pod(&server, "")?;
    site.wait_for_enrolled(2).map_err(|error| agent.with_log(error))?;
    agent.signal(Signal::SIGKILL)?;
    agent.wait()?;
    fs::remove_file(site.files.pod("client"))?;
    let mut agent = site.agent()?;
    wait_for("released", || Ok(!is_captured(&client.namespace)?)).map_err(|error| agent.with_log(error))?;
    site.wait_for_enrolled(1).map_err(|error| agent.with_log(error))?;
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    reaches(&client, &server)?;
    // What it remembers is no longer about that one.
    agent.signal(Signal::SIGTERM)?;
    agent.wait()?;
    assert!(is_captured(&server.namespace)?);
    let agent = site.agent()?;
    site.wait_for_enrolled(1).map_err(|error| agent.with_log(error))
}

fn a_proxy_comes_back_and_is_told() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = members(&lab, ["client", "server"])?;
    let site = Site::new(lab.node(), &[&client, &server])?;
    let (agent, mut proxy) = (site.agent()?, site.proxy()?);
    site.files.write_pod(&client, "")?;
    site.files.write_pod(&server, "")?;
    site.wait_for_enrolled(2).map_err(|error| agent.with_log(error))?;
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    proxy.signal(Signal::SIGKILL)?;
    proxy.wait()?;
    wait_for("no proxy", || Ok(site.status()?.get("proxies") == Some(&Value::from(0))))?;
    // Closed, and not open: there is no way past a proxy that is not there.
    assert!(is_captured(&client.namespace)?);
    assert!(reaches_not(&client, &server));
    let _proxy = site.proxy()?;
    site.wait_for_enrolled(2).map_err(|error| agent.with_log(error))?;
    reaches(&client, &server)
}

fn reaches_not(from: &Member, to: &Member) -> bool {
    let tried = to
        .addresses
        .iter()
        .map(|address| http::request(&from.namespace, SocketAddr::new(*address, APPLICATION), "/", b""));
    tried.into_iter().all(|answer| answer.is_err())
}

fn bad_pod_files_are_shown() -> Outcome {
    let lab = Lab::new()?;
    let [client] = members(&lab, ["client"])?;
    let site = Site::new(lab.node(), &[&client])?;
    let (agent, _proxy) = (site.agent()?, site.proxy()?);
    site.files.write_pod(&client, "")?;
    fs::write(site.files.pod("node"), "{name: node, namespace: test, netns: /proc/self/ns/net}")?;
    fs::write(site.files.pod("evil"), "{name: \"\\e[2J\", namespace: test}")?;
    site.wait_for_enrolled(1).map_err(|error| agent.with_log(error))?;
    wait_for("both are shown", || {
        let table = site.ask(&[])?;
        Ok(table.contains("node  its network namespace is the node's own") && table.contains("evil"))
    })?;
    assert!(!site.ask(&[])?.contains('\u{1b}'));
    assert!(!is_captured(lab.node())?);
    Ok(())
}

fn a_node_that_was_booted_again_is_as_before() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = members(&lab, ["client", "server"])?;
    let site = Site::new(lab.node(), &[&client, &server])?;
    site.files.write_pod(&client, "")?;
    site.files.write_pod(&server, "")?;
    // Running pods, empty rules, and who starts first is chance.
    for proxy_first in [true, false] {
        let first = if proxy_first { site.proxy()? } else { site.agent()? };
        let second = if proxy_first { site.agent()? } else { site.proxy()? };
        site.wait_for_enrolled(2).map_err(|error| first.with_log(second.with_log(error)))?;
        drop((first, second));
        for pod in [&client, &server] {
            assert!(is_captured(&pod.namespace)?);
            proxy_core::capture::release(
                &pod.namespace,
                &proxy_core::capture::plan(&proxy_core::Config::default())?,
            )?;
        }
    }
    Ok(())
}

fn probes_of_the_node_are_exempted() -> Outcome {
    let lab = Lab::new()?;
    let [server] = members(&lab, ["server"])?;
    let site = Site::new(lab.node(), &[&server])?;
    // A deny of everything that is not in the mesh: what passes, passes past the proxy.
    fs::write(
        site.files.path("workloads.yaml"),
        "policies: [{name: strict, namespace: test, scope: Namespace, action: Deny, rules: [[[{notPrincipals: [Presence: []]}]]]}]",
    )?;
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    site.files.write_pod(&server, "")?;
    let mut agent = site.agent()?;
    let _proxy = site.proxy()?;
    site.wait_for_enrolled(1).map_err(|error| agent.with_log(error))?;
    let probe = || {
        let mut answers = server
            .addresses
            .iter()
            .map(|address| http::request(lab.node(), SocketAddr::new(*address, APPLICATION), "/", b""));
        answers.all(|answer| answer.is_ok_and(|answer| answer.status() == 200))
    };
    assert!(!probe());
    agent.signal(Signal::SIGTERM)?;
    agent.wait()?;
    let agent = site.agent_with(|command| {
        command.args(["--probes", "node"]);
    })?;
    site.wait_for_enrolled(1).map_err(|error| agent.with_log(error))?;
    wait_for("a probe passes", || Ok(probe()))
}
