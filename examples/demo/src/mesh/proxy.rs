//! Proxy: the node's proxy on a thread of its own, until it is stopped.

use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use proxy_core::zds::proxy::{Follower, Status};
use proxy_core::{Node, Shared};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long connections may go on once the proxy is to end. The story has none left by then.
const GRACE: Duration = Duration::from_secs(1);

/// The running proxy. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Proxy {
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts it: it follows the agent at `socket`. The calling thread must be in the proxy's own namespace.
    pub(crate) fn start(socket: &Path, shared: Shared) -> Result<Self> {
        let node = Node::new(shared).context("finding the proxy's own namespace")?;
        let follower = Follower::new(socket, node);
        let status = follower.status();
        let stop = CancellationToken::new();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stopped = stop.clone();
        let follow = move || {
            runtime.block_on(async {
                let node = follower.run(&stopped).await;
                node.drain(GRACE).await;
            });
        };
        let thread = thread::Builder::new().name("proxy".to_owned()).spawn(follow)?;
        Ok(Self { status, stop, thread: Some(thread) })
    }

    /// How far it is.
    pub(crate) fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Drains it, and waits until it has ended.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.stop.cancel();
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        ended.map_err(|_panic| anyhow!("the proxy panicked (it says where above)"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A panic has said so itself.
        let _ = self.end();
    }
}
