//! The command line. It is stable: agents and tests drive it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The node's proxy for in-pod traffic redirection.
///
/// Connects to a ZDS agent, listens inside each pod that it hands over, and carries their traffic as mTLS tunnels.
/// SIGTERM or SIGINT drains, a second one ends at once; SIGHUP reads the workloads, the
/// bundles and the revocation lists again.
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
    #[arg(long, value_name = "PEM", requires = "ca_key")]
    #[cfg_attr(feature = "istio-ca", arg(required_unless_present = "ca_address"))]
    #[cfg_attr(not(feature = "istio-ca"), arg(required = true))]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Key of the signing CA (ECDSA or RSA)
    #[arg(long, value_name = "PEM", requires = "ca_cert")]
    pub(crate) ca_key: Option<PathBuf>,
    #[cfg(feature = "istio-ca")]
    #[command(flatten)]
    pub(crate) istio: Istio,
    /// Trust domain of the pods' identities
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    pub(crate) trust_domain: String,
    /// Another name of the trust domain, by which peers may prove themselves; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain_alias: Vec<String>,
    /// Roots of another trust domain whose peers are believed, as PEM or SPIFFE bundle document; of the proxy's own, in place of the
    /// CA's; may be repeated
    #[arg(long, value_name = "DOMAIN=FILE")]
    pub(crate) trust_bundle: Vec<String>,
    /// Revocation lists; may be repeated
    #[arg(long, value_name = "PEM")]
    pub(crate) crl: Vec<PathBuf>,
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

impl Args {
    /// The file of the roots that vouch for the pods' own trust domain, where the issuer is not in this process.
    pub(crate) fn own_roots(&self) -> Option<&Path> {
        #[cfg(feature = "istio-ca")]
        return self.istio.ca_address.as_ref().map(|_| self.istio.ca_roots.as_path());
        #[cfg(not(feature = "istio-ca"))]
        None
    }
}

/// Istio's CA in the place of one in this process.
#[cfg(feature = "istio-ca")]
#[derive(Debug, clap::Args)]
pub(crate) struct Istio {
    /// Get SVIDs from Istio's CA here, istiod.istio-system.svc:15012 for example
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "ca_cert")]
    pub(crate) ca_address: Option<String>,
    /// Roots of the mesh, to which istiod and, if no --trust-bundle says otherwise, peers must chain
    #[arg(long, value_name = "PEM", default_value = "/var/run/secrets/istio/root-cert.pem")]
    pub(crate) ca_roots: PathBuf,
    /// Token that proves to istiod who asks; read again for each request
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/tokens/istio-token")]
    pub(crate) ca_token: PathBuf,
    /// Cluster that the token is of
    #[arg(long, value_name = "NAME", default_value = "Kubernetes")]
    pub(crate) cluster_id: String,
}
