//! One mesh, two makes: pods that `node-proxy` serves and pods that Istio's ztunnel serves reach each other.
//!
//! `INPOD_PEER_ZTUNNEL` names a ztunnel that was built with its `testing` feature, whose built-in test CA
//! `INPOD_PEER_ZTUNNEL_CA_CERT` and `INPOD_PEER_ZTUNNEL_CA_KEY` name (in its source: `src/tls/root-cert.pem` and
//! `src/tls/ca-key.pem`). None of the three is part of this project.

use std::fs;
use std::net::{Ipv6Addr, TcpListener};
use std::process::Command;

use netns::Namespace;
use proxy_core::Config;
use proxy_core::capture::{self, capture};
use testkit::canary::Capture;
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Lab, loopback_up};

use crate::double::{self, EAST, WEST};
use crate::hand_over::{self, Told};
use crate::mesh::{
    APPLICATION, Agent, Child, FAMILIES, Family, Files, Gateway, Member, Mesh, Result, pods, wait_for,
};

pub(crate) fn cases() -> Vec<Case> {
    let case = |name, body: fn() -> Outcome| {
        test(name, body).needs_env(PROGRAM).needs_env(CA_CERT).needs_env(CA_KEY)
    };
    vec![
        case("pods_of_ours_and_of_ztunnels_reach_each_other", pods_of_ours_and_of_ztunnels_reach_each_other),
        case("ztunnel_reaches_ours_in_another_network", ztunnel_reaches_ours_in_another_network),
        case("ours_reaches_ztunnels_in_another_network", ours_reaches_ztunnels_in_another_network),
        case("ztunnel_and_ours_tell_applications_the_same", ztunnel_and_ours_tell_applications_the_same),
    ]
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
    fn start(node: &Namespace, files: &Files, network: &str) -> Result<Self> {
        let socket = files.path().join("ztunnel/agent.sock");
        let mut agent = Agent::start(&socket)?;
        let mut command = Command::new(std::env::var_os(PROGRAM).ok_or("no ztunnel")?);
        command.env("FAKE_CA", "true").env("XDS_ADDRESS", "").env("PROXY_MODE", "shared");
        command.env("LOCAL_XDS_PATH", files.workloads()).env("INPOD_UDS", &socket);
        command
            .env("NODE_NAME", "node")
            .env("NETWORK", network)
            .env("RUST_LOG", "info,ztunnel::proxy::inbound=debug");
        let program = Child::start("ztunnel", &mut command, node, &files.log("ztunnel"))?;
        agent.accept().map_err(|error| program.with_log(error))?;
        Ok(Self { agent, program })
    }

    fn enrol(&mut self, member: &Member) -> Outcome {
        self.agent.add(member).map_err(|error| self.program.with_log(error.into()))?;
        Ok(self.agent.snapshot_sent()?)
    }
}

fn use_its_ca(files: &Files) -> Result<()> {
    fs::copy(std::env::var_os(CA_CERT).ok_or("no certificate")?, files.ca_cert())?;
    fs::copy(std::env::var_os(CA_KEY).ok_or("no key")?, files.ca_key())?;
    Ok(())
}

fn another_node() -> Result<Namespace> {
    let node = Namespace::create()?;
    loopback_up(&node)?;
    Ok(node)
}

fn pods_of_ours_and_of_ztunnels_reach_each_other() -> Outcome {
    const CANARY: &[u8] = b"a canary between two meshes";
    let lab = Lab::new()?;
    let [ours, theirs] = pods(&lab, ["ours", "theirs"])?;
    let files = Files::new(&[&ours, &theirs])?;
    use_its_ca(&files)?;
    let mut mesh = Mesh::start_with(lab.node(), files)?;
    mesh.enrol(&[&ours])?;
    let mut ztunnel = Ztunnel::start(&another_node()?, &mesh.files, "")?;
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

/// A near network with a client, and a far one with a server, each with the files of its proxy.
struct Networks {
    client: Member,
    gateway_pod: Member,
    server: Member,
    lab: Lab,
}

impl Networks {
    /// And the files of the near proxy, and those of the far one.
    fn new() -> Result<(Self, Files, Files)> {
        let lab = Lab::new()?;
        let [client, gateway_pod, server] = pods(&lab, ["client", "gateway", "server"])?;
        let (client, gateway_pod, server) =
            (client.in_network(EAST), gateway_pod.in_network(WEST), server.in_network(WEST));
        let near = Files::new(&[&client, &gateway_pod])?;
        near.write_workloads(&double::beyond(&double::at(&gateway_pod), "server"))?;
        let far = Files::new(&[&server])?;
        far.write_workloads(&double::services(WEST, "server"))?;
        use_its_ca(&near)?;
        use_its_ca(&far)?;
        Ok((Self { client, gateway_pod, server, lab }, near, far))
    }

    fn gateway(&self, near: &Files) -> Result<Gateway> {
        let to = self.server.at(Family::V4, 15008);
        Gateway::start(near, &self.gateway_pod, "gateway", double::TARGET, to)
    }

    fn capture(&self) -> Result<()> {
        let plan = capture::plan(&Config::default())?;
        [&self.client, &self.server].iter().try_for_each(|member| Ok(capture(&member.namespace, &plan)?))
    }
}

/// Small and large bodies come back as they were sent, and the gateway could read neither.
fn exchange(networks: &Networks, gateway: &Gateway) -> Result<()> {
    const CANARY: &[u8] = b"a canary between two networks";
    let application = http::Server::start(&networks.server.namespace, APPLICATION)?;
    for body in [CANARY.to_vec(), CANARY.repeat(100_000)] {
        for family in FAMILIES {
            let to = double::service(family);
            let response = http::request(&networks.client.namespace, to, "/", &body)?;
            assert!(response.echo() == Some(&body), "what came back is what was sent");
        }
    }
    assert_eq!(application.requests(), 4);
    let from = networks.gateway_pod.at(Family::V4, 0).ip();
    assert!(application.peers().iter().all(|peer| peer.ip() == from), "{:?}", application.peers());
    let met = gateway.met();
    assert!(met.peers.iter().all(|peer| peer.to_string() == "spiffe://cluster.local/ns/test/sa/client"));
    assert!(met.targets.iter().all(|(target, _)| target == double::TARGET), "{:?}", met.targets);
    assert!(!met.passed.windows(CANARY.len()).any(|window| window == CANARY));
    Ok(())
}

fn ztunnel_reaches_ours_in_another_network() -> Outcome {
    let (networks, near, far) = Networks::new()?;
    let gateway = networks.gateway(&near)?;
    let mut ztunnel = Ztunnel::start(networks.lab.node(), &near, EAST)?;
    ztunnel.enrol(&networks.client)?;
    networks.capture()?;
    let mut mesh = Mesh::start_with(&another_node()?, far)?;
    mesh.enrol(&[&networks.server])?;
    exchange(&networks, &gateway).map_err(|error| mesh.proxy.with_log(ztunnel.program.with_log(error)))?;
    let client = "peer=spiffe://cluster.local/ns/test/sa/client";
    wait_for("our report", || Ok(mesh.proxy.log()?.contains(client)))
}

fn ours_reaches_ztunnels_in_another_network() -> Outcome {
    let (networks, near, far) = Networks::new()?;
    let gateway = networks.gateway(&near)?;
    let mut ztunnel = Ztunnel::start(&another_node()?, &far, WEST)?;
    ztunnel.enrol(&networks.server)?;
    networks.capture()?;
    let mut mesh = Mesh::start_with(networks.lab.node(), near)?;
    mesh.enrol(&[&networks.client])?;
    exchange(&networks, &gateway).map_err(|error| mesh.proxy.with_log(ztunnel.program.with_log(error)))?;
    // It has read `x-forwarded-network`, and that this is another than its own.
    assert!(ztunnel.program.log()?.contains("request from gateway"));
    let server = "peer=spiffe://cluster.local/ns/test/sa/server";
    wait_for("our report", || Ok(mesh.proxy.log()?.contains(server)))
}

/// Applications that ask for it, one behind each, are told of the same client. ztunnel leaves the authority out.
fn ztunnel_and_ours_tell_applications_the_same() -> Outcome {
    let lab = Lab::new()?;
    let [client, mut ours, mut theirs] = pods(&lab, ["client", "ours", "theirs"])?;
    for asking in [&mut ours, &mut theirs] {
        asking.fields = "applicationTunnel: {protocol: PROXY, port: 15088},".into();
    }
    let files = Files::new(&[&client, &ours, &theirs])?;
    use_its_ca(&files)?;
    let mut mesh = Mesh::start_with(lab.node(), files)?;
    mesh.enrol(&[&client, &ours])?;
    let mut ztunnel = Ztunnel::start(&another_node()?, &mesh.files, "")?;
    ztunnel.enrol(&theirs)?;
    mesh.capture(&[&client, &ours, &theirs])?;
    for family in FAMILIES {
        for server in [&ours, &theirs] {
            let listener = server.namespace.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 15088)))??;
            let to = server.at(family, APPLICATION);
            let mut told = hand_over::told(&hand_over::heard(&listener, &client, to, b"hello")?)?;
            let authority = told.authority.take();
            assert_eq!(authority.is_some(), server.name == "ours");
            let wanted = Told {
                source: Some(client.at(family, 0).ip()),
                destination: Some(to),
                authority: None,
                identity: Some("spiffe://cluster.local/ns/test/sa/client".into()),
                rest: b"hello".into(),
            };
            assert_eq!(told, wanted, "by {}", server.name);
        }
    }
    Ok(())
}
