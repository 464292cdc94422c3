//! From a prepared agent to its end. When it ends, pods stay as they are.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use cni_plugin::server::{Limits, Server};
use proxy_core::agent::{Agent, Source as _};
use proxy_core::zds::agent::Listener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cni::Runtime;
use crate::control;
use crate::startup::Prepared;

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(prepared: Prepared) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(prepared))
}

async fn serve(prepared: Prepared) -> Result<()> {
    let Prepared { settings, origin, zds, control, cni } = prepared;
    let mut terminate = signal(SignalKind::terminate()).context("watching for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watching for signals")?;
    let listener = Listener::bind(&zds).with_context(|| format!("--zds {}", zds.display()))?;
    let agent = Agent::start(&settings, listener).context("opening the node's own network namespace")?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());

    let pods = origin.open().await?;
    let server = control::Server::new(control, agent.clone(), pods.clone())?;
    tasks.spawn(server.serve(stop.clone()));
    if let Some((listener, ledger)) = cni {
        let server = Server::new(listener, Limits::default()).context("--cni")?;
        let handler = Arc::new(Runtime::new(agent.clone(), pods.clone(), ledger));
        // Before pods are followed, so that what was brought is known when they are.
        handler.recall().await;
        let stopped = stop.clone();
        tasks.spawn(async move { server.serve(handler, &stopped).await });
    }
    let (followed, stopped) = (agent.clone(), stop.clone());
    tasks.spawn(async move { pods.run(&followed, &stopped).await });
    tracing::info!(zds = %zds.display(), "the agent runs");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("the agent ends; pods stay as they are");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    agent.stop().await;
    Ok(())
}
