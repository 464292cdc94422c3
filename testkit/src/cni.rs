//! A small container runtime's part of CNI: it runs plugins to attach a namespace to a network, and to detach it.
//!
//! After the [specification](https://www.cni.dev/docs/spec/), sections 2 to 4, version 1.0.0.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio, id};

use netns::{EnterError, Namespace};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A network configuration: plugins that run one after the other. Their state is in a folder of its own, which goes
/// with this.
#[derive(Debug)]
pub struct Network {
    name: String,
    folders: Vec<PathBuf>,
    plugins: Vec<Value>,
    state: TempDir,
}

impl Network {
    /// A network without plugins yet. Plugins are looked for in `folders`, in order.
    ///
    /// # Errors
    ///
    /// When there is no place for its state.
    pub fn new<P: Into<PathBuf>>(
        name: impl Into<String>,
        folders: impl IntoIterator<Item = P>,
    ) -> io::Result<Self> {
        let folders = folders.into_iter().map(Into::into).collect();
        Ok(Self { name: name.into(), folders, plugins: Vec::new(), state: TempDir::new()? })
    }

    /// Adds the `bridge` plugin with addresses of `host-local`: a bridge `cni0` in the node, and for each pod an address
    /// of 10.88.0.0/16 and one of `fd88::/64`, with default routes.
    #[must_use]
    pub fn bridge(self) -> Self {
        let state = self.state.path().join("addresses");
        let ipam = json!({
            "type": "host-local",
            "dataDir": state,
            "ranges": [[{ "subnet": "10.88.0.0/16" }], [{ "subnet": "fd88::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        });
        self.plugin(json!({ "type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": ipam }))
    }

    /// Adds any plugin: its configuration, with its `type`. `cniVersion`, `name` and `prevResult` are filled in.
    #[must_use]
    pub fn plugin(mut self, configuration: Value) -> Self {
        self.plugins.push(configuration);
        self
    }

    /// Attaches a container: runs all plugins with ADD in the node's namespace.
    ///
    /// # Errors
    ///
    /// [`CniError`], naming the plugin. What earlier plugins did stays, until [`del`](Self::del).
    pub fn add(&self, node: &Namespace, container: &Container<'_>) -> Result<Attachment, CniError> {
        let mut result = Value::Null;
        for plugin in &self.plugins {
            result = self.run("ADD", node, container, plugin, &result)?;
        }
        Ok(Attachment { result })
    }

    /// Detaches a container: runs all plugins with DEL, the last one first. Detaching twice is no error.
    ///
    /// # Errors
    ///
    /// [`CniError`], naming the plugin.
    pub fn del(
        &self,
        node: &Namespace,
        container: &Container<'_>,
        attachment: &Attachment,
    ) -> Result<(), CniError> {
        for plugin in self.plugins.iter().rev() {
            self.run("DEL", node, container, plugin, &attachment.result)?;
        }
        Ok(())
    }

    fn run(
        &self,
        verb: &str,
        node: &Namespace,
        container: &Container<'_>,
        plugin: &Value,
        previous: &Value,
    ) -> Result<Value, CniError> {
        let name = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
        let program = self.find(name)?;
        let run = |source| CniError::Run { plugin: name.to_owned(), source };
        let mut child = node.run(|| self.command(verb, &program, container).spawn())?.map_err(run)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(self.configuration(plugin, previous).to_string().as_bytes()).map_err(run)?;
        }
        read_answer(name, &child.wait_with_output().map_err(run)?)
    }

    fn find(&self, plugin: &str) -> Result<PathBuf, CniError> {
        let mut programs = self.folders.iter().map(|folder| folder.join(plugin));
        programs
            .find(|program| program.is_file())
            .ok_or_else(|| CniError::Missing { plugin: plugin.to_owned() })
    }

    /// The environment is the parameters, section 2 of the specification; a plugin gets no other but `PATH`.
    fn command(&self, verb: &str, program: &Path, container: &Container<'_>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", container.id);
        // Its descriptor is open as long as the plugin runs.
        let descriptor = container.namespace.as_fd().as_raw_fd();
        command.env("CNI_NETNS", format!("/proc/{}/fd/{descriptor}", id()));
        command.env("CNI_IFNAME", container.interface);
        if let Ok(path) = std::env::join_paths(&self.folders) {
            command.env("CNI_PATH", path);
        }
        if !container.arguments.is_empty() {
            let pairs: Vec<_> =
                container.arguments.iter().map(|(key, value)| format!("{key}={value}")).collect();
            command.env("CNI_ARGS", pairs.join(";"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What a plugin reads, derived from the network's configuration (section 4).
    fn configuration(&self, plugin: &Value, previous: &Value) -> Value {
        let mut configuration = plugin.clone();
        if let Some(fields) = configuration.as_object_mut() {
            fields.insert("cniVersion".to_owned(), json!(VERSION));
            fields.insert("name".to_owned(), json!(self.name));
            if !previous.is_null() {
                fields.insert("prevResult".to_owned(), previous.clone());
            }
        }
        configuration
    }
}

/// The version of the specification.
const VERSION: &str = "1.0.0";

/// What is to be attached.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// The container's name, unique on its node.
    pub id: &'a str,
    /// Its namespace.
    pub namespace: &'a Namespace,
    /// What its interface is to be called.
    pub interface: &'a str,
    /// Further facts (`CNI_ARGS`), such as `K8S_POD_NAME`.
    pub arguments: &'a [(&'a str, &'a str)],
}

/// What came of attaching.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    result: Value,
}

impl Attachment {
    /// The container's addresses, in the order of the result.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.result.get("ips").and_then(Value::as_array);
        ips.into_iter().flatten().filter_map(address_of).collect()
    }

    /// The last plugin's result as it stands.
    #[must_use]
    pub fn result(&self) -> &Value {
        &self.result
    }
}

/// `{"address": "10.88.0.2/16", ..}`
fn address_of(ip: &Value) -> Option<IpAddr> {
    ip.get("address")?.as_str()?.split('/').next()?.parse().ok()
}

fn read_answer(plugin: &str, output: &Output) -> Result<Value, CniError> {
    if output.status.success() && output.stdout.is_empty() {
        return Ok(Value::Null);
    }
    let answer = serde_json::from_slice(&output.stdout);
    match (answer, output.status.success()) {
        (Ok(result), true) => Ok(result),
        (Ok(error), false) => Err(CniError::Failed { plugin: plugin.to_owned(), error }),
        (Err(source), _) => {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(CniError::Malformed { plugin: plugin.to_owned(), stderr, source })
        }
    }
}

/// Why a container was not attached or detached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CniError {
    /// The node's namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// There is no such plugin.
    #[error("there is no plugin {plugin}")]
    Missing {
        /// Its type.
        plugin: String,
    },
    /// A plugin could not be run.
    #[error("cannot run the plugin {plugin}")]
    Run {
        /// Its type.
        plugin: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A plugin failed.
    #[error("the plugin {plugin} failed: {error}")]
    Failed {
        /// Its type.
        plugin: String,
        /// What it said: section 5 of the specification.
        error: Value,
    },
    /// A plugin did not answer in the words of the specification.
    #[error("the plugin {plugin} answered with something else than JSON, and said: {stderr}")]
    Malformed {
        /// Its type.
        plugin: String,
        /// What it wrote for people.
        stderr: String,
        /// How the answer is wrong.
        #[source]
        source: serde_json::Error,
    },
}
