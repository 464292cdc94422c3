//! Mesh: pods, the agent that hands them to a running `node-proxy`, and the rules that capture them.

mod agent;
mod files;
mod gateway;
#[cfg(feature = "istio-ca")]
mod istiod;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netns::Namespace;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proxy_core::Config;
use proxy_core::capture::{self, capture};
use testkit::http;
use testkit::lab::{Lab, Pod};

pub(crate) use testkit::child::Child;
pub(crate) use testkit::listening;

pub(crate) use agent::Agent;
pub(crate) use files::{Files, new_root, revocation_list};
pub(crate) use gateway::Gateway;
#[cfg(feature = "istio-ca")]
pub(crate) use istiod::Istiod;

/// No step of a test takes longer than this; one that does has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Where applications listen.
pub(crate) const APPLICATION: u16 = 8080;

/// Where the proxy tells about itself, in its own namespace.
pub(crate) const READY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15021);
pub(crate) const STATS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15020);
pub(crate) const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);

/// A pod of any lab or network.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) namespace: Namespace,
    pub(crate) addresses: Vec<IpAddr>,
    /// Its network by the workloads file.
    pub(crate) network: String,
    /// Further fields there, each with a comma after it.
    pub(crate) fields: String,
    /// Its trust domain there.
    pub(crate) trust_domain: String,
}

impl From<Pod> for Member {
    fn from(pod: Pod) -> Self {
        Self::new(pod.name(), pod.namespace().clone(), vec![pod.v4().into(), pod.v6().into()])
    }
}

impl Member {
    /// One of the default network and trust domain.
    pub(crate) fn new(name: &str, namespace: Namespace, addresses: Vec<IpAddr>) -> Self {
        Self {
            name: name.into(),
            namespace,
            addresses,
            network: String::new(),
            fields: String::new(),
            trust_domain: "cluster.local".into(),
        }
    }

    /// The same, of another network than the default one.
    pub(crate) fn in_network(self, network: &str) -> Self {
        Self { network: network.into(), ..self }
    }

    /// The same, of another trust domain.
    pub(crate) fn of(self, trust_domain: &str) -> Self {
        Self { trust_domain: trust_domain.into(), ..self }
    }

    /// Its address of this family, at a port.
    pub(crate) fn at(&self, family: Family, port: u16) -> SocketAddr {
        let wanted = |address: &&IpAddr| address.is_ipv4() == (family == Family::V4);
        SocketAddr::new(*self.addresses.iter().find(wanted).unwrap(), port)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Pods of a lab, by name.
pub(crate) fn pods<const N: usize>(lab: &Lab, names: [&str; N]) -> Result<[Member; N]> {
    let pods = names.iter().map(|name| lab.pod(*name).map(Member::from)).collect::<Result<Vec<_>, _>>()?;
    pods.try_into().map_err(|_| "as many pods as names".into())
}

/// A proxy that serves its members, and captures them.
pub(crate) struct Mesh {
    pub(crate) files: Files,
    pub(crate) node: Namespace,
    pub(crate) agent: Agent,
    pub(crate) proxy: Child,
}

impl Mesh {
    /// Starts `node-proxy` in `node`, hands it the members, waits until it says that it is ready, and captures them.
    pub(crate) fn start(node: &Namespace, members: &[&Member]) -> Result<Self> {
        let mut mesh = Self::start_with(node, Files::new(members)?)?;
        mesh.enrol(members)?;
        mesh.capture(members)?;
        Ok(mesh)
    }

    /// Starts `node-proxy`, which then waits for an agent's word.
    pub(crate) fn start_with(node: &Namespace, files: Files) -> Result<Self> {
        let command = files.command();
        Self::start_as(node, files, command)
    }

    /// [`start_with`](Self::start_with), by a command line of the test's own.
    pub(crate) fn start_as(node: &Namespace, files: Files, mut command: Command) -> Result<Self> {
        let mut agent = Agent::start(&files.zds())?;
        command.args(["--ready", &READY.to_string(), "--stats", &STATS.to_string()]);
        command.args(["--admin", &ADMIN.to_string()]);
        let proxy = Child::start("node-proxy", &mut command, node, &files.log("node-proxy"))?;
        agent.accept().map_err(|error| proxy.with_log(error))?;
        Ok(Self { files, node: node.clone(), agent, proxy })
    }

    /// Hands the members over, as all that there are, and waits until they are served.
    pub(crate) fn enrol(&mut self, members: &[&Member]) -> Result<()> {
        for member in members {
            self.agent.add(member)?;
        }
        self.agent.snapshot_sent()?;
        self.wait_for_status(200).map_err(|error| self.proxy.with_log(error))
    }

    /// Captures pods.
    pub(crate) fn capture(&self, members: &[&Member]) -> Result<()> {
        let plan = capture::plan(&Config::default())?;
        members.iter().try_for_each(|member| Ok(capture(&member.namespace, &plan)?))
    }

    /// The status of the readiness endpoint.
    pub(crate) fn status(&self) -> Result<u16> {
        Ok(http::request(&self.node, READY, "/", b"")?.status())
    }

    pub(crate) fn wait_for_status(&self, wanted: u16) -> Result<()> {
        wait_for(&format!("readiness {wanted}"), || Ok(self.status()? == wanted))
    }

    /// The value of a metric, by its name and labels as they are written.
    pub(crate) fn metric(&self, name: &str) -> Result<u64> {
        let text = String::from_utf8(http::request(&self.node, STATS, "/", b"")?.body().to_vec())?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.ok_or_else(|| format!("no {name} in {text}"))?.parse()?)
    }
}

/// The next connection, whose reads have a limit of time, too.
pub(crate) fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ready, PollTimeout::try_from(LIMIT)?)? == 0 {
        return Err("nobody connected".into());
    }
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Asks again and again, until it is so. For what nothing tells.
pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while !is_so()? {
        if Instant::now() > end {
            return Err(format!("{what}: not within {LIMIT:?}").into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}
