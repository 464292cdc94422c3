//! A small container runtime's part of CNI: it runs plugins to attach a namespace to a network, and to detach it.
//!
//! After the [specification](https://www.cni.dev/docs/spec/), sections 2 to 4.

mod answer;

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};

use netns::Namespace;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::answer::CniError;
use self::answer::read_answer;

/// A network configuration: plugins that run one after the other. Their state is in a folder of its own, which goes
/// with this.
#[derive(Debug)]
pub struct Network {
    name: String,
    folders: Vec<PathBuf>,
    plugins: Vec<Value>,
    capabilities: Vec<(String, Value)>,
    version: String,
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
        let version = VERSION.to_owned();
        let state = TempDir::new()?;
        Ok(Self { name: name.into(), folders, plugins: Vec::new(), capabilities: Vec::new(), version, state })
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

    /// Says what runtimes say beside: `value` goes to each plugin whose `capabilities` have `name` (`portMappings`, `bandwidth`).
    #[must_use]
    pub fn capability(mut self, name: impl Into<String>, value: Value) -> Self {
        self.capabilities.push((name.into(), value));
        self
    }

    /// Speaks another version of the specification.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Attaches a container: runs all plugins with ADD in the node's namespace, each with the result of the one before. If one
    /// fails, all are run with DEL, as containerd and CRI-O do.
    ///
    /// # Errors
    ///
    /// [`CniError`], naming the plugin that failed.
    pub fn add(&self, node: &Namespace, container: &Container<'_>) -> Result<Attachment, CniError> {
        match self.add_all(node, container) {
            Ok(attachment) => Ok(attachment),
            Err(error) => {
                // The reason is the plugin that failed, not what could not be undone after it.
                let _ = self.run_backwards(node, container, None);
                Err(error)
            }
        }
    }

    fn add_all(&self, node: &Namespace, container: &Container<'_>) -> Result<Attachment, CniError> {
        let mut results = Vec::new();
        for plugin in &self.plugins {
            let previous = results.last().map(String::as_str);
            results.push(self.run("ADD", node, Some(container), plugin, previous)?);
        }
        Attachment::new(results)
    }

    /// Asks all plugins, in order, whether a container is still as they left it.
    ///
    /// # Errors
    ///
    /// [`CniError`], naming the plugin.
    pub fn check(
        &self,
        node: &Namespace,
        container: &Container<'_>,
        attachment: &Attachment,
    ) -> Result<(), CniError> {
        for plugin in &self.plugins {
            self.run("CHECK", node, Some(container), plugin, attachment.last())?;
        }
        Ok(())
    }

    /// Detaches a container: runs all plugins with DEL, the last one first. Detaching twice is no error.
    ///
    /// # Errors
    ///
    /// [`CniError`] of the first plugin that failed; the others have been run all the same.
    pub fn del(
        &self,
        node: &Namespace,
        container: &Container<'_>,
        attachment: &Attachment,
    ) -> Result<(), CniError> {
        self.run_backwards(node, container, attachment.last())
    }

    fn run_backwards(
        &self,
        node: &Namespace,
        container: &Container<'_>,
        result: Option<&str>,
    ) -> Result<(), CniError> {
        let backwards = self.plugins.iter().rev();
        let ran = backwards.map(|plugin| self.run("DEL", node, Some(container), plugin, result).map(|_| ()));
        ran.fold(Ok(()), Result::and)
    }

    /// Asks the plugin of this type alone, of which a command needs no container: `STATUS`, `VERSION`, or `GC` with the containers
    /// that are to stay. What it says.
    ///
    /// # Errors
    ///
    /// [`CniError`], naming the plugin.
    pub fn ask(
        &self,
        verb: &str,
        node: &Namespace,
        kind: &str,
        stay: &[&Container<'_>],
    ) -> Result<String, CniError> {
        let found = self.plugins.iter().find(|plugin| kind_of(plugin) == kind);
        let mut plugin = found.cloned().ok_or_else(|| CniError::Missing { plugin: kind.to_owned() })?;
        if let Some(fields) = plugin.as_object_mut().filter(|_| verb == "GC") {
            let stay = stay.iter().map(|kept| json!({ "containerID": kept.id, "ifname": kept.interface }));
            fields.insert("cni.dev/valid-attachments".to_owned(), stay.collect());
        }
        self.run(verb, node, None, &plugin, None)
    }

    fn run(
        &self,
        verb: &str,
        node: &Namespace,
        container: Option<&Container<'_>>,
        plugin: &Value,
        previous: Option<&str>,
    ) -> Result<String, CniError> {
        let name = kind_of(plugin);
        let program = self.find(name)?;
        let run = |source| CniError::Run { plugin: name.to_owned(), source };
        let mut child = node.run(|| self.command(verb, &program, container).spawn())?.map_err(run)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(self.configuration(plugin, previous).as_bytes()).map_err(run)?;
        }
        read_answer(name, child.wait_with_output().map_err(run)?)
    }

    fn find(&self, plugin: &str) -> Result<PathBuf, CniError> {
        let mut programs = self.folders.iter().map(|folder| folder.join(plugin));
        programs
            .find(|program| program.is_file())
            .ok_or_else(|| CniError::Missing { plugin: plugin.to_owned() })
    }

    /// The environment is the parameters, section 2 of the specification; a plugin gets no other but `PATH`.
    fn command(&self, verb: &str, program: &Path, container: Option<&Container<'_>>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("CNI_COMMAND", verb);
        if let Some(container) = container {
            // Its descriptor is open as long as the plugin runs.
            let descriptor = container.namespace.as_fd().as_raw_fd();
            command.env("CNI_NETNS", format!("/proc/{}/fd/{descriptor}", id()));
            command.env("CNI_CONTAINERID", container.id).env("CNI_IFNAME", container.interface);
            if !container.arguments.is_empty() {
                let pairs: Vec<_> =
                    container.arguments.iter().map(|(key, value)| format!("{key}={value}")).collect();
                command.env("CNI_ARGS", pairs.join(";"));
            }
        }
        if let Ok(path) = std::env::join_paths(&self.folders) {
            command.env("CNI_PATH", path);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What a plugin reads, derived from the network's configuration (section 4). The result before it goes in as it came, byte for
    /// byte: each plugin writes JSON in its own way.
    fn configuration(&self, plugin: &Value, previous: Option<&str>) -> String {
        let mut configuration = plugin.clone();
        if let Some(fields) = configuration.as_object_mut() {
            fields.insert("cniVersion".to_owned(), json!(self.version));
            fields.insert("name".to_owned(), json!(self.name));
            let said = self.capabilities.iter().filter(|(name, _)| {
                plugin.pointer(&format!("/capabilities/{name}")).and_then(Value::as_bool) == Some(true)
            });
            let said: serde_json::Map<_, _> = said.cloned().collect();
            if !said.is_empty() {
                fields.insert("runtimeConfig".to_owned(), Value::Object(said));
            }
        }
        let text = configuration.to_string();
        match (previous, text.strip_suffix('}')) {
            (Some(previous), Some(open)) => format!("{open},\"prevResult\":{previous}}}"),
            _ => text,
        }
    }
}

fn kind_of(plugin: &Value) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The version of the specification, unless another one is asked for.
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
    texts: Vec<String>,
    result: Value,
}

impl Attachment {
    fn new(texts: Vec<String>) -> Result<Self, CniError> {
        let last = texts.last().map_or("null", String::as_str);
        let result = serde_json::from_str(last).map_err(|source| CniError::Malformed {
            plugin: "the last one".to_owned(),
            stderr: String::new(),
            source,
        })?;
        Ok(Self { texts, result })
    }

    /// What each plugin wrote, in their order, byte for byte.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    fn last(&self) -> Option<&str> {
        self.texts.last().map(String::as_str)
    }

    /// The container's addresses, in the order of the result.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.result.get("ips").and_then(Value::as_array);
        ips.into_iter().flatten().filter_map(address_of).collect()
    }

    /// The last plugin's result.
    #[must_use]
    pub fn result(&self) -> &Value {
        &self.result
    }
}

/// `{"address": "10.88.0.2/16", ..}`
fn address_of(ip: &Value) -> Option<IpAddr> {
    ip.get("address")?.as_str()?.split('/').next()?.parse().ok()
}
