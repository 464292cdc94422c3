//! Site: a node with the agent and the proxy as programs, and what they are given.

mod cluster;
mod files;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netns::Namespace;
use proxy_core::Config;
use proxy_core::capture;
use redirect::Verdict;
use serde_json::Value;
use testkit::child::Child;
use testkit::http;
use testkit::kernel::{Case, Outcome, test};

pub(crate) use cluster::{Cluster, NODE, ambient, none};
pub(crate) use files::{Files, Member};

/// No step of a test takes longer than this; one that does has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Where applications listen.
pub(crate) const APPLICATION: u16 = 8080;

/// Where the proxy tells about itself, in its own namespace.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);

/// A test that needs the workspace's other programs: `cargo test --workspace` builds them.
pub(crate) fn with_programs(name: &str, body: impl FnOnce() -> Outcome + Send + 'static) -> Case {
    test(name, body).needs_path(program("node-proxy")).needs_path(program("inpod-cni"))
}

/// A program of the workspace: beside the agent, or in the folder that `INPOD_PROGRAMS` names, for users who may not enter the checkout.
pub(crate) fn program(name: &str) -> PathBuf {
    match std::env::var_os("INPOD_PROGRAMS") {
        Some(folder) => PathBuf::from(folder).join(name),
        None => PathBuf::from(env!("CARGO_BIN_EXE_node-agent")).with_file_name(name),
    }
}

/// A node.
pub(crate) struct Site {
    pub(crate) node: Namespace,
    pub(crate) files: Files,
}

impl Site {
    pub(crate) fn new(node: &Namespace, members: &[&Member]) -> Result<Self> {
        Ok(Self { node: node.clone(), files: Files::new(members)? })
    }

    pub(crate) fn agent(&self) -> Result<Child> {
        self.agent_with(|_| {})
    }

    pub(crate) fn agent_with(&self, more: impl FnOnce(&mut Command)) -> Result<Child> {
        let mut command = self.files.agent();
        more(&mut command);
        Child::start("node-agent", &mut command, &self.node, &self.files.log("node-agent"))
    }

    /// The agent of a node of a cluster.
    pub(crate) fn agent_in(&self, cluster: &Cluster) -> Result<Child> {
        let mut command = self.files.agent_of_none();
        cluster.tell(&mut command);
        Child::start("node-agent", &mut command, &self.node, &self.files.log("node-agent"))
    }

    pub(crate) fn proxy(&self) -> Result<Child> {
        let mut command = self.files.proxy();
        command.args(["--admin", &ADMIN.to_string()]);
        Child::start("node-proxy", &mut command, &self.node, &self.files.log("node-proxy"))
    }

    /// Another proxy, while there is one.
    pub(crate) fn proxy_beside(&self) -> Result<Child> {
        Child::start("node-proxy", &mut self.files.proxy(), &self.node, &self.files.log("node-proxy-beside"))
    }

    /// How many proxies are connected.
    pub(crate) fn proxies(&self) -> Result<u64> {
        Ok(self.status()?.get("proxies").and_then(Value::as_u64).unwrap_or_default())
    }

    /// What the agent says, as JSON.
    pub(crate) fn status(&self) -> Result<Value> {
        let output = self.ask(&["--json"])?;
        Ok(serde_json::from_str(&output)?)
    }

    /// What `node-agent status` says.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program("node-agent"));
        command.arg("status").arg("--control").arg(self.files.control()).args(arguments);
        let output = command.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until the agent says that so many pods are enrolled, and no other is there.
    pub(crate) fn wait_for_enrolled(&self, pods: usize) -> Result<()> {
        let waited = wait_for(&format!("{pods} enrolled"), || {
            let Ok(status) = self.status() else { return Ok(false) };
            let all = status.get("pods").and_then(Value::as_array).ok_or("no pods")?;
            let enrolled = all.iter().filter(|pod| pod.get("enrolled") == Some(&Value::Bool(true))).count();
            Ok(enrolled == pods && all.len() == pods && status.get("complete") == Some(&Value::Bool(true)))
        });
        waited.map_err(|error| {
            format!("{error}: {}", self.ask(&[]).unwrap_or_else(|error| error.to_string())).into()
        })
    }

    /// How many pods the proxy says that it serves.
    pub(crate) fn served(&self) -> Result<usize> {
        let state = http::request(&self.node, ADMIN, "/", b"")?;
        let state = String::from_utf8_lossy(state.body()).into_owned();
        let line = state.lines().find_map(|line| line.strip_prefix("pods serving "));
        Ok(line.ok_or("no line")?.parse()?)
    }
}

/// Whether all rules are in a namespace, and nothing else in their places.
pub(crate) fn is_captured(namespace: &Namespace) -> Result<bool> {
    Ok(capture::verify(namespace, &capture::plan(&Config::default())?)? == Verdict::Same)
}

/// Asks again and again, until it is so. For what nothing tells.
pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while !is_so()? {
        if Instant::now() > end {
            return Err(format!("{what}: not within {LIMIT:?}").into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Both ends of a connection.
pub(crate) fn pair(client: &Member, server: &Member, port: u16) -> Result<(TcpStream, TcpStream)> {
    let address = SocketAddr::new(*server.addresses.first().ok_or("no address")?, port);
    let listener = server.namespace.run(|| TcpListener::bind(address))??;
    let near = client.namespace.run(|| TcpStream::connect_timeout(&address, LIMIT))??;
    let (far, _) = listener.accept()?;
    near.set_read_timeout(Some(LIMIT))?;
    far.set_read_timeout(Some(LIMIT))?;
    Ok((near, far))
}
