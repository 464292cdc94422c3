//! Any CNI: on each network pods are captured both ways, and nothing of the network or of the node changes.

mod bpf;
mod past_the_host;
mod plugins;
mod state;
mod without_plugins;

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use netns::Namespace;
use nix::sys::signal::Signal;
use testkit::child::Child;
use testkit::cni::Network;
use testkit::http;
use testkit::kernel::{Case, Outcome};
use testkit::lab::loopback_up;

use self::state::state;
use crate::mesh::{APPLICATION, LIMIT, Member, Result, Site, is_captured, wait_for};

pub(crate) fn cases() -> Vec<Case> {
    plugins::cases().into_iter().chain(without_plugins::cases()).collect()
}

/// A network, and three pods that are attached to it.
struct Attached {
    client: Member,
    server: Member,
    outsider: Member,
    /// Whether processes of the node reach its pods: not where they are on a link of their own.
    node_reaches: bool,
    /// They go with this.
    _network: Option<Network>,
    _far: Option<Namespace>,
}

impl Attached {
    fn pods(&self) -> [&Member; 3] {
        [&self.client, &self.server, &self.outsider]
    }
}

/// Nobody who does not prove an identity.
const STRICT: &str = "policies: [{name: strict, namespace: test, scope: Namespace, action: Deny, rules: [[[{notPrincipals: [Presence: []]}]]]}]\n";

fn namespace() -> Result<Namespace> {
    let namespace = Namespace::create()?;
    loopback_up(&namespace)?;
    Ok(namespace)
}

/// A node with the agent and the proxy, and a network of which pods are as their files say.
struct Scene {
    site: Site,
    attached: Attached,
    agent: Child,
    proxy: Child,
}

/// All that holds on any network.
fn any_network(attach: fn(&Site) -> Result<Attached>) -> Outcome {
    let node = namespace()?;
    let site = Site::new(&node, &[])?;
    let agent = site.agent_with(|command| {
        command.args(["--probes", "node", "--patience", "2"]);
    })?;
    let proxy = site.proxy()?;
    wait_for("the agent", || Ok(site.status().is_ok()))?;
    let attached = attach(&site)?;
    let scene = Scene { site, attached, agent, proxy };
    scene.know("")?;
    let pods = scene.attached.pods();
    let [client, server, outsider] = pods;
    // Applications talk, so that what the kernel learns by itself is learnt.
    scene.all_reach()?;
    let before = pods.map(|pod| state(&pod.namespace));
    let node_before = state(&node)?;

    scene.site.files.write_pod(client, "")?;
    scene.site.files.write_pod(server, "")?;
    scene.site.wait_for_enrolled(2).map_err(|error| scene.agent.with_log(error))?;
    assert!(is_captured(&client.namespace)? && is_captured(&server.namespace)?);
    assert_ne!(state(&client.namespace)?, before_of(&before, 0)?, "rules are seen");
    scene.all_reach()?;
    assert_eq!(
        state(&node)?,
        node_before,
        "nothing of ours in the node's namespace but the exemption of probes"
    );
    assert_eq!(state(&outsider.namespace)?, before_of(&before, 2)?);
    scene.only_the_mesh_passes()?;

    for pod in [client, server] {
        fs::remove_file(scene.site.files.pod(&pod.name))?;
    }
    scene.site.wait_for_enrolled(0).map_err(|error| scene.agent.with_log(error))?;
    for (index, pod) in pods.iter().enumerate() {
        assert_eq!(state(&pod.namespace)?, before_of(&before, index)?, "{} is as before", pod.name);
    }
    assert_eq!(state(&node)?, node_before);
    scene.all_reach()
}

fn before_of(before: &[Result<String>; 3], index: usize) -> Result<String> {
    match before.get(index) {
        Some(Ok(state)) => Ok(state.clone()),
        _ => Err("no state from before".into()),
    }
}

impl Scene {
    /// Has the proxy know the members, and `more` in YAML.
    fn know(&self, more: &str) -> Result<()> {
        let Attached { client, server, .. } = &self.attached;
        let replaced =
            || Ok::<usize, Box<dyn std::error::Error>>(self.proxy.log()?.matches("facts replaced").count());
        let before = replaced()?;
        self.site.files.write_workloads(&[client, server])?;
        let path = self.site.files.path("workloads.yaml");
        let facts = fs::read_to_string(&path)? + more;
        fs::write(path, facts)?;
        self.proxy.signal(Signal::SIGHUP)?;
        wait_for("the facts are read", || Ok(replaced()? > before))
    }

    /// Each pod reaches each other, at each address, and is seen by its own; the node reaches each where it can.
    fn all_reach(&self) -> Result<()> {
        let Attached { client, server, outsider, .. } = &self.attached;
        for (from, to) in [(client, server), (server, client), (outsider, server), (client, outsider)] {
            for address in &to.addresses {
                let source = connect(from, to, *address).map_err(|error| {
                    self.proxy.with_log(format!("{} to {} at {address}: {error}", from.name, to.name).into())
                })?;
                assert!(from.addresses.contains(&source), "{} is seen as {source}", from.name);
            }
        }
        if self.attached.node_reaches {
            self.probe(server, true)?;
        }
        Ok(())
    }

    /// A probe of the node's.
    fn probe(&self, to: &Member, wanted: bool) -> Result<()> {
        let _application = http::Server::start(&to.namespace, APPLICATION)?;
        let is_answered = || {
            let mut answers = to.addresses.iter().map(|address| {
                http::request(&self.site.node, SocketAddr::new(*address, APPLICATION), "/", b"")
            });
            Ok(answers.all(|answer| answer.is_ok_and(|answer| answer.status() == 200)) == wanted)
        };
        wait_for("a probe", is_answered)
    }

    /// What proves no identity is turned away, but for the node's probes: so what passed before was in tunnels.
    fn only_the_mesh_passes(&self) -> Result<()> {
        let Attached { client, server, outsider, node_reaches, .. } = &self.attached;
        self.know(STRICT)?;
        let _application = http::Server::start(&server.namespace, APPLICATION)?;
        for address in &server.addresses {
            let address = SocketAddr::new(*address, APPLICATION);
            assert_eq!(http::request(&client.namespace, address, "/", b"")?.status(), 200);
            assert!(http::request(&outsider.namespace, address, "/", b"").is_err(), "at {address}");
        }
        drop(_application);
        if *node_reaches {
            self.probe(server, true)?;
        }
        self.know("")
    }
}

/// Connects to a new listener at this address; who it was seen to be.
fn connect(from: &Member, to: &Member, address: IpAddr) -> Result<IpAddr> {
    let listener = to.namespace.run(|| TcpListener::bind((address, 0)))??;
    let at = listener.local_addr()?;
    let near = from.namespace.run(|| TcpStream::connect_timeout(&at, LIMIT))??;
    near.set_read_timeout(Some(LIMIT))?;
    listener.set_nonblocking(true)?;
    let accepted = std::cell::Cell::new(None);
    let arrived = || match listener.accept() {
        Ok((far, peer)) => {
            accepted.set(Some((far, peer.ip().to_canonical())));
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            // A connection that goes nowhere has been taken, and ends.
            near.set_nonblocking(true)?;
            let ended = near
                .peek(&mut [0])
                .map_or_else(|error| error.kind() != std::io::ErrorKind::WouldBlock, |bytes| bytes == 0);
            if ended { Err("it goes nowhere".into()) } else { Ok(false) }
        }
        Err(error) => Err(error.into()),
    };
    wait_for("a connection", arrived)?;
    let (_far, peer) = accepted.take().ok_or("accepted")?;
    Ok(peer)
}
