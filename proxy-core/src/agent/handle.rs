//! Agent: the handle by which sources and servers talk to the actors.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use netns::{Namespace, NamespaceId, OpenError};
use redirect::ProbeExemption;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::{Actor, Progress, Surroundings, Target};
use super::asking::Asking;
use super::backoff::Backoff;
use super::decide::{Pace, Serving};
use super::kernel::{Istio, Kernel};
use super::plans::Plans;
use super::pod::Pod;
use super::probes;
use super::proxies::Proxies;
use super::status::{Captured, PodStatus, Status, Wanted};
use crate::workload::Uid;
use crate::zds::agent::Listener;

/// How an agent works.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Rules are read again so long after they were last seen in place. 5 min, and within a second where the kernel tells that something
    /// has changed: this is for what it does not tell. A thousand pods cost a few milliseconds each second.
    pub resync: Duration,
    /// Captured connections of a released pod have so long to end. 30 s: Kubernetes' own grace for what ends.
    pub patience: Duration,
    /// How often it is looked whether they have. 200 ms.
    pub poll: Duration,
    /// How failed steps are tried again: 100 ms up to 15 s.
    pub backoff: Backoff,
    /// While there is no proxy, connections of captured pods wait so long for the next; then they are refused until it is there. 30 s: it
    /// is started again before, or it will not be soon.
    pub hold: Duration,
    /// How many namespaces are entered at once. 4: what is done there is the kernel's work, for less than a millisecond each time.
    pub threads: NonZeroU16,
    /// What becomes of the rules of Istio's node agent.
    pub istio: Istio,
    /// The rule in the node's own namespace by which captured pods know its health probes. None: it has no probes, or they go through
    /// the proxy. When the agent ends, the rule stays, as everything does.
    pub probes: Option<ProbeExemption>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resync: Duration::from_secs(300),
            patience: Duration::from_secs(30),
            poll: Duration::from_millis(200),
            hold: Duration::from_secs(30),
            backoff: Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(15) },
            threads: NonZeroU16::MIN.saturating_add(3),
            istio: Istio::default(),
            probes: None,
        }
    }
}

/// The node's own rule is read again at least so often: many programs change what is in the node's namespace.
const PROBES_RESYNC: Duration = Duration::from_secs(60);

/// A node's agent. Cheap to clone; all clones are the same one.
#[derive(Debug, Clone)]
pub struct Agent(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own: NamespaceId,
    around: Surroundings,
    pods: Mutex<BTreeMap<Uid, Entry>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Entry {
    target: watch::Sender<Target>,
    progress: watch::Receiver<Progress>,
}

/// Why a pod was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The namespace is the agent's own: its rules would capture the node.
    #[error("its network namespace is the node's own")]
    NodesNamespace,
    /// Another pod is in that namespace, and rules there can only be for one.
    #[error("its network namespace is that of the pod {other:?}, too")]
    SharedNamespace {
        /// The other pod.
        other: Uid,
    },
}

/// Why a pod is not as it should be, in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// It is not known, or has been taken back meanwhile.
    #[error("the pod is not one of ours, or no longer")]
    Unknown,
    /// No proxy listens in it.
    #[error("no proxy listens in the pod after {}s: {proxy}", limit.as_secs())]
    Proxy {
        /// How long was waited.
        limit: Duration,
        /// What the newest proxy says.
        proxy: String,
    },
    /// It is not captured.
    #[error("the pod is not captured after {}s: {}", limit.as_secs(), last_error.as_deref().unwrap_or("not tried yet"))]
    Capture {
        /// How long was waited.
        limit: Duration,
        /// What the last failed step has said.
        last_error: Option<String>,
    },
}

impl Agent {
    /// Starts an agent that serves proxies on `listener`. The calling thread's namespace is taken for the node's. What it
    /// serves before [`complete`](Self::complete) is not all there is, so proxies go on with what they have.
    ///
    /// # Errors
    /// When that namespace cannot be opened. To be called inside a tokio runtime.
    pub fn start(settings: &Settings, listener: Listener) -> Result<Self, OpenError> {
        let Settings { resync, patience, poll, hold, backoff, threads, istio, ref probes } = *settings;
        let (proxies, stop, tasks) = (Proxies::new(hold), CancellationToken::new(), TaskTracker::new());
        let pace = Pace { resync, patience, poll };
        let (addresses, changed) = watch::channel(());
        let kernel = Kernel::new(threads);
        let around = Surroundings {
            kernel,
            proxies: proxies.clone(),
            plans: Plans::default(),
            pace,
            backoff,
            istio,
            addresses,
        };
        let own = Namespace::current()?.id();
        let (holding, stopped) = (proxies.clone().hold(), stop.clone());
        tasks.spawn(async move { stopped.run_until_cancelled(holding).await });
        tasks.spawn(proxies.serve(listener, stop.clone()));
        let inner = Arc::new(Inner { own, around, pods: Mutex::default(), stop: stop.clone(), tasks });
        if let Some(exemption) = probes.clone() {
            let pods = Arc::downgrade(&inner);
            let addresses = move || pods.upgrade().map(|inner| inner.addresses()).unwrap_or_default();
            let kept = probes::keep(exemption, addresses, changed, resync.min(PROBES_RESYNC));
            inner.tasks.spawn(async move { stop.run_until_cancelled(kept).await });
        }
        Ok(Self(inner))
    }

    /// Has a pod enrolled, as it is given now. The same pod in another namespace is a new one: the old namespace is left as it is,
    /// captured.
    ///
    /// # Errors
    /// [`PutError`]; then nothing has changed.
    pub fn put(&self, pod: Pod) -> Result<(), PutError> {
        let id = pod.namespace.id();
        if id == self.0.own {
            return Err(PutError::NodesNamespace);
        }
        let mut pods = self.0.lock();
        // Sources put all pods again and again: who is there already has been compared with all others.
        if !pods.get(&pod.uid).is_some_and(|entry| entry.target.borrow().holds(id)) {
            let other = pods.iter().find(|(uid, entry)| **uid != pod.uid && entry.target.borrow().holds(id));
            if let Some((other, _)) = other {
                return Err(PutError::SharedNamespace { other: other.clone() });
            }
        }
        match pods.get(&pod.uid) {
            Some(entry) => entry.want(Wanted::Enrolled, Some(pod)),
            None => {
                let uid = pod.uid.clone();
                let entry = self.spawn(Target { pod: Arc::new(pod), wanted: Wanted::Enrolled, edition: 0 });
                pods.insert(uid, entry);
            }
        }
        Ok(())
    }

    /// Has a pod's rules taken away and proxies leave it, once its captured connections have ended or patience has. It lives on.
    /// One that is not known is left as it is.
    pub fn release(&self, uid: &str) {
        if let Some(entry) = self.0.lock().get(uid) {
            entry.want(Wanted::Released, None);
        }
    }

    /// Has the rules of a pod taken away that nobody has put: it may be captured from before.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn release_pod(&self, pod: Pod) -> Result<(), PutError> {
        if pod.namespace.id() == self.0.own {
            return Err(PutError::NodesNamespace);
        }
        let mut pods = self.0.lock();
        match pods.get(&pod.uid) {
            Some(entry) => entry.want(Wanted::Released, None),
            None => {
                let uid = pod.uid.clone();
                let entry = self.spawn(Target { pod: Arc::new(pod), wanted: Wanted::Released, edition: 0 });
                pods.insert(uid, entry);
            }
        }
        Ok(())
    }

    /// A pod is gone, or its containers have ended: proxies leave it, and its namespace goes with its rules.
    pub fn gone(&self, uid: &str) {
        self.0.around.proxies.change(|roster| roster.withdraw(uid));
        if let Some(entry) = self.0.lock().get(uid) {
            entry.want(Wanted::Gone, None);
        }
    }

    /// A pod is in the mesh whose namespace is not at hand: proxies that serve it go on. Others cannot.
    pub fn keep(&self, uid: &str) {
        self.0.around.proxies.change(|roster| roster.lose(uid.into()));
    }

    /// All pods that there are have been named: proxies stop serving others.
    pub fn complete(&self) {
        if !self.0.around.proxies.read().is_complete() {
            self.0.around.proxies.change(super::roster::Roster::complete);
        }
    }

    /// Whether a pod is one of ours, in this namespace or any.
    #[must_use]
    pub fn has(&self, uid: &str) -> bool {
        self.0.lock().contains_key(uid)
    }

    /// The ids of the pods that are wanted in the mesh.
    #[must_use]
    pub fn enrolled_ids(&self) -> BTreeSet<Uid> {
        let pods = self.0.lock();
        let wanted = |entry: &Entry| entry.target.borrow().wanted == Wanted::Enrolled;
        pods.iter().filter(|(_, entry)| wanted(entry)).map(|(uid, _)| uid.clone()).collect()
    }

    /// Waits until a pod is captured as it is wanted now, and the newest proxy listens in it.
    ///
    /// # Errors
    /// [`WaitError`], which says how far it is.
    pub async fn enrolled(&self, uid: &str, limit: Duration) -> Result<(), WaitError> {
        let (edition, mut progress) = {
            let pods = self.0.lock();
            let entry = pods.get(uid).ok_or(WaitError::Unknown)?;
            let target = entry.target.borrow();
            if target.wanted != Wanted::Enrolled {
                return Err(WaitError::Unknown);
            }
            (target.edition, entry.progress.clone())
        };
        let is_it = |progress: &Progress| {
            progress.edition > edition || (progress.edition == edition && progress.is_enrolled())
        };
        match timeout(limit, progress.wait_for(is_it)).await {
            Ok(Ok(progress)) if progress.edition == edition => return Ok(()),
            // Taken back, or wanted otherwise, while we waited.
            Ok(_) => return Err(WaitError::Unknown),
            Err(_) => {}
        }
        let progress = progress.borrow().clone();
        if progress.serving == Serving::Listening {
            return Err(WaitError::Capture { limit, last_error: progress.last_error });
        }
        let proxy = format!("{:?}", self.0.around.proxies.read().heard(uid));
        Err(WaitError::Proxy { limit, proxy })
    }

    /// Waits until nothing is left to do for a pod that was released or is gone; one that is not known has nothing.
    pub async fn forgotten(&self, uid: &str) {
        let progress = self.0.lock().get(uid).map(|entry| entry.progress.clone());
        if let Some(mut progress) = progress {
            // It ends with its actor.
            while progress.changed().await.is_ok() {}
        }
    }

    /// Where everything is.
    #[must_use]
    pub fn status(&self) -> Status {
        let pods = self.0.lock();
        let roster = self.0.around.proxies.read();
        let pods = pods.iter().map(|(uid, entry)| {
            let (target, progress) = (entry.target.borrow(), entry.progress.borrow());
            PodStatus {
                uid: uid.clone(),
                name: target.pod.name.clone(),
                namespace: target.pod.namespace.id(),
                addresses: progress.addresses.clone(),
                wanted: target.wanted,
                captured: progress.captured,
                proxy: roster.heard(uid),
                since: progress.since,
                failures: progress.failures,
                last_error: progress.last_error.clone(),
            }
        });
        let pods = pods.collect();
        Status { complete: roster.is_complete(), proxies: roster.proxies(), pods }
    }

    /// Ends, and leaves everything as it is: pods stay captured, and proxies go on serving them. A step in a pod that has begun is
    /// waited for.
    pub async fn stop(self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.around.kernel.idle().await;
    }

    /// A pod as it is wanted now.
    pub(super) fn pod(&self, uid: &str) -> Option<Arc<Pod>> {
        self.0.lock().get(uid).map(|entry| Arc::clone(&entry.target.borrow().pod))
    }

    pub(super) fn kernel(&self) -> &Kernel {
        &self.0.around.kernel
    }

    pub(super) fn asking(&self) -> &Asking {
        self.0.around.proxies.asking()
    }

    fn spawn(&self, target: Target) -> Entry {
        let uid = target.pod.uid.clone();
        let (sender, targets) = watch::channel(target);
        let (actor, progress) = Actor::new(self.0.around.clone(), targets);
        let (stop, inner) = (self.0.stop.clone(), Arc::downgrade(&self.0));
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = actor.run(|| forget(&inner, &uid)) => {}
            }
        });
        Entry { target: sender, progress }
    }
}

/// Forgets a pod, unless it is wanted again.
fn forget(inner: &Weak<Inner>, uid: &str) -> bool {
    let Some(inner) = inner.upgrade() else { return true };
    let mut pods = inner.lock();
    let wanted = pods.get(uid).is_some_and(|entry| entry.target.borrow().wanted == Wanted::Enrolled);
    if !wanted {
        pods.remove(uid);
        inner.around.addresses.send_replace(());
    }
    !wanted
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Entry>> {
        // Nothing is left half done in it.
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of all pods that are, or will be, captured.
    fn addresses(&self) -> BTreeSet<IpAddr> {
        let pods = self.lock();
        let captured = pods.values().filter(|entry| entry.target.borrow().wanted != Wanted::Gone);
        captured.flat_map(|entry| entry.progress.borrow().addresses.clone()).collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Entry {
    /// Wants something else, or the same: then nothing changes.
    fn want(&self, wanted: Wanted, pod: Option<Pod>) {
        self.target.send_if_modified(|target| {
            let same = target.wanted == wanted && pod.as_ref().is_none_or(|pod| target.pod.is(pod));
            if !same {
                target.wanted = wanted;
                target.edition += 1;
                if let Some(pod) = pod {
                    target.pod = Arc::new(pod);
                }
            }
            !same
        });
    }
}

impl Target {
    /// Whether its rules are, or may be, in this namespace, and matter.
    fn holds(&self, namespace: NamespaceId) -> bool {
        self.wanted != Wanted::Gone && self.pod.namespace.id() == namespace
    }
}

impl Progress {
    fn is_enrolled(&self) -> bool {
        self.captured == Captured::Yes && self.serving == Serving::Listening
    }
}
