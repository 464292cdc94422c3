//! Everything that can be wrong before anything runs, checked in the order of the command line. Each error names the thing and the
//! cause.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proxy_core::agent::folder::Folder;
use proxy_core::agent::{Istio, Settings};
use proxy_core::local_socket;
use redirect::{Intent, Plan, ProbeExemption};

use crate::args::{Probes, Run};
use crate::cni::Ledger;

/// An agent that can be run.
pub(crate) struct Prepared {
    pub(crate) settings: Settings,
    pub(crate) folder: Arc<Folder>,
    pub(crate) zds: std::path::PathBuf,
    pub(crate) control: UnixListener,
    pub(crate) cni: Option<(UnixListener, Ledger)>,
}

pub(crate) fn prepare(run: &Run) -> Result<Prepared> {
    check_capabilities()?;
    raise_descriptor_limit();
    std::fs::read_dir(&run.pods).with_context(|| format!("--pods {}", run.pods.display()))?;
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
    let folder = Folder::new(&run.pods).remembering(&run.pods_memory);
    let folder = Arc::new(folder.with_context(|| format!("--pods-memory {}", run.pods_memory.display()))?);
    Ok(Prepared { settings, folder, zds: run.zds.clone(), control, cni })
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
