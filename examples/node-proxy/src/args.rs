//! The command line. It is stable: agents and tests drive it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The node's proxy for in-pod traffic redirection.
///
/// Connects to a ZDS agent, listens inside each pod that it hands over, and carries their traffic as mTLS tunnels.
/// SIGTERM or SIGINT drains, a second one ends at once; SIGHUP reads the workloads file again.
#[derive(Debug, clap::Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Socket of the ZDS agent
    #[arg(long, value_name = "SOCKET")]
    pub(crate) zds: PathBuf,
    /// Workloads, services and policies, as YAML
    #[arg(long, value_name = "FILE")]
    pub(crate) workloads: PathBuf,
    /// Certificate of the signing CA
    #[arg(long, value_name = "PEM")]
    pub(crate) ca_cert: PathBuf,
    /// Key of the signing CA (ECDSA or RSA)
    #[arg(long, value_name = "PEM")]
    pub(crate) ca_key: PathBuf,
    /// Trust domain of the identities that it issues and accepts
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    pub(crate) trust_domain: String,
    /// Serve the current state here, as text (keep it on loopback)
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// Serve metrics here, in the Prometheus text format
    #[arg(long, value_name = "ADDR")]
    pub(crate) stats: Option<SocketAddr>,
    /// Serve readiness here: 200 once every pod that the agent named is served, else 503
    #[arg(long, value_name = "ADDR")]
    pub(crate) ready: Option<SocketAddr>,
    /// Longest time for connections to end after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) drain: u64,
    /// Worker threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// What to log, in the syntax of tracing-subscriber's EnvFilter
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
}
