//! Mesh: the proxy of this node and its node agent, in this process. The two speak ZDS over a socket, as two processes would.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use identity::source::EmbeddedCa;
use identity::{Ca, SharedTrust};
use proxy_core::workload::Snapshot;
use proxy_core::zds::proxy::Status;
use proxy_core::{Authority, Config, Facts, Observer, Shared, Workers};
use testkit::lab::Pod;

use self::agent::Agent;
use self::proxy::Proxy;
use crate::workloads;

mod agent;
mod proxy;

/// A running mesh.
#[derive(Debug)]
pub(crate) struct Mesh {
    // In this order: without an agent, the proxy would look for one while it ends.
    proxy: Proxy,
    agent: Agent,
    facts: Arc<Facts>,
    workers: usize,
}

impl Mesh {
    /// Starts the proxy with a CA of its own making, and an agent that it follows at a socket in `folder`. No pod is in the
    /// mesh yet.
    pub(crate) fn start(folder: &Path, snapshot: Snapshot, observer: Arc<dyn Observer>) -> Result<Self> {
        let config = Config::default();
        let facts = Arc::new(Facts::new(snapshot));
        let trust_domain = workloads::trust_domain()?;
        let ca = Ca::generate(trust_domain.clone()).context("making the CA")?;
        let count = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let workers = Workers::start(count).context("starting the proxy's workers")?;
        let trust = SharedTrust::from(ca.bundle().clone());
        let issuer = Arc::new(EmbeddedCa::new(ca, config.svid_lifetime));
        let authority = Authority::start(trust_domain, issuer, trust, identity::tls::aws_lc_rs(), &workers);
        let shared = Shared {
            authority: Arc::new(authority),
            config: Arc::new(config),
            facts: Arc::clone(&facts),
            observer,
            workers: Arc::new(workers),
        };
        let socket = folder.join("zds/agent.sock");
        let agent = Agent::listen(&socket)?;
        Ok(Self { proxy: Proxy::start(&socket, shared)?, agent, facts, workers: count.get() })
    }

    /// Hands `pods` over to the proxy; it listens in each of them when this returns.
    pub(crate) fn enrol(&mut self, pods: &[&Pod]) -> Result<Status> {
        self.agent.hand_over(pods)?;
        Ok(self.proxy.status())
    }

    /// Replaces what the proxy knows of the mesh.
    pub(crate) fn learn(&self, snapshot: Snapshot) {
        self.facts.replace(snapshot);
    }

    /// The proxy's worker threads.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Ends the proxy, gracefully, then the agent. Rules stay where they are.
    pub(crate) fn stop(self) -> Result<()> {
        self.proxy.stop()
    }
}
