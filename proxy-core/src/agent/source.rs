//! Source: who knows which pods there are.

use std::fmt;
use std::net::IpAddr;

use netns::Namespace;
use tokio_util::sync::CancellationToken;

use super::Agent;
use super::pod::Pod;

/// Tells an agent which pods are to be in the mesh.
pub trait Source: Send + Sync + 'static {
    /// Keeps `agent` up to date until `stop`: [`Agent::put`], [`Agent::release`] and [`Agent::gone`] as pods come and go, and
    /// [`Agent::complete`] once all that there are have been named.
    fn run(&self, agent: &Agent, stop: &CancellationToken) -> impl Future<Output = ()> + Send;

    /// Who a container is that a runtime is about to start. What is recognised here is from now on the source's to take back.
    fn recognise(&self, starting: &Starting) -> impl Future<Output = Recognised> + Send;

    /// A pod that was recognised has ended, says the runtime: its network namespace is no more.
    fn ended(&self, uid: &str);
}

/// A container whose network has just been made.
#[derive(Debug, Clone)]
pub struct Starting {
    /// Its pod's Kubernetes namespace.
    pub namespace: String,
    /// Its pod's name.
    pub name: String,
    /// Its pod's id, where the runtime tells it.
    pub uid: Option<String>,
    /// Its network namespace.
    pub network: Namespace,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// What a source knows of a container.
#[derive(Debug, Clone)]
pub enum Recognised {
    /// It is to be in the mesh, so.
    Ours(Box<Pod>),
    /// It is certainly not to be in the mesh.
    NotOurs,
    /// Nobody knows, or not yet: it must not start.
    Unknown(String),
}

impl fmt::Display for Starting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
