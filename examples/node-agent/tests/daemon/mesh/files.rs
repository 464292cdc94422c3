//! Files: a folder with what the programs are given: pod files, a CA, workloads, and places for the sockets.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::process::{Command, id};

use netns::Namespace;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use testkit::lab::Pod;

use super::{Result, program};

/// A pod of any network.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) namespace: Namespace,
    pub(crate) addresses: Vec<IpAddr>,
}

impl From<&Pod> for Member {
    fn from(pod: &Pod) -> Self {
        let (name, namespace) = (pod.name().into(), pod.namespace().clone());
        Self { name, namespace, addresses: vec![pod.v4().into(), pod.v6().into()] }
    }
}

pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    /// A new CA, workloads of these members, and no pod file yet.
    pub(crate) fn new(members: &[&Member]) -> Result<Self> {
        let files = Self { folder: TempDir::new()? };
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        fs::write(files.path("ca.pem"), params.self_signed(&key)?.pem())?;
        fs::write(files.path("ca.key"), key.serialize_pem())?;
        files.write_workloads(members)?;
        fs::create_dir(files.path("pods"))?;
        Ok(files)
    }

    /// Writes who is in the mesh. The proxy reads it when it starts, and on SIGHUP.
    pub(crate) fn write_workloads(&self, members: &[&Member]) -> Result<()> {
        let mut workloads = String::from(if members.is_empty() { "{}" } else { "workloads:\n" });
        for Member { name, addresses, .. } in members {
            let addresses: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
            let addresses = addresses.join(", ");
            writeln!(
                workloads,
                "- {{uid: {name}, name: {name}, namespace: test, serviceAccount: {name}, workloadIps: [{addresses}], \
                 protocol: HBONE, node: node, network: \"\", services: {{}}}}"
            )?;
        }
        Ok(fs::write(self.path("workloads.yaml"), workloads)?)
    }

    /// The agent, with all that it must be given.
    pub(crate) fn agent(&self) -> Command {
        let mut command = self.agent_of_none();
        command.arg("--pods").arg(self.path("pods"));
        command.arg("--pods-memory").arg(self.path("file-pods.yaml"));
        command
    }

    /// The agent, with all but where pods come from.
    pub(crate) fn agent_of_none(&self) -> Command {
        let mut command = Command::new(program("node-agent"));
        command.arg("run").arg("--zds").arg(self.path("zds/agent.sock"));
        command.arg("--control").arg(self.control()).arg("--ledger").arg(self.path("ledger.json"));
        command.arg("--cni").arg(self.cni()).env_remove("RUST_LOG");
        // As its unit and its manifest have it.
        command.env("MALLOC_ARENA_MAX", "1");
        command
    }

    /// The proxy, with all that it must be given.
    pub(crate) fn proxy(&self) -> Command {
        let mut command = Command::new(program("node-proxy"));
        command
            .arg("--zds")
            .arg(self.path("zds/agent.sock"))
            .arg("--workloads")
            .arg(self.path("workloads.yaml"));
        command.arg("--ca-cert").arg(self.path("ca.pem")).arg("--ca-key").arg(self.path("ca.key"));
        command.args(["--workers", "1", "--drain", "60"]).env_remove("RUST_LOG");
        command
    }

    /// Writes a pod's file, with its namespace, and `more` in YAML.
    pub(crate) fn write_pod(&self, pod: &Member, more: &str) -> Result<()> {
        let descriptor = pod.namespace.as_fd().as_raw_fd();
        self.write(&pod.name, &format!(", netns: /proc/{}/fd/{descriptor}{more}", id()))
    }

    /// Writes a pod's file, whose namespace a container runtime will bring.
    pub(crate) fn write(&self, name: &str, more: &str) -> Result<()> {
        let draft = self.path("pods").join(".draft");
        fs::write(&draft, format!("{{name: {name}, namespace: test, serviceAccount: {name}{more}}}"))?;
        Ok(fs::rename(draft, self.pod(name))?)
    }

    pub(crate) fn pod(&self, name: &str) -> PathBuf {
        self.path("pods").join(name).with_extension("yaml")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.path("control/agent.sock")
    }

    pub(crate) fn cni(&self) -> PathBuf {
        self.path("cni/agent.sock")
    }

    /// Where a program writes what it has to say.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.path(&format!("{program}.log"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
