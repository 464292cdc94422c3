//! The pods of a Kubernetes cluster's node: those are in the mesh that Istio's labels say.
//!
//! ```text
//!   API server ──pods of this node──┐
//!              ──namespaces─────────┴> known ── enrolment(pod, namespace's label, settings) ──put, release, gone──> agent
//!              <──status annotation─────────────────────────────────────────────────────── what the agent has done
//!   /proc ────where pods' processes are──^       CNI: the same decision, before the pod starts
//! ```
//!
//! What was known stays so while the API server is away: nothing is taken out of the mesh by its silence.

mod access;
mod connector;
mod enrolment;
mod facts;
mod known;
mod listing;
mod overrides;
mod reason;
mod recognition;
mod redirection;
mod scan;
mod settings;
mod shape;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kube::{Client, Resource};
use netns::find::Finder;
use netns::{Namespace, NamespaceId, OpenError};
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::access::{Access, AccessError};
pub use self::facts::FactsError;
pub use self::overrides::Notice;
pub use self::scan::PlaceError;
pub use self::settings::Settings;

use self::facts::PodFacts;
use self::known::{Followed, Known, Order, Read};
use self::listing::Change;
use self::redirection::{ENABLED, Pace, Stage, Writing, is_due, write};
use self::scan::Scan;
use self::shape::PodShape;
use self::watch::Watched;
use super::backoff::Backoff;
use super::handle::Agent;
use super::source::{Recognised, Source, Starting};
use super::status::{PodStatus, Wanted};
use crate::report::Causes;

/// Where pods are is looked at so often, at least: a sandbox that is made anew has another network namespace, and nobody tells.
const LONGEST: Duration = Duration::from_secs(10);
/// After a change, so that many that come together are followed a few times.
const SHORTEST: Duration = Duration::from_millis(20);
/// The pace while something is wrong that may pass: processes that are not there yet.
const PENDING: Backoff = Backoff { first: Duration::from_millis(500), longest: LONGEST };
/// The pace while what the agent does is not yet said.
const UNSAID: Duration = Duration::from_millis(500);
/// Annotations that are written at once.
const WRITES: usize = 8;

/// A node's pods, as the API server and the node's processes tell.
pub struct Kubernetes {
    settings: Settings,
    client: Client,
    finder: Finder,
    /// The node's own namespace, in which pods on its network are.
    own: NamespaceId,
    known: Mutex<Known>,
    problems: Mutex<BTreeMap<String, String>>,
    /// Told when something is known that was not.
    news: Sender<()>,
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Why a cluster's pods cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It is not known how to reach the API server.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The node's own network namespace cannot be told.
    #[error("the node's own network namespace")]
    Own(#[from] OpenError),
}

impl Kubernetes {
    /// Will follow a node's pods, whose processes `finder` finds. The calling thread's namespace is taken for the node's. The API server
    /// need not be there. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn new(settings: Settings, access: &Access, finder: Finder) -> Result<Self, ConnectError> {
        let (client, own) = (access.client().await?, Namespace::current()?.id());
        let (known, problems, news) = (Mutex::default(), Mutex::default(), channel(()).0);
        Ok(Self { settings, client, finder, own, known, problems, news })
    }

    /// What is wrong now, by pod; and at the API server.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<String, String> {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = self.known();
        let broken = [("pods", known.pods.broken()), ("namespaces", known.namespaces.broken())];
        for (what, why) in broken.into_iter().filter_map(|(what, why)| Some((what, why?))) {
            problems.insert(format!("API server: {what}"), why.to_owned());
        }
        problems
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change of it is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch_pods(&self) {
        let fields = Some(format!("spec.nodeName={}", self.settings.node));
        let watched = Watched { client: self.client.clone(), fields, read: read_pod };
        watched.follow(|change| self.take(change, "pods", Known::pods_changed)).await;
    }

    async fn watch_namespaces(&self) {
        let watched = Watched { client: self.client.clone(), fields: None, read: facts::namespace };
        watched
            .follow(|change| self.take(change, "namespaces", |known, change| known.namespaces.apply(change)))
            .await;
    }

    fn take<T>(&self, change: Change<T>, what: &str, apply: impl FnOnce(&mut Known, Change<T>)) {
        if let Change::Broken(why) = &change {
            tracing::warn!(what, why, "the API server is not heard; what is known stays");
        }
        let is_news = !matches!(change, Change::Begun | Change::Listed(..));
        apply(&mut self.known(), change);
        if is_news {
            self.news.send_replace(());
        }
    }

    /// Has `agent` follow what is known, for ever.
    async fn follow(self: &Arc<Self>, agent: &Agent) {
        let mut news = self.news.subscribe();
        let (mut looked, mut pendings) = (None, 0_u32);
        loop {
            news.borrow_and_update();
            let (source, following, before) = (Arc::clone(self), agent.clone(), looked);
            let followed = tokio::task::spawn_blocking(move || source.follow_now(&following, before)).await;
            let (pending, at) = followed.unwrap_or((true, looked));
            looked = at;
            pendings = if pending { pendings.saturating_add(1) } else { 0 };
            rest(&mut news, if pending { PENDING.wait(pendings, fastrand::f64()) } else { LONGEST }).await;
        }
    }

    /// Follows what is known now; whether something may pass, and when processes were looked for last.
    fn follow_now(&self, agent: &Agent, looked: Option<Instant>) -> (bool, Option<Instant>) {
        let now = Instant::now();
        let to_find = self.known().to_find(&self.settings);
        let pause = if to_find.must.is_empty() { LONGEST } else { PENDING.first / 2 };
        let is_due = looked.is_none_or(|looked| now >= looked + pause);
        let scan = is_due.then(|| Scan::take(&self.finder, self.own, &to_find)).transpose();
        // Without one, what was found stays.
        let (scan, failed) = scan.map_or_else(|error| (None, Some(error)), |scan| (scan, None));
        let mut followed = self.known().follow(scan.as_ref(), &self.settings);
        let orders = std::mem::take(&mut followed.orders);
        orders.into_iter().for_each(|order| obey(agent, order, &mut followed));
        if let Some(error) = &failed {
            followed.problems.insert("processes".into(), Causes(error).to_string());
        }
        if followed.complete {
            agent.complete();
        }
        self.say(followed.problems);
        (followed.pending || failed.is_some(), if is_due { Some(now) } else { looked })
    }

    fn say(&self, problems: BTreeMap<String, String>) {
        let mut said = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        for (pod, problem) in problems.iter().filter(|&(pod, problem)| said.get(pod) != Some(problem)) {
            tracing::warn!(pod, problem, "a pod");
        }
        *said = problems;
    }

    /// Says in pods' annotations what `agent` has done, for ever.
    async fn announce(&self, agent: &Agent) {
        let mut news = self.news.subscribe();
        let mut pace = Pace::default();
        loop {
            news.borrow_and_update();
            let (due, pending) = self.due(agent);
            pace.retain(|uid| self.known().pods.get(uid).is_some());
            let now = Instant::now();
            let due: Vec<Writing> =
                due.into_iter().filter(|writing| pace.allows(&writing.uid, now)).collect();
            due.iter().for_each(|writing| pace.tried(&writing.uid, now, fastrand::f64()));
            let writes: Vec<_> = due.into_iter().map(|writing| self.write(writing)).collect();
            futures_util::stream::iter(writes).buffer_unordered(WRITES).collect::<()>().await;
            rest(&mut news, if pending { UNSAID } else { LONGEST }).await;
        }
    }

    /// What is to be written, and whether more will be, or may have to be again.
    fn due(&self, agent: &Agent) -> (Vec<Writing>, bool) {
        let pods = agent.status().pods;
        let stages: BTreeMap<&str, Stage> = pods.iter().map(|pod| (pod.uid.as_str(), stage(pod))).collect();
        let known = self.known();
        let (mut due, mut pending) = (Vec::new(), false);
        for (uid, facts) in known.pods.iter().filter_map(|(uid, item)| Some((uid, item.good.as_ref()?))) {
            let said = facts.redirection.as_deref();
            let Some(in_mesh) = known.to_say(uid, facts, &self.settings) else {
                // It may have to be taken away, once the agent was told.
                pending |= said.is_some();
                continue;
            };
            let stage = stages.get(uid).copied().unwrap_or(Stage::Unknown);
            pending |= if in_mesh { said != Some(ENABLED) } else { said.is_some() };
            if is_due(in_mesh, stage, said) {
                due.push(Writing { uid: uid.to_owned(), name: facts.name.clone(), enabled: in_mesh });
            }
        }
        (due, pending)
    }

    async fn write(&self, writing: Writing) {
        let Writing { uid, name, enabled } = &writing;
        match write(&self.client, &writing).await {
            Ok(()) => tracing::debug!(%uid, pod = %name, enabled, "the annotation is written"),
            Err(why) => tracing::warn!(%uid, pod = %name, enabled, why, "the annotation is not written"),
        }
    }
}

/// Waits for news, not for longer than this.
async fn rest(news: &mut Receiver<()>, longest: Duration) {
    // The source holds the sender.
    drop(timeout(longest, news.changed()).await);
    sleep(SHORTEST).await;
}

fn obey(agent: &Agent, order: Order, followed: &mut Followed) {
    let done = match order {
        Order::Put(pod) => {
            let name = pod.name.to_string();
            agent.put(pod).map_err(|error| (name, error))
        }
        Order::Release(pod) => {
            let name = pod.name.to_string();
            agent.release_pod(pod).map_err(|error| (name, error))
        }
        Order::Gone(uid) => {
            agent.gone(&uid);
            Ok(())
        }
        Order::Keep(uid) => {
            agent.keep(&uid);
            Ok(())
        }
    };
    if let Err((name, error)) = done {
        followed.pending = true;
        followed.problems.insert(name, Causes(&error).to_string());
    }
}

fn stage(pod: &PodStatus) -> Stage {
    match pod.wanted {
        Wanted::Enrolled if pod.is_enrolled() => Stage::Enrolled,
        _ => Stage::Between,
    }
}

/// A pod's key, and what it tells. One without a uid goes by its name.
fn read_pod(shape: PodShape) -> Option<(String, Read)> {
    let meta = shape.meta();
    let name =
        format!("{}/{}", meta.namespace.as_deref().unwrap_or("?"), meta.name.as_deref().unwrap_or("?"));
    let key = meta.uid.clone().unwrap_or_else(|| name.clone());
    Some((key, PodFacts::parse(shape).map_err(|error| (super::name::excerpt(&name), error))))
}

impl Source for Arc<Kubernetes> {
    async fn run(&self, agent: &Agent, stop: &CancellationToken) {
        let all = async {
            tokio::join!(
                self.watch_pods(),
                self.watch_namespaces(),
                self.follow(agent),
                self.announce(agent)
            );
        };
        stop.run_until_cancelled(all).await;
    }

    async fn recognise(&self, starting: &Starting) -> Recognised {
        self.recognise_now(starting).await
    }

    fn ended(&self, uid: &str) {
        self.known().left(uid);
        self.news.send_replace(());
    }
}
