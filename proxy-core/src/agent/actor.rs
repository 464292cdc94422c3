//! Actor: one task for one pod, which takes it where it is wanted, one step after the other.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use redirect::Plan;
use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

use super::backoff::Backoff;
use super::decide::{Known, Pace, Rules, Serving, Step, Waiting, Wish, decide};
use super::held::Held;
use super::kernel::{Found, Istio, Kernel, StepError};
use super::plans::Plans;
use super::pod::Pod;
use super::proxies::Proxies;
use super::roster::Offer;
use super::status::{Captured, Wanted};
use super::watched::Watched;
use crate::report::Causes;

/// What is wanted, and of which pod.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) pod: Arc<Pod>,
    pub(super) wanted: Wanted,
    /// Counts the changes of what is wanted.
    pub(super) edition: u64,
}

/// How far the actor is.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Of the target that this is about.
    pub(super) edition: u64,
    pub(super) captured: Captured,
    pub(super) serving: Serving,
    pub(super) since: SystemTime,
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
    /// By which others reach the pod, as far as it was looked.
    pub(super) addresses: BTreeSet<IpAddr>,
}

/// What all actors share.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) kernel: Kernel,
    pub(super) proxies: Proxies,
    pub(super) plans: Plans,
    pub(super) pace: Pace,
    pub(super) backoff: Backoff,
    pub(super) istio: Istio,
    /// Told when a pod's addresses may have changed.
    pub(super) addresses: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) struct Actor {
    around: Surroundings,
    targets: watch::Receiver<Target>,
    progress: watch::Sender<Progress>,
    news: Arc<Notify>,
    target: Target,
    plan: Arc<Plan>,
    held: Arc<Held>,
    /// None before the namespace is looked at, or where the kernel does not tell.
    watched: Option<Watched>,
    known: Known,
}

impl Progress {
    fn new(edition: u64) -> Self {
        Self {
            edition,
            captured: Captured::Unknown,
            serving: Serving::NotOffered,
            since: SystemTime::now(),
            failures: 0,
            last_error: None,
            addresses: BTreeSet::new(),
        }
    }
}

impl Actor {
    /// An actor, and where it tells how far it is.
    pub(super) fn new(
        around: Surroundings,
        mut targets: watch::Receiver<Target>,
    ) -> (Self, watch::Receiver<Progress>) {
        let target = targets.borrow_and_update().clone();
        let (progress, told) = watch::channel(Progress::new(target.edition));
        let known = Known {
            wish: wish(&target),
            rules: Rules::Unknown,
            serving: Serving::NotOffered,
            was_in_place: false,
            changed: false,
            not_before: None,
        };
        let plan = around.plans.of(&target.pod.intent);
        let held = held(&around, &target.pod);
        let mut actor = Self {
            around,
            targets,
            progress,
            news: Arc::default(),
            target,
            plan,
            held,
            watched: None,
            known,
        };
        // At once and not when it first runs: until then, proxies could be told that all pods have been named.
        if matches!(actor.known.wish, Wish::Enrolled { .. }) {
            actor.offer();
        }
        (actor, told)
    }

    /// Runs until there is nothing left to do, ever. Then `forget` is asked; if it says that something else is wanted by now,
    /// it goes on.
    pub(super) async fn run(mut self, forget: impl Fn() -> bool) {
        loop {
            if self.targets.has_changed().unwrap_or(false) {
                self.retarget();
            }
            if self.known.serving != Serving::NotOffered {
                self.known.serving = self.around.proxies.read().serving(&self.target.pod.uid);
            }
            let step = decide(&self.known, &self.around.pace, Instant::now());
            self.publish();
            match step {
                Step::Done if forget() => return,
                Step::Done => {}
                Step::Wait(until, waiting) => self.wait(Some(until), waiting).await,
                Step::AwaitProxy => self.wait(None, Waiting::Content).await,
                step => {
                    let done = self.perform(step).await;
                    self.note(step, done);
                }
            }
        }
    }

    /// Something else is wanted. What is known of another namespace, or of other rules, is nothing about these.
    fn retarget(&mut self) {
        let target = self.targets.borrow_and_update().clone();
        let (old, new) = (&self.target.pod, &target.pod);
        let moved = old.namespace.id() != new.namespace.id();
        if moved {
            self.watched = None;
        }
        if moved || old.intent != new.intent {
            self.known.rules = Rules::Unknown;
            self.known.was_in_place = false;
            self.plan = self.around.plans.of(&new.intent);
        }
        let held = !self.held.is_for(&new.namespace, &new.intent);
        if held {
            self.held = self::held(&self.around, new);
        }
        if held || old.name != new.name {
            self.known.serving = Serving::NotOffered;
        }
        self.known.wish = wish(&target);
        self.known.not_before = None;
        self.target = target;
    }

    fn offer(&mut self) {
        let pod = &self.target.pod;
        let (name, namespace) = (pod.name.clone(), pod.namespace.clone());
        let (held, news) = (Arc::clone(&self.held), Arc::clone(&self.news));
        let offer = Offer { name, namespace, held, news };
        self.around.proxies.change(|roster| roster.offer(pod.uid.clone(), offer));
        self.known.serving = Serving::Offered;
    }

    async fn wait(&mut self, until: Option<Instant>, waiting: Waiting) {
        let until = async {
            match until {
                Some(until) => sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        // A proxy's news change nothing about a wait after a failure.
        let news = async {
            if waiting == Waiting::Retry {
                std::future::pending::<()>().await;
            }
            self.news.notified().await;
        };
        let changed = async {
            match &self.watched {
                Some(watched) if !self.known.changed => watched.changed().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            // The agent holds the sender for as long as it is.
            changed = self.targets.changed() => if changed.is_ok() { self.retarget() },
            () = news => {}
            () = changed => self.known.changed = true,
            () = until => {}
        }
    }

    /// Watches the namespace from before it is looked at, so that nothing that changes later is missed.
    async fn watch(&mut self) {
        self.known.changed = false;
        if self.watched.is_some() {
            return;
        }
        match self.around.kernel.watch(&self.target.pod.namespace).await {
            Ok(watched) => self.watched = Some(watched),
            Err(error) => tracing::debug!(error = %Causes(&error), "changed rules are found by looking only"),
        }
    }

    async fn perform(&mut self, step: Step) -> Result<(), StepError> {
        if matches!(step, Step::Look | Step::Enrol(_)) {
            self.watch().await;
        }
        let Surroundings { kernel, proxies, istio, .. } = &self.around;
        let (pod, plan) = (&self.target.pod, &self.plan);
        match step {
            Step::Offer => self.offer(),
            Step::Withdraw => {
                proxies.change(|roster| roster.withdraw(&pod.uid));
                self.known.serving = Serving::Leaving;
            }
            Step::Look => match kernel.look(&pod.namespace, plan).await? {
                Found::All => self.in_place().await?,
                Found::Nothing => self.known.rules = Rules::Absent,
                Found::Other(what) => {
                    self.known.rules = Rules::Differ;
                    self.tell(what);
                }
            },
            Step::Enrol(existing) => {
                kernel.enrol(&pod.namespace, plan, existing, *istio).await?;
                tracing::info!(uid = %pod.uid, pod = %pod.name, namespace = %pod.namespace.id(), "enrolled");
                self.in_place().await?;
            }
            Step::Drain => {
                kernel.drain(&pod.namespace, plan).await?;
                let connections = kernel.count(&pod.namespace, plan, pod.intent.ports()).await?;
                let now = Instant::now();
                self.known.rules = Rules::Draining { since: now, connections, seen: now };
            }
            Step::Count => {
                let connections = kernel.count(&pod.namespace, plan, pod.intent.ports()).await?;
                if let Rules::Draining { since, .. } = self.known.rules {
                    self.known.rules = Rules::Draining { since, connections, seen: Instant::now() };
                }
            }
            Step::Remove => {
                kernel.remove(&pod.namespace, plan).await?;
                tracing::info!(uid = %pod.uid, pod = %pod.name, namespace = %pod.namespace.id(), "released");
                self.known.rules = Rules::Absent;
                self.known.was_in_place = false;
            }
            Step::Wait(..) | Step::AwaitProxy | Step::Done => {}
        }
        Ok(())
    }

    async fn in_place(&mut self) -> Result<(), StepError> {
        self.known.rules = Rules::InPlace(Instant::now());
        self.known.was_in_place = true;
        let addresses = self.around.kernel.addresses(&self.target.pod.namespace).await?;
        if self.progress.borrow().addresses != addresses {
            self.progress.send_modify(|progress| progress.addresses = addresses);
            self.around.addresses.send_replace(());
        }
        Ok(())
    }

    /// Remembers how a step went. After a failure nothing is taken for known.
    fn note(&mut self, step: Step, done: Result<(), StepError>) {
        match done {
            Ok(()) => {
                self.known.not_before = None;
                let settled = matches!(self.known.rules, Rules::InPlace(_) | Rules::Absent);
                self.progress.send_if_modified(|progress| {
                    let modified = progress.failures > 0 || (settled && progress.last_error.is_some());
                    progress.failures = 0;
                    if settled {
                        progress.last_error = None;
                    }
                    modified
                });
            }
            Err(error) => {
                let reason = Causes(&error).to_string();
                let pod = &self.target.pod;
                tracing::warn!(uid = %pod.uid, pod = %pod.name, ?step, reason, "a step has failed");
                self.known.rules = Rules::Unknown;
                let failures = self.progress.borrow().failures.saturating_add(1);
                let wait = self.around.backoff.wait(failures, fastrand::f64());
                self.known.not_before = Some(Instant::now() + wait);
                self.progress.send_modify(|progress| progress.failures = failures);
                self.tell(reason);
            }
        }
    }

    fn tell(&self, what: String) {
        self.progress.send_modify(|progress| progress.last_error = Some(what));
    }

    fn publish(&self) {
        let (captured, serving) = (Captured::from(self.known.rules), self.known.serving);
        let edition = self.target.edition;
        self.progress.send_if_modified(|progress| {
            let modified =
                (progress.edition, progress.captured, progress.serving) != (edition, captured, serving);
            if (progress.captured == Captured::Yes) != (captured == Captured::Yes) {
                progress.since = SystemTime::now();
            }
            (progress.edition, progress.captured, progress.serving) = (edition, captured, serving);
            modified
        });
    }
}

fn held(around: &Surroundings, pod: &Pod) -> Arc<Held> {
    Arc::new(Held::new(around.kernel.clone(), pod.namespace.clone(), &pod.intent))
}

fn wish(target: &Target) -> Wish {
    match target.wanted {
        Wanted::Enrolled => Wish::Enrolled { existing: target.pod.existing },
        Wanted::Released => Wish::Released,
        Wanted::Gone => Wish::Gone,
    }
}
