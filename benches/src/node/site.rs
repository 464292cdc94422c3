//! Site: a node with agent and proxy, and empty pods that it is full of.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cni_plugin::attachment::{Attachment, NamespacePath, Pod};
use cni_plugin::client::ask;
use cni_plugin::configuration::Agent;
use cni_plugin::message::{Answer, Placed, Request};
use netns::Namespace;
use serde_json::Value;
use tempfile::TempDir;
use testkit::child::Child;
use testkit::lab::loopback_up;

use crate::measure::Process;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(300);

pub(crate) struct Site {
    folder: TempDir,
    pods: Vec<Namespace>,
    agent_program: PathBuf,
    agent: Child,
    proxy: Child,
}

/// From where the agent learns a pod's namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    File,
    Runtime,
}

impl Site {
    pub(crate) fn new(count: usize, programs: &Path) -> Result<Self> {
        let network = || -> Result<Namespace> {
            let namespace = Namespace::create()?;
            loopback_up(&namespace)?;
            Ok(namespace)
        };
        let (node, folder) = (network()?, TempDir::new()?);
        let pods = (0..count).map(|_| network()).collect::<Result<_>>().context("making pods")?;
        let file = |name: &str| folder.path().join(name);
        fs::create_dir(file("pods"))?;
        fs::write(file("workloads.yaml"), "{}")?;
        certificate_authority(&file("ca.pem"), &file("ca.key"))?;

        let start = |name: &'static str, command: &mut Command| {
            let started = Child::start(name, command, &node, &file(&format!("{name}.log")));
            started.map_err(|error| anyhow::anyhow!("starting {name}: {error}"))
        };
        let agent_program = programs.join("node-agent");
        let mut agent = Command::new(&agent_program);
        agent.args(["run", "--log", "warn"]).arg("--zds").arg(file("zds/agent.sock"));
        agent.arg("--pods").arg(file("pods")).arg("--control").arg(file("control/agent.sock"));
        agent.arg("--cni").arg(file("cni/agent.sock")).arg("--ledger").arg(file("ledger.json"));
        agent.arg("--pods-memory").arg(file("file-pods.yaml"));
        // As its unit and its manifest have it.
        agent.env("MALLOC_ARENA_MAX", "1");
        let mut proxy = Command::new(programs.join("node-proxy"));
        proxy.args(["--log", "warn"]).arg("--zds").arg(file("zds/agent.sock"));
        proxy.arg("--workloads").arg(file("workloads.yaml"));
        proxy.arg("--ca-cert").arg(file("ca.pem")).arg("--ca-key").arg(file("ca.key"));
        let (agent, proxy) = (start("node-agent", &mut agent)?, start("node-proxy", &mut proxy)?);
        Ok(Self { folder, pods, agent_program, agent, proxy })
    }

    pub(crate) fn agent(&self) -> Process {
        Process { id: self.agent.id() }
    }

    pub(crate) fn proxy(&self) -> Process {
        Process { id: self.proxy.id() }
    }

    pub(crate) fn write_pods(&self, place: Place) -> Result<()> {
        let draft = self.file("pods/.draft");
        for (number, namespace) in self.pods.iter().enumerate() {
            let path = path(namespace);
            let netns = match place {
                Place::File => format!(", netns: {}", path.display()),
                Place::Runtime => String::new(),
            };
            fs::write(
                &draft,
                format!("{{name: pod-{number}, namespace: bench, serviceAccount: bench{netns}}}"),
            )?;
            fs::rename(&draft, self.pod(number))?;
        }
        Ok(())
    }

    pub(crate) fn delete_pods(&self) -> Result<()> {
        (0..self.pods.len()).try_for_each(|number| Ok(fs::remove_file(self.pod(number))?))
    }

    /// What the plugin asks when a pod starts.
    pub(crate) fn add_by_cni(&self, number: usize) -> Result<()> {
        let namespace = self.pods.get(number).context("no such pod")?;
        let name = format!("pod-{number}");
        let path = NamespacePath::try_from(path(namespace))?;
        let attachment = Attachment { container: name.parse()?, interface: "eth0".parse()? };
        let pod = Some(Pod { namespace: "bench".parse()?, name: name.parse()?, uid: None });
        let request = Request::Add(Placed { attachment, pod, path: path.clone(), addresses: Vec::new() });
        let agent = Agent { socket: self.file("cni/agent.sock"), limit: LIMIT };
        match ask(&agent, &request, Some(&path))? {
            Answer::Done => Ok(()),
            other => bail!("the agent says {other:?}"),
        }
    }

    /// Waits until so many pods are enrolled, and no other is there.
    pub(crate) fn wait_for_enrolled(&self, pods: usize) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while self.enrolled().unwrap_or_default() != Some((pods, pods)) {
            if Instant::now() > end {
                bail!(
                    "{pods} pods are not enrolled within {LIMIT:?}: {}",
                    self.agent.log().unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// How many are enrolled, of how many.
    fn enrolled(&self) -> Result<Option<(usize, usize)>> {
        let mut command = Command::new(&self.agent_program);
        let output =
            command.args(["status", "--json", "--control"]).arg(self.file("control/agent.sock")).output()?;
        let status: Value = serde_json::from_slice(&output.stdout)?;
        let Some(pods) = status.get("pods").and_then(Value::as_array) else { return Ok(None) };
        let enrolled = pods.iter().filter(|pod| pod.get("enrolled") == Some(&Value::Bool(true)));
        Ok(Some((enrolled.count(), pods.len())))
    }

    fn pod(&self, number: usize) -> PathBuf {
        self.file(&format!("pods/pod-{number}.yaml"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Where this process holds a namespace.
fn path(namespace: &Namespace) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd()))
}

fn certificate_authority(certificate: &Path, key: &Path) -> Result<()> {
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let signer = rcgen::KeyPair::generate()?;
    fs::write(certificate, params.self_signed(&signer)?.pem())?;
    Ok(fs::write(key, signer.serialize_pem())?)
}
