//! From a prepared proxy to its end: follow the agent until a signal, then drain.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hyper::StatusCode;
use identity::TrustDomain;
use proxy_core::Facts;
use proxy_core::zds::proxy::{Follower, Status};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http;
use crate::startup::{Prepared, read_workloads};
use crate::trust::TrustFiles;

/// Runs until SIGTERM or SIGINT, then drains. A second signal is an error: connections were cut.
pub(crate) fn run(prepared: Prepared) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow(prepared))
}

async fn follow(prepared: Prepared) -> Result<()> {
    let Prepared { node, facts, counters, zds, workloads, trust_domain, trust, admin, stats, ready, drain } =
        prepared;
    let mut end = End::watch()?;
    let follower = Follower::new(&zds, node);
    let status = follower.status();
    if let Some(listener) = ready {
        let status = status.clone();
        http::serve(listener, Arc::new(move || readiness(*status.borrow())))?;
    }
    if let Some(listener) = stats {
        http::serve(listener, Arc::new(move || (StatusCode::OK, counters.render())))?;
    }
    if let Some(listener) = admin {
        let facts = Arc::clone(&facts);
        http::serve(listener, Arc::new(move || (StatusCode::OK, state(&status, &facts))))?;
    }
    tokio::spawn(reload(signal(SignalKind::hangup())?, trust, workloads, trust_domain, facts));
    let stop = CancellationToken::new();
    let node = {
        let mut following = std::pin::pin!(follower.run(&stop));
        tokio::select! {
            node = &mut following => node,
            () = end.signal() => {
                stop.cancel();
                following.await
            }
        }
    };
    tracing::info!(seconds = drain.as_secs(), "draining");
    tokio::select! {
        () = node.drain(drain) => Ok(()),
        () = end.signal() => bail!("ended by a second signal while draining"),
    }
}

/// The signals that end the proxy.
struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    fn watch() -> Result<Self> {
        let watch = |kind| signal(kind).context("watching for signals");
        Ok(Self { terminate: watch(SignalKind::terminate())?, interrupt: watch(SignalKind::interrupt())? })
    }

    async fn signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reads all files again on each SIGHUP, first those that say whom to believe. A file that cannot be used changes nothing.
async fn reload(
    mut hangup: Signal,
    mut trust: TrustFiles,
    workloads: PathBuf,
    trust_domain: TrustDomain,
    facts: Arc<Facts>,
) {
    while hangup.recv().await.is_some() {
        trust.read_again();
        match read_workloads(&workloads, &trust_domain) {
            Ok(snapshot) => {
                tracing::info!(workloads = snapshot.workloads(), "facts replaced");
                facts.replace(snapshot);
            }
            Err(error) => tracing::error!("facts kept as they were: {error:#}"),
        }
    }
}

fn readiness(status: Status) -> (StatusCode, String) {
    if status.is_ready() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        let synced = if status.synced { "has named its pods" } else { "has not named its pods" };
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the agent {synced}, {} pods cannot be started\n", status.pending),
        )
    }
}

fn state(status: &watch::Receiver<Status>, facts: &Facts) -> String {
    let Status { synced, serving, pending, .. } = *status.borrow();
    let workloads = facts.load().workloads();
    format!("synced {synced}\npods serving {serving}\npods pending {pending}\nworkloads known {workloads}\n")
}
