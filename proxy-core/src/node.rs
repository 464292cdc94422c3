//! Node: the pods that one proxy process serves, by the uid that the agent gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::Duration;

use netns::{Namespace, NamespaceId, OpenError};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::explain::{Account, Query};
use crate::listeners::{GivenError, Listeners};
use crate::proxy::{Proxy, Shared, StartError};
use crate::workload::{PodName, Uid};

/// All pods of a node. The only mutable state that the agent's requests reach.
#[derive(Debug)]
pub struct Node {
    shared: Shared,
    own: NamespaceId,
    pods: BTreeMap<Uid, Proxy>,
}

/// Why a pod was not added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The namespace is the proxy's own: listening there would capture the node.
    #[error("the namespace is the proxy's own")]
    OwnNamespace,
    /// The sockets that were given are not its listeners.
    #[error("the sockets that were given")]
    Given(#[from] GivenError),
    /// Its listeners could not be started.
    #[error("starting its listeners")]
    Start(#[from] StartError),
}

impl AddError {
    /// Whether trying again with the same namespace may do: a port in use may become free, a wrong namespace stays wrong.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::OwnNamespace | Self::Given(_) | Self::Start(StartError::Identity(_)) => false,
            Self::Start(StartError::Listen(_) | StartError::Lease(_)) => true,
        }
    }
}

impl Node {
    /// A node without pods. The calling thread must be in the proxy's own namespace.
    ///
    /// # Errors
    /// When that namespace cannot be opened.
    pub fn new(shared: Shared) -> Result<Self, OpenError> {
        Ok(Self { shared, own: Namespace::current()?.id(), pods: BTreeMap::new() })
    }

    /// Serves a pod. The same pod in the same namespace is served already; in another one it is a new pod, and
    /// connections of the old one are cut.
    ///
    /// # Errors
    /// [`AddError`]; nothing has changed then.
    pub fn add(&mut self, uid: Uid, name: PodName, namespace: Namespace) -> Result<(), AddError> {
        self.check(&namespace)?;
        if self.same(&uid, &namespace).is_some() {
            return Ok(());
        }
        let proxy = Proxy::start(&self.shared, name, namespace)?;
        self.insert(uid, proxy);
        Ok(())
    }

    /// [`add`](Self::add), on listening sockets that somebody else has bound in the pod, as [`Listeners::bind`] does, and holds: connections
    /// wait there while no proxy accepts. A pod that is served already goes on with these.
    ///
    /// # Errors
    /// [`AddError`]; nothing has changed then, and the sockets are closed.
    pub fn add_listening(
        &mut self,
        uid: Uid,
        name: PodName,
        namespace: Namespace,
        sockets: Vec<OwnedFd>,
    ) -> Result<(), AddError> {
        self.check(&namespace)?;
        let Config { ports, mark, .. } = *self.shared.config;
        let listeners = Listeners::given(sockets, &namespace, ports, mark)?;
        let shared = self.shared.clone();
        if let Some(running) = self.same(&uid, &namespace) {
            running.listen(&shared, listeners);
            return Ok(());
        }
        let proxy = Proxy::start_on(&shared, name, namespace, |_| Ok(listeners))?;
        self.insert(uid, proxy);
        Ok(())
    }

    fn check(&self, namespace: &Namespace) -> Result<(), AddError> {
        if namespace.id() == self.own { Err(AddError::OwnNamespace) } else { Ok(()) }
    }

    /// The pod, if it is served in this very namespace.
    fn same(&mut self, uid: &str, namespace: &Namespace) -> Option<&mut Proxy> {
        self.pods.get_mut(uid).filter(|proxy| proxy.namespace().id() == namespace.id())
    }

    /// One of the same pod in another namespace ends with this.
    fn insert(&mut self, uid: Uid, proxy: Proxy) {
        tracing::info!(%uid, pod = %proxy.name(), namespace = %proxy.namespace().id(), "pod added");
        self.pods.insert(uid, proxy);
    }

    /// Stops serving a pod at once. A pod that is not there is no error.
    pub fn delete(&mut self, uid: &Uid) {
        if let Some(proxy) = self.pods.remove(uid) {
            tracing::info!(%uid, pod = %proxy.name(), "pod deleted");
        }
    }

    /// Stops serving all pods but `keep`.
    pub fn retain(&mut self, keep: &BTreeSet<Uid>) {
        let gone: Vec<Uid> = self.pods.keys().filter(|uid| !keep.contains(*uid)).cloned().collect();
        for uid in gone {
            self.delete(&uid);
        }
    }

    /// The pods that are served.
    pub fn pods(&self) -> impl Iterator<Item = (&Uid, &Proxy)> {
        self.pods.iter()
    }

    /// What the pod's proxy would do with a connection, and why; none: the pod is not served.
    #[must_use]
    pub fn explain(&self, query: &Query) -> Option<Account> {
        self.pods.get(&query.uid).map(|proxy| proxy.explain(query))
    }

    /// Ends all pods together: see [`Proxy::drain`].
    pub async fn drain(self, grace: Duration) {
        let mut ending: JoinSet<()> = self.pods.into_values().map(|proxy| proxy.drain(grace)).collect();
        while ending.join_next().await.is_some() {}
    }
}
