//! Probes: the node's own rule by which captured pods know its health probes, kept up to date with the pods.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use redirect::{ApplyError, ProbeExemption, Verdict, VerifyError};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::report::Causes;

/// After a change, so that many pods that come together are one transaction.
const TOGETHER: Duration = Duration::from_millis(20);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Why the node's rule is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum ProbesError {
    #[error("reading the node's rules")]
    Look(#[from] VerifyError),
    #[error("applying the node's rules")]
    Apply(#[from] ApplyError),
    #[error("the step was not finished")]
    Thread(#[from] tokio::task::JoinError),
}

/// Keeps the exemption in the node's namespace for all pods that `addresses` tells, and mends it each `resync`. The node's is the
/// namespace of the runtime's threads.
pub(super) async fn keep(
    exemption: ProbeExemption,
    addresses: impl Fn() -> BTreeSet<IpAddr>,
    mut changed: watch::Receiver<()>,
    resync: Duration,
) {
    loop {
        changed.mark_unchanged();
        let wait = match put(exemption.clone(), addresses()).await {
            Ok(()) => resync,
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "health probes of new pods are not exempted");
                RETRY
            }
        };
        match timeout(wait, changed.changed()).await {
            Ok(Err(_)) => return,
            Ok(Ok(())) => sleep(TOGETHER).await,
            Err(_) => {}
        }
    }
}

async fn put(exemption: ProbeExemption, addresses: BTreeSet<IpAddr>) -> Result<(), ProbesError> {
    let put = move || {
        let (plan, pods) = (exemption.plan(), exemption.pods(addresses));
        if redirect::verify_with(&plan, &pods)? != Verdict::Same {
            redirect::apply_with(&plan, &pods)?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(put).await?
}
