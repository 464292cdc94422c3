//! The command line. It is stable: service files and manifests have it.

#[cfg(feature = "kubernetes")]
use std::num::NonZeroU16;
use std::path::PathBuf;

use crate::why::{Destination, Source};

/// The node's agent for in-pod traffic redirection.
///
/// Captures the traffic of pods inside their own network namespaces, and hands the pods to the node's proxy. Where pods come
/// from: a folder of pod files, or Kubernetes; and a container runtime by CNI, which brings them before they start.
#[derive(Debug, clap::Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What to log, in the syntax of tracing-subscriber's EnvFilter
    #[arg(long, global = true, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run the agent, until SIGTERM or SIGINT. Pods stay as they are when it ends
    Run(Run),
    /// Show where each pod is
    Status(Status),
    /// Tell what decides a connection: rule, socket, route, tunnel, identity, policy; and what is not as intended
    ///
    /// Exits with 3 when something is not.
    Why(Why),
    /// Put the CNI plugin into the network that container runtimes use
    InstallCni(InstallCni),
    /// Take the CNI plugin out again
    UninstallCni(UninstallCni),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Where proxies connect: a socket in a folder that nobody else may enter (made if it is not there)
    #[arg(long, value_name = "SOCKET", default_value = "/run/inpod/zds/agent.sock")]
    pub(crate) zds: PathBuf,
    /// Follow the pod files in this folder
    #[arg(long, value_name = "FOLDER", default_value = "/etc/inpod/pods")]
    pub(crate) pods: PathBuf,
    /// Which pods of that folder are enrolled is remembered in this file, so that one whose file is deleted while no agent runs is
    /// released by the next; in memory of the machine, as the namespaces are
    #[arg(long, value_name = "FILE", default_value = "/run/inpod/file-pods.yaml")]
    pub(crate) pods_memory: PathBuf,
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// Where the CNI plugin asks; in a folder of its own, too
    #[arg(long, value_name = "SOCKET")]
    pub(crate) cni: Option<PathBuf>,
    /// What a container runtime has brought is remembered in this file; in memory of the machine, as the namespaces are
    #[arg(long, value_name = "FILE", default_value = "/run/inpod/cni-pods.json")]
    pub(crate) ledger: PathBuf,
    /// Where `node-agent status` asks; in a folder of its own, too
    #[arg(long, value_name = "SOCKET", default_value = DEFAULT_CONTROL)]
    pub(crate) control: PathBuf,
    /// Whose connections to captured pods are health probes, which go past the proxy
    #[arg(long, value_name = "WHOSE", value_enum, default_value = "nobody")]
    pub(crate) probes: Probes,
    /// Take the rules of Istio's node agent away from each pod, once ours are in place
    #[arg(long)]
    pub(crate) take_over_istio: bool,
    /// Captured connections of a pod that is released have so long to end
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) patience: u64,
}

/// Pods of Kubernetes.
#[cfg(feature = "kubernetes")]
#[derive(Debug, clap::Args)]
pub(crate) struct Cluster {
    /// Follow the pods of a Kubernetes node instead of pod files
    #[arg(long, conflicts_with = "pods")]
    pub(crate) kubernetes: bool,
    /// The node's name in Kubernetes
    #[arg(long, value_name = "NAME", env = "NODE_NAME", required_if_eq("kubernetes", "true"))]
    pub(crate) node: Option<String>,
    /// How the API server is reached [default: as the service account of the agent's own pod]
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Pods of these namespaces are never in the mesh
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "kube-system",
        requires = "kubernetes"
    )]
    pub(crate) exclude_namespaces: Vec<String>,
    /// A pod that is never in the mesh: the agent's own, or the proxy's; may be given again
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = own_pod, requires = "kubernetes")]
    pub(crate) own_pod: Vec<(String, String)>,
    /// Where the processes of the node are found, if not in this program's own /proc
    #[arg(long, value_name = "FOLDER", default_value = "/proc", requires = "kubernetes")]
    pub(crate) proc: PathBuf,
    /// Capture DNS in pods as well, for a proxy that answers it at this port [default: DNS is left alone]
    #[arg(long, value_name = "PORT", requires = "kubernetes")]
    pub(crate) dns_port: Option<NonZeroU16>,
}

#[cfg(feature = "kubernetes")]
fn own_pod(text: &str) -> Result<(String, String), &'static str> {
    let (namespace, name) = text.split_once('/').ok_or("not NAMESPACE/NAME")?;
    Ok((namespace.to_owned(), name.to_owned()))
}

/// Where the agent answers questions, unless told otherwise.
pub(crate) const DEFAULT_CONTROL: &str = "/run/inpod/control/agent.sock";

/// Whose connections are health probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Probes {
    /// Nobody's: there are none, or they go through the proxy
    Nobody,
    /// Those of every process in the node's network namespace, as kubelet's are
    Node,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Where the agent answers
    #[arg(long, value_name = "SOCKET", default_value = DEFAULT_CONTROL)]
    pub(crate) control: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct Why {
    /// The pod: NAMESPACE/NAME, a uid, or a name that no other pod has
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// Who opens the connection, as IP or IP:PORT [default: the pod]
    #[arg(value_name = "SRC")]
    pub(crate) source: Option<Source>,
    /// Where to, as IP:PORT; of a connection to the pod, :PORT is one of its own addresses
    #[arg(value_name = "DST")]
    pub(crate) destination: Destination,
    /// Where the agent answers
    #[arg(long, value_name = "SOCKET", default_value = DEFAULT_CONTROL)]
    pub(crate) control: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InstallCni {
    /// Where the agent listens for the plugin: what `run --cni` has
    #[arg(long, value_name = "SOCKET")]
    pub(crate) cni: PathBuf,
    /// The plugin [default: inpod-cni beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) plugin: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) folders: Folders,
    /// Stay, and put it in again whenever others write the configuration; until SIGTERM or SIGINT
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UninstallCni {
    #[command(flatten)]
    pub(crate) folders: Folders,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Folders {
    /// Where container runtimes find networks
    #[arg(long, value_name = "FOLDER", default_value = "/etc/cni/net.d")]
    pub(crate) networks: PathBuf,
    /// Where container runtimes find plugins
    #[arg(long, value_name = "FOLDER", default_value = "/opt/cni/bin")]
    pub(crate) plugins: PathBuf,
}
