//! Everything that can be wrong before anything runs, checked in the order of the command line. Each error names the thing and the
//! cause.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proxy_core::agent::folder::Folder;
use proxy_core::agent::{Istio, Settings};
use proxy_core::local_socket;
use redirect::{Intent, Plan, ProbeExemption};

use crate::args::{Probes, Run};
use crate::cni::Ledger;
use crate::pods::Origin;

/// An agent that can be run.
pub(crate) struct Prepared {
    pub(crate) settings: Settings,
    pub(crate) origin: Origin,
    pub(crate) zds: std::path::PathBuf,
    pub(crate) control: UnixListener,
    pub(crate) cni: Option<(UnixListener, Ledger)>,
}

pub(crate) fn prepare(run: &Run) -> Result<Prepared> {
    check_capabilities()?;
    raise_descriptor_limit();
    let origin = origin(run)?;
    let cni = match &run.cni {
        None => None,
        Some(path) => {
            let ledger = Ledger::open(&run.ledger);
            let ledger = ledger.with_context(|| format!("--ledger {}", run.ledger.display()))?;
            Some((listen("--cni", path)?, ledger))
        }
    };
    let control = listen("--control", &run.control)?;
    let mut settings = Settings::default();
    settings.patience = Duration::from_secs(run.patience);
    settings.istio = if run.take_over_istio { Istio::TakeOver } else { Istio::Absent };
    settings.probes = match run.probes {
        Probes::Nobody => None,
        Probes::Node => Some(ProbeExemption::ISTIO),
    };
    Ok(Prepared { settings, origin, zds: run.zds.clone(), control, cni })
}

fn origin(run: &Run) -> Result<Origin> {
    #[cfg(feature = "kubernetes")]
    if run.cluster.kubernetes {
        return Ok(Origin::Kubernetes(Box::new(cluster(&run.cluster)?)));
    }
    std::fs::read_dir(&run.pods).with_context(|| format!("--pods {}", run.pods.display()))?;
    let folder = Folder::new(&run.pods).remembering(&run.pods_memory);
    Ok(Origin::Folder(folder.with_context(|| format!("--pods-memory {}", run.pods_memory.display()))?))
}

#[cfg(feature = "kubernetes")]
fn cluster(args: &crate::args::Cluster) -> Result<crate::pods::Cluster> {
    use netns::find::{Cgroups, Finder};
    use proxy_core::agent::kubernetes::{Access, Settings};
    use redirect::DnsCapture;

    std::fs::read_dir(&args.proc).with_context(|| format!("--proc {}", args.proc.display()))?;
    let mut settings = Settings::new(args.node.clone().context("--node is not given")?);
    settings.excluded_namespaces = args.exclude_namespaces.iter().cloned().collect();
    settings.own_pods = args.own_pod.iter().cloned().collect();
    if let Some(port) = args.dns_port {
        let dns = DnsCapture::To(port.get().try_into().context("--dns-port")?);
        settings.intent = settings.intent.with_dns(dns).context("--dns-port")?;
    }
    let provider = identity::tls::aws_lc_rs();
    let access = match &args.kubeconfig {
        None => Access::in_cluster(provider),
        Some(path) => Access::kubeconfig(path, provider),
    };
    Ok(crate::pods::Cluster { settings, access, finder: Finder::new(&args.proc, Cgroups) })
}

fn listen(flag: &str, path: &Path) -> Result<UnixListener> {
    let listener = local_socket::bind(path, |draft| UnixListener::bind(draft));
    listener.with_context(|| format!("{flag} {}", path.display()))
}

/// Each pod takes one, a step in it a few more.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Does once, in a namespace of its own, what pods will need the rights for.
fn check_capabilities() -> Result<()> {
    let namespace = netns::Namespace::create().context("entering network namespaces needs CAP_SYS_ADMIN")?;
    let plan = Plan::new(&Intent::ambient());
    let verdict = namespace.run(|| redirect::verify(&plan))?;
    verdict.context("capturing needs CAP_NET_ADMIN and nf_tables").map(drop)
}
