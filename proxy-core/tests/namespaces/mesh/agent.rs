//! Agent: the node agent that a test plays, and the proxy that follows it.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use inpod_proxy_core::Node;
use inpod_proxy_core::zds::agent::{Connection, Listener, RequestError};
use inpod_proxy_core::zds::proxy::{Follower, Status};
use tempfile::TempDir;
use testkit::lab::Pod;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{LIMIT, Result, pod_name, runtime};

/// An agent with at most one proxy.
pub(crate) struct Agent {
    runtime: Runtime,
    listener: Listener,
    connection: Option<Connection>,
    folder: TempDir,
}

impl Agent {
    pub(crate) fn start() -> Result<Self> {
        let (runtime, folder) = (runtime()?, TempDir::new()?);
        let listener = {
            let _context = runtime.enter();
            Listener::bind(&socket_in(&folder))?
        };
        Ok(Self { runtime, listener, connection: None, folder })
    }

    /// Where proxies connect.
    pub(crate) fn path(&self) -> PathBuf {
        socket_in(&self.folder)
    }

    /// Drops the proxy that there is, and waits for the next to say hello.
    pub(crate) fn accept(&mut self) -> Result<()> {
        self.connection = None;
        let accepted = self.runtime.block_on(async { timeout(LIMIT, self.listener.accept()).await })?;
        self.connection = Some(accepted?);
        Ok(())
    }

    /// Hands a pod over, by its name as uid.
    pub(crate) fn add(&mut self, pod: &Pod) -> Result<(), RequestError> {
        self.add_as(pod.name(), pod)
    }

    pub(crate) fn add_as(&mut self, uid: &str, pod: &Pod) -> Result<(), RequestError> {
        let connection = self.connection.as_mut().ok_or(RequestError::Closed)?;
        self.runtime.block_on(connection.add(uid, &pod_name(pod), pod.namespace()))
    }

    pub(crate) fn keep(&mut self, uid: &str) -> Result<(), RequestError> {
        let connection = self.connection.as_mut().ok_or(RequestError::Closed)?;
        self.runtime.block_on(connection.keep(uid))
    }

    pub(crate) fn delete(&mut self, uid: &str) -> Result<(), RequestError> {
        let connection = self.connection.as_mut().ok_or(RequestError::Closed)?;
        self.runtime.block_on(connection.delete(uid))
    }

    pub(crate) fn snapshot_sent(&mut self) -> Result<(), RequestError> {
        let connection = self.connection.as_mut().ok_or(RequestError::Closed)?;
        self.runtime.block_on(connection.snapshot_sent())
    }
}

fn socket_in(folder: &TempDir) -> PathBuf {
    folder.path().join("zds/agent.sock")
}

/// A proxy that follows an agent, on a thread of its own. Dropped, it ends and cuts its connections.
pub(crate) struct Following {
    stop: CancellationToken,
    status: watch::Receiver<Status>,
    thread: Option<JoinHandle<()>>,
}

impl Following {
    pub(crate) fn start(node: Node, agent: &Path) -> Result<Self> {
        let stop = CancellationToken::new();
        let (sender, receiver) = mpsc::channel();
        let (stopped, agent) = (stop.clone(), agent.to_owned());
        let runtime = runtime()?;
        let thread = std::thread::Builder::new().name("follower".into()).spawn(move || {
            let follower = Follower::new(&agent, node);
            // A test that has ended does not listen.
            let _ = sender.send(follower.status());
            // It is gone only once nothing of it accepts any more.
            runtime.block_on(async { follower.run(&stopped).await.drain(Duration::ZERO).await });
        })?;
        Ok(Self { stop, status: receiver.recv_timeout(LIMIT)?, thread: Some(thread) })
    }

    /// Waits until its status is as wanted.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(Status) -> bool) -> Result<()> {
        let waiting =
            async { timeout(LIMIT, self.status.wait_for(|status| wanted(*status))).await.map(|_| ()) };
        let waited = runtime()?.block_on(waiting);
        waited.map_err(|_| format!("the proxy stays {:?}", self.status.borrow()).into())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic has been printed, and the test has failed by what it broke.
            let _ = thread.join();
        }
    }
}
