//! Node agent: the library's own, in a runtime of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use inpod_proxy_core::agent::folder::Folder;
use inpod_proxy_core::agent::{Agent, Pod, PodStatus, Settings, Source, WaitError};
#[cfg(feature = "kubernetes")]
use inpod_proxy_core::agent::{Recognised, Starting, kubernetes};
use inpod_proxy_core::zds::agent::Listener;
use tempfile::TempDir;
use testkit::lab;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{LIMIT, Result, pod_name, wait_for};

pub(crate) struct NodeAgent {
    pub(crate) agent: Agent,
    stop: CancellationToken,
    runtime: Runtime,
}

/// What lasts longer than an agent: the folder of its socket, and of its pod files.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(TempDir::new()?))
    }

    pub(crate) fn zds(&self) -> PathBuf {
        self.0.path().join("zds/agent.sock")
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.0.path().join("pods")
    }
}

/// Fast, so that tests are; and connections do not wait for proxies.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.hold = Duration::ZERO;
    settings.resync = Duration::from_millis(200);
    settings.poll = Duration::from_millis(20);
    settings
}

impl NodeAgent {
    pub(crate) fn start(place: &Place) -> Result<Self> {
        Self::start_with(place, &settings())
    }

    pub(crate) fn start_with(place: &Place, settings: &Settings) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let agent = {
            let _context = runtime.enter();
            Agent::start(settings, Listener::bind(&place.zds())?)?
        };
        Ok(Self { agent, stop: CancellationToken::new(), runtime })
    }

    /// Has it follow the folder of pod files.
    pub(crate) fn follow(&self, place: &Place) -> Result<Arc<Folder>> {
        std::fs::create_dir_all(place.pods())?;
        let folder = Arc::new(Folder::new(place.pods()));
        let (following, agent, stop) = (Arc::clone(&folder), self.agent.clone(), self.stop.clone());
        self.runtime.spawn(async move { following.run(&agent, &stop).await });
        Ok(folder)
    }

    /// Has it follow a cluster.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn follow_cluster(
        &self,
        settings: kubernetes::Settings,
        access: &kubernetes::Access,
        finder: netns::find::Finder,
    ) -> Result<Arc<kubernetes::Kubernetes>> {
        let source = self.runtime.block_on(kubernetes::Kubernetes::new(settings, access, finder))?;
        let source = Arc::new(source);
        let (following, agent, stop) = (Arc::clone(&source), self.agent.clone(), self.stop.clone());
        self.runtime.spawn(async move { following.run(&agent, &stop).await });
        Ok(source)
    }

    /// Asks a source who a container is.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn recognise(&self, source: &impl Source, starting: &Starting) -> Recognised {
        self.runtime.block_on(source.recognise(starting))
    }

    /// Puts a pod, by its name as uid.
    pub(crate) fn put(&self, pod: &lab::Pod) -> Result<()> {
        self.put_as(wanted(pod))
    }

    pub(crate) fn put_as(&self, pod: Pod) -> Result<()> {
        let _context = self.runtime.enter();
        Ok(self.agent.put(pod)?)
    }

    pub(crate) fn enrolled(&self, pod: &lab::Pod) -> Result<(), WaitError> {
        self.runtime.block_on(self.agent.enrolled(pod.name(), LIMIT))
    }

    pub(crate) fn enrolled_within(&self, uid: &str, limit: Duration) -> Result<(), WaitError> {
        self.runtime.block_on(self.agent.enrolled(uid, limit))
    }

    pub(crate) fn forgotten(&self, uid: &str) -> Result<()> {
        let waiting = async { tokio::time::timeout(LIMIT, self.agent.forgotten(uid)).await };
        Ok(self.runtime.block_on(waiting)?)
    }

    pub(crate) fn status_of(&self, uid: &str) -> Option<PodStatus> {
        self.agent.status().pods.into_iter().find(|pod| pod.uid == uid)
    }

    /// Waits until what it says of a pod is as wanted.
    pub(crate) fn wait_for(&self, uid: &str, wanted: impl Fn(Option<&PodStatus>) -> bool) -> Result<()> {
        let waited = wait_for(|| Ok(wanted(self.status_of(uid).as_ref())));
        waited.map_err(|error| format!("{error}: {:?}", self.status_of(uid)).into())
    }

    /// Ends it, as for an upgrade.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        self.runtime.block_on(self.agent.stop());
    }
}

pub(crate) fn wanted(pod: &lab::Pod) -> Pod {
    Pod::new(pod.name(), pod_name(pod), pod.namespace().clone())
}
