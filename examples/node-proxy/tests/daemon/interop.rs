//! One mesh, two makes: pods that `node-proxy` serves and pods that Istio's ztunnel serves reach each other.
//!
//! `INPOD_PEER_ZTUNNEL` names a ztunnel that was built with its `testing` feature, whose built-in test CA
//! `INPOD_PEER_ZTUNNEL_CA_CERT` and `INPOD_PEER_ZTUNNEL_CA_KEY` name (in its source: `src/tls/root-cert.pem` and
//! `src/tls/ca-key.pem`). None of the three is part of this project.

use std::fs;
use std::process::Command;

use netns::Namespace;
use testkit::canary::Capture;
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Lab, loopback_up};

use crate::mesh::{APPLICATION, Agent, Child, FAMILIES, Files, Member, Mesh, Result, pods};

pub(crate) fn cases() -> Vec<Case> {
    let case =
        test("pods_of_ours_and_of_ztunnels_reach_each_other", pods_of_ours_and_of_ztunnels_reach_each_other);
    vec![case.needs_env(PROGRAM).needs_env(CA_CERT).needs_env(CA_KEY)]
}

const PROGRAM: &str = "INPOD_PEER_ZTUNNEL";
const CA_CERT: &str = "INPOD_PEER_ZTUNNEL_CA_CERT";
const CA_KEY: &str = "INPOD_PEER_ZTUNNEL_CA_KEY";

/// ztunnel in a namespace of its own, and the agent that it follows.
struct Ztunnel {
    agent: Agent,
    program: Child,
}

impl Ztunnel {
    /// Its environment: `src/config.rs` in its source.
    fn start(node: &Namespace, files: &Files) -> Result<Self> {
        let socket = files.path().join("ztunnel/agent.sock");
        let mut agent = Agent::start(&socket)?;
        let mut command = Command::new(std::env::var_os(PROGRAM).ok_or("no ztunnel")?);
        command.env("FAKE_CA", "true").env("XDS_ADDRESS", "").env("PROXY_MODE", "shared");
        command.env("LOCAL_XDS_PATH", files.workloads()).env("INPOD_UDS", &socket);
        command.env("NODE_NAME", "node").env("RUST_LOG", "info");
        let program = Child::start("ztunnel", &mut command, node, &files.log("ztunnel"))?;
        agent.accept().map_err(|error| program.with_log(error))?;
        Ok(Self { agent, program })
    }

    fn enrol(&mut self, member: &Member) -> Outcome {
        self.agent.add(member).map_err(|error| self.program.with_log(error.into()))?;
        Ok(self.agent.snapshot_sent()?)
    }
}

fn pods_of_ours_and_of_ztunnels_reach_each_other() -> Outcome {
    const CANARY: &[u8] = b"a canary between two meshes";
    let lab = Lab::new()?;
    let [ours, theirs] = pods(&lab, ["ours", "theirs"])?;
    let files = Files::new(&[&ours, &theirs])?;
    fs::copy(std::env::var_os(CA_CERT).ok_or("no certificate")?, files.ca_cert())?;
    fs::copy(std::env::var_os(CA_KEY).ok_or("no key")?, files.ca_key())?;

    let mut mesh = Mesh::start_with(lab.node(), files)?;
    mesh.enrol(&[&ours])?;
    let other_node = Namespace::create()?;
    loopback_up(&other_node)?;
    let mut ztunnel = Ztunnel::start(&other_node, &mesh.files)?;
    ztunnel.enrol(&theirs)?;
    mesh.capture(&[&ours, &theirs])?;

    let capture = Capture::start(&ours.namespace, INTERFACE)?;
    for (client, server) in [(&ours, &theirs), (&theirs, &ours)] {
        let application = http::Server::start(&server.namespace, APPLICATION)?;
        for family in FAMILIES {
            let asked = http::request(&client.namespace, server.at(family, APPLICATION), "/", CANARY);
            let response = asked.map_err(|error| {
                mesh.proxy.with_log(
                    ztunnel.program.with_log(format!("{} to {}: {error}", client.name, server.name).into()),
                )
            })?;
            assert_eq!(response.echo(), Some(CANARY));
            assert_eq!(response.peer().map(|peer| peer.ip()), Some(client.at(family, 0).ip()));
        }
        assert_eq!(application.peers().len(), 2);
    }
    let frames = capture.stop()?;
    assert_eq!(frames.drops(), 0);
    let ports = frames.tcp_ports();
    assert!(ports.contains_key(&15008) && !ports.contains_key(&APPLICATION), "{ports:?}");
    assert!(!frames.contains(CANARY), "{frames:?}");
    Ok(())
}
