//! Istio's ztunnel as the node's proxy: the agent drives it as it drives ours, and one takes the other's place.
//!
//! `INPOD_PEER_ZTUNNEL` names a ztunnel that was built with its `testing` feature. It is not part of this project.

use std::net::SocketAddr;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::child::Child;
use testkit::http;
use testkit::kernel::{Case, Outcome};
use testkit::lab::Lab;

use crate::mesh::{APPLICATION, Member, Result, Site, is_captured, wait_for, with_programs};

pub(crate) fn cases() -> Vec<Case> {
    vec![with_programs("ztunnel_is_driven_and_exchanged", ztunnel_is_driven_and_exchanged).needs_env(PROGRAM)]
}

const PROGRAM: &str = "INPOD_PEER_ZTUNNEL";

/// Its environment: `src/config.rs` in its source.
fn ztunnel(site: &Site) -> Result<Child> {
    let mut command = Command::new(std::env::var_os(PROGRAM).ok_or("no ztunnel")?);
    command.env("FAKE_CA", "true").env("XDS_ADDRESS", "").env("PROXY_MODE", "shared");
    command.env("LOCAL_XDS_PATH", site.files.path("workloads.yaml"));
    command.env("INPOD_UDS", site.files.path("zds/agent.sock"));
    command.env("NODE_NAME", "node").env("RUST_LOG", "info");
    Child::start("ztunnel", &mut command, &site.node, &site.files.log("ztunnel"))
}

fn reaches(from: &Member, to: &Member) -> Result<()> {
    for address in &to.addresses {
        let answer = http::request(&from.namespace, SocketAddr::new(*address, APPLICATION), "/", b"")?;
        assert_eq!(answer.status(), 200);
        assert!(answer.peer().is_some_and(|peer| from.addresses.contains(&peer.ip())), "{answer:?}");
    }
    Ok(())
}

fn ztunnel_is_driven_and_exchanged() -> Outcome {
    let lab = Lab::new()?;
    let pod = |name: &str| lab.pod(name).map(|pod| Member::from(&pod));
    let (client, server, late) = (pod("client")?, pod("server")?, pod("late")?);
    let site = Site::new(lab.node(), &[&client, &server, &late])?;
    let agent = site.agent()?;
    let mut proxy = ztunnel(&site)?;
    for pod in [&client, &server] {
        site.files.write_pod(pod, "")?;
    }
    site.wait_for_enrolled(2).map_err(|error| agent.with_log(proxy.with_log(error)))?;
    let applications = [&client, &server, &late].map(|pod| http::Server::start(&pod.namespace, APPLICATION));
    let _applications = applications.into_iter().collect::<std::io::Result<Vec<_>>>()?;
    reaches(&client, &server).map_err(|error| proxy.with_log(error))?;
    // Pods come and go.
    site.files.write_pod(&late, "")?;
    site.wait_for_enrolled(3).map_err(|error| agent.with_log(proxy.with_log(error)))?;
    reaches(&late, &client)?;
    std::fs::remove_file(site.files.pod("late"))?;
    site.wait_for_enrolled(2).map_err(|error| agent.with_log(error))?;
    wait_for("released", || Ok(!is_captured(&late.namespace)?))?;
    reaches(&late, &client)?;
    // It is killed, and ours comes; that is killed, and it comes again: the sockets that the agent holds for ours are not in its way.
    for next in [Site::proxy, ztunnel, Site::proxy] {
        proxy.signal(Signal::SIGKILL)?;
        proxy.wait()?;
        wait_for("no proxy", || Ok(site.status()?.get("proxies") == Some(&Value::from(0))))?;
        proxy = next(&site)?;
        site.wait_for_enrolled(2).map_err(|error| agent.with_log(proxy.with_log(error)))?;
        for _ in 0..10 {
            reaches(&client, &server).map_err(|error| agent.with_log(proxy.with_log(error)))?;
        }
    }
    Ok(())
}
