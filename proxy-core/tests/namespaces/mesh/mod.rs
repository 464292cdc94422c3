//! Mesh: pods on a lab's bridge, one proxy in this process that serves them, and what it reported of their connections.

mod agent;
#[cfg(feature = "kubernetes")]
mod cluster;
pub(crate) mod foreign_agent;
mod issuer;
mod node_agent;
mod reports;
mod root;
mod tcp;

use std::error::Error;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use identity::source::{EmbeddedCa, Issuer};
use identity::{SharedTrust, SpiffeId, TrustDomain};
use inpod_proxy_core::capture::{self, capture};
use inpod_proxy_core::workload::{self, PodName, Snapshot};
use inpod_proxy_core::{Authority, Config, Facts, Node, Shared, Workers};
use redirect::Plan;
use testkit::lab::{Lab, Pod};
use tokio::runtime::Runtime;

pub(crate) use agent::{Agent, Following};
#[cfg(feature = "kubernetes")]
pub(crate) use cluster::{Cluster, description, starting};
pub(crate) use issuer::{Mood, TestIssuer};
pub(crate) use node_agent::{NodeAgent, Place, settings, wanted};
pub(crate) use reports::Reports;
pub(crate) use root::Root;
pub(crate) use tcp::{
    accept, connect, is_cut, is_turned_away, listen, listening, pair, read_to_end, set_reset_on_close,
};

/// No step of a test takes longer than this; one that does has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(15);

/// Where the applications listen.
pub(crate) const APPLICATION: u16 = 8080;

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The Kubernetes namespace of every pod.
const NAMESPACE: &str = "test";

/// Pods that know each other, and what their proxy needs. It serves none until told to.
pub(crate) struct Mesh {
    pub(crate) lab: Lab,
    pub(crate) root: Root,
    pub(crate) reports: Arc<Reports>,
    pub(crate) shared: Shared,
    members: Vec<Pod>,
}

impl Mesh {
    /// A mesh of new pods with these names, all known to the facts.
    pub(crate) fn of<const N: usize>(names: [&str; N]) -> Result<(Self, [Pod; N])> {
        Self::with(Config::default(), names)
    }

    /// [`of`](Self::of), with settings of its own.
    pub(crate) fn with<const N: usize>(config: Config, names: [&str; N]) -> Result<(Self, [Pod; N])> {
        let root = Root::generate(trust_domain())?;
        let issuer = EmbeddedCa::new(root.ca(trust_domain())?, config.svid_lifetime);
        Self::by(Arc::new(issuer), root, config, names)
    }

    /// [`with`](Self::with), where pods get their SVIDs from `issuer` and believe `root`.
    pub(crate) fn by<const N: usize>(
        issuer: Arc<dyn Issuer>,
        root: Root,
        config: Config,
        names: [&str; N],
    ) -> Result<(Self, [Pod; N])> {
        let lab = Lab::new()?;
        let members = names.iter().map(|name| lab.pod(*name)).collect::<Result<Vec<_>, _>>()?;
        let reports = Arc::new(Reports::default());
        let workers = workers()?;
        let trust = SharedTrust::from(root.bundle()?);
        let authority = Authority::start(trust_domain(), issuer, trust, identity::tls::aws_lc_rs(), &workers);
        let shared = Shared {
            authority: Arc::new(authority),
            config: Arc::new(config),
            facts: Arc::new(Facts::new(Snapshot::default())),
            observer: Arc::clone(&reports) as _,
            workers,
        };
        let mesh = Self { lab, root, reports, shared, members };
        mesh.learn("")?;
        let pods = mesh.members.clone().try_into().map_err(|_| "as many pods as names")?;
        Ok((mesh, pods))
    }

    /// [`of`](Self::of), with every pod served and captured. The node must be kept.
    pub(crate) fn running<const N: usize>(names: [&str; N]) -> Result<(Self, Node, [Pod; N])> {
        let (mesh, pods) = Self::of(names)?;
        let mut node = Node::new(mesh.shared.clone())?;
        mesh.serve(&mut node)?;
        mesh.capture()?;
        Ok((mesh, node, pods))
    }

    /// Serves every member on `node`, by its name as uid.
    pub(crate) fn serve(&self, node: &mut Node) -> Result<()> {
        for pod in &self.members {
            node.add(pod.name().to_owned(), pod_name(pod), pod.namespace().clone())?;
        }
        Ok(())
    }

    /// Captures every member.
    pub(crate) fn capture(&self) -> Result<()> {
        self.capture_by(&capture::plan(&self.shared.config)?)
    }

    /// Captures every member by a plan of the test's own.
    pub(crate) fn capture_by(&self, plan: &Plan) -> Result<()> {
        for pod in &self.members {
            capture(pod.namespace(), plan)?;
        }
        Ok(())
    }

    /// Releases every member.
    pub(crate) fn release(&self) -> Result<()> {
        let plan = capture::plan(&self.shared.config)?;
        for pod in &self.members {
            capture::release(pod.namespace(), &plan)?;
        }
        Ok(())
    }

    /// Replaces the facts: the members, and `more` (`services:`, `policies:`) in YAML.
    pub(crate) fn learn(&self, more: &str) -> Result<()> {
        let facts = facts(&self.members, more)?;
        self.shared.facts.replace(workload::file::parse(&facts, &trust_domain())?);
        Ok(())
    }
}

/// How many workers a proxy has here.
const WORKERS: usize = 2;

/// The proxy's ports in a pod, and how many sockets listen on each: captured connections are accepted by every worker.
pub(crate) const LISTENERS: [(u16, usize); 3] = [(15001, WORKERS), (15006, WORKERS), (15008, 1)];

/// Workers of its own, as another process has them.
pub(crate) fn workers() -> Result<Arc<Workers>> {
    Ok(Arc::new(Workers::start(NonZeroUsize::try_from(WORKERS)?)?))
}

/// Asks again and again, until it is so. For what nothing tells.
pub(crate) fn wait_for(is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while !is_so()? {
        if Instant::now() > end {
            return Err(format!("not within {LIMIT:?}").into());
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A runtime for a test's own asynchronous steps.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

pub(crate) fn trust_domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

/// What an agent calls the pod.
pub(crate) fn pod_name(pod: &Pod) -> PodName {
    PodName { namespace: NAMESPACE.into(), name: pod.name().into(), service_account: pod.name().into() }
}

/// What the pod's identity must be.
pub(crate) fn identity_of(pod: &Pod) -> SpiffeId {
    format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/{}", pod.name()).parse().unwrap()
}

/// A workloads file. Each pod is an endpoint of the service `NAME.test`, port 80, if `more` has it.
fn facts(members: &[Pod], more: &str) -> Result<String> {
    let mut text = String::from("workloads:\n");
    for pod in members {
        let (name, v4, v6) = (pod.name(), pod.v4(), pod.v6());
        writeln!(
            text,
            "- {{name: {name}, namespace: {NAMESPACE}, serviceAccount: {name}, workloadIps: [\"{v4}\", \"{v6}\"], \
             protocol: HBONE, services: {{\"{NAMESPACE}/{name}.test\": {{80: {APPLICATION}}}}}}}"
        )?;
    }
    text.push_str(more);
    Ok(text)
}
