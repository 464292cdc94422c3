//! Agent: the node agent that a test plays.

use std::path::Path;

use proxy_core::workload::PodName;
use proxy_core::zds::agent::{Connection, Listener, RequestError};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{LIMIT, Member, Result};

/// An agent with at most one proxy.
pub(crate) struct Agent {
    runtime: Runtime,
    listener: Listener,
    connection: Option<Connection>,
}

impl Agent {
    pub(crate) fn start(path: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            Listener::bind(path)?
        };
        Ok(Self { runtime, listener, connection: None })
    }

    /// Waits for the next proxy to say hello.
    pub(crate) fn accept(&mut self) -> Result<()> {
        let accepted = self.runtime.block_on(async { timeout(LIMIT, self.listener.accept()).await });
        self.connection = Some(accepted.map_err(|_| "no proxy has come")??);
        Ok(())
    }

    /// Hands a pod over, by its name as uid.
    pub(crate) fn add(&mut self, member: &Member) -> Result<(), RequestError> {
        let connection = self.connection.as_mut().ok_or(RequestError::Closed)?;
        let (namespace, name) = ("test".into(), member.name.clone());
        let name = PodName { namespace, service_account: name.clone(), name };
        self.runtime.block_on(connection.add(&member.name, &name, &member.namespace))
    }

    pub(crate) fn snapshot_sent(&mut self) -> Result<(), RequestError> {
        let connection = self.connection.as_mut().ok_or(RequestError::Closed)?;
        self.runtime.block_on(connection.snapshot_sent())
    }
}
