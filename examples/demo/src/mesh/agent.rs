//! Agent: the node agent's part, as small as it can be. It tells the proxy of pods by ZDS.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use proxy_core::zds::agent::{Connection, Listener};
use testkit::lab::Pod;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::workloads;

/// Longest wait for the proxy to connect, which it tries at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Listens, and remembers the proxy that came.
#[derive(Debug)]
pub(crate) struct Agent {
    // Before the runtime that they are registered with.
    connection: Option<Connection>,
    listener: Listener,
    runtime: Runtime,
}

impl Agent {
    pub(crate) fn listen(socket: &Path) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _registering = runtime.enter();
            Listener::bind(socket).with_context(|| format!("listening at {}", socket.display()))?
        };
        Ok(Self { connection: None, listener, runtime })
    }

    /// Waits for the proxy, names all pods to it, and keeps the connection.
    pub(crate) fn hand_over(&mut self, pods: &[&Pod]) -> Result<()> {
        let Self { connection, listener, runtime } = self;
        *connection = Some(runtime.block_on(async {
            let proxy =
                timeout(CONNECT_LIMIT, listener.accept()).await.context("the proxy does not connect")?;
            let mut proxy = proxy.context("the proxy's hello")?;
            for pod in pods {
                let name = workloads::name(pod);
                let uid = format!("{}-uid", pod.name());
                let added = proxy.add(&uid, &name, pod.namespace()).await;
                added.with_context(|| format!("handing over pod {name}"))?;
            }
            proxy.snapshot_sent().await.context("completing the snapshot")?;
            anyhow::Ok(proxy)
        })?);
        Ok(())
    }
}
