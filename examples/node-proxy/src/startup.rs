//! Everything that can be wrong before anything runs, checked in the order of the command line. Each error names the thing
//! and the cause.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use identity::TrustDomain;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proxy_core::workload::{self, Snapshot};
use proxy_core::{AccessLog, Authority, Config, Facts, Node, Shared, Workers};

use crate::args::Args;
use crate::counters::{Counters, Observers};
use crate::issuer::issuer;
use crate::trust::TrustFiles;

/// A proxy that can be run.
pub(crate) struct Prepared {
    pub(crate) node: Node,
    pub(crate) facts: Arc<Facts>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) zds: PathBuf,
    pub(crate) workloads: PathBuf,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) trust: TrustFiles,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) stats: Option<TcpListener>,
    pub(crate) ready: Option<TcpListener>,
    pub(crate) drain: Duration,
}

pub(crate) fn prepare(args: &Args) -> Result<Prepared> {
    let trust_domain: TrustDomain =
        args.trust_domain.parse().with_context(|| format!("--trust-domain {:?}", args.trust_domain))?;
    let snapshot = read_workloads(&args.workloads, &trust_domain)?;
    let config = Config::default();
    let provider = identity::tls::aws_lc_rs();
    let (issuer, own) = issuer(args, &trust_domain, config.svid_lifetime)?;
    let trust = TrustFiles::read(args, own, Arc::clone(&provider))?;
    let (admin, stats, ready) =
        (bind("--admin", args.admin)?, bind("--stats", args.stats)?, bind("--ready", args.ready)?);
    raise_descriptor_limit();
    check_capabilities(&config)?;
    let count =
        args.workers.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let facts = Arc::new(Facts::new(snapshot));
    let counters = Arc::new(Counters::default());
    let workers = Workers::start(count).context("starting the worker threads")?;
    let authority =
        Authority::start(trust_domain.clone(), issuer, trust.shared().clone(), provider, &workers);
    let shared = Shared {
        authority: Arc::new(authority),
        config: Arc::new(config),
        facts: Arc::clone(&facts),
        observer: Arc::new(Observers { log: AccessLog, counters: Arc::clone(&counters) }),
        workers: Arc::new(workers),
    };
    Ok(Prepared {
        node: Node::new(shared).context("opening the proxy's own network namespace")?,
        facts,
        counters,
        zds: args.zds.clone(),
        workloads: args.workloads.clone(),
        trust_domain,
        trust,
        admin,
        stats,
        ready,
        drain: Duration::from_secs(args.drain),
    })
}

/// Reads the facts; also used when they are read again.
pub(crate) fn read_workloads(path: &Path, trust_domain: &TrustDomain) -> Result<Snapshot> {
    let text = std::fs::read_to_string(path).with_context(|| format!("workloads file {}", path.display()))?;
    workload::file::parse(&text, trust_domain).with_context(|| format!("workloads file {}", path.display()))
}

fn bind(flag: &str, address: Option<SocketAddr>) -> Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).with_context(|| format!("{flag} {address}"))?;
    listener.set_nonblocking(true).with_context(|| format!("{flag} {address}"))?;
    Ok(Some(listener))
}

/// Each connection takes up to three descriptors. The hard limit is what the administrator allows.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Does once, in a namespace of its own, what serving a pod needs the rights for.
fn check_capabilities(config: &Config) -> Result<()> {
    let namespace = netns::Namespace::create().context("entering network namespaces needs CAP_SYS_ADMIN")?;
    let options = netns::SocketOptions::default().mark(config.mark).transparent();
    let family = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    namespace.tcp_socket(family, &options).context("marked and transparent sockets need CAP_NET_ADMIN")?;
    Ok(())
}
