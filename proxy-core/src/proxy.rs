//! Proxy: one pod's listeners and what they start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hbone::{Pool, PoolConfig, Usage};
use identity::ServiceAccount;
use netns::Namespace;
use tokio_util::sync::CancellationToken;

use crate::authority::Authority;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::double::Doubles;
use crate::drain::Drain;
use crate::explain::{self, Account, Connections, Query};
use crate::listen::{self, Accepted, Until};
use crate::listeners::{ListenError, Listeners};
use crate::pod::{Core, Pod};
use crate::report::Observer;
use crate::workers::Workers;
use crate::workload::{Facts, PodName};
use crate::{inbound, outbound, passthrough};

/// What all pods of a node share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Settings.
    pub config: Arc<Config>,
    /// Who is in the mesh.
    pub facts: Arc<Facts>,
    /// Where SVIDs come from, and who is believed.
    pub authority: Arc<Authority>,
    /// Who is told of each connection.
    pub observer: Arc<dyn Observer>,
    /// Where connections are served.
    pub workers: Arc<Workers>,
}

/// Why a pod's proxy could not be started. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The pod's name makes no identity.
    #[error("the pod's name makes no identity")]
    Identity(#[source] identity::ServiceAccountError),
    /// Its identity has no SVID, and will have none.
    #[error("a share of the SVID of its identity")]
    Lease(#[source] identity::source::LeaseError),
    /// A port of the pod could not be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// One enrolled pod: it listens inside the pod's namespace until it is drained or dropped.
#[derive(Debug)]
pub struct Proxy {
    pod: Arc<Pod>,
    cores: Arc<[Arc<Core>]>,
    listening: Listening,
}

/// On which sockets it listens.
#[derive(Debug)]
struct Listening {
    cookies: BTreeSet<u64>,
    replaced: CancellationToken,
}

impl Proxy {
    /// Binds the pod's three ports and serves them.
    ///
    /// # Errors
    /// [`StartError`] names the port that could not be bound; then none is.
    pub fn start(shared: &Shared, name: PodName, namespace: Namespace) -> Result<Self, StartError> {
        let bind = |namespace: &Namespace| {
            let Config { ports, mark, .. } = *shared.config;
            Listeners::bind(namespace, ports, mark, shared.workers.count())
        };
        Self::start_on(shared, name, namespace, bind)
    }

    /// Serves the pod on listeners that are made once all else is well.
    pub(crate) fn start_on(
        shared: &Shared,
        name: PodName,
        namespace: Namespace,
        listeners: impl FnOnce(&Namespace) -> Result<Listeners, ListenError>,
    ) -> Result<Self, StartError> {
        let account =
            ServiceAccount::new(&name.namespace, &name.service_account).map_err(StartError::Identity)?;
        let id = account.spiffe_id(shared.authority.trust_domain());
        let credentials = Credentials::new(Arc::clone(&shared.authority), &id).map_err(StartError::Lease)?;
        let listeners = listeners(&namespace)?;
        let pod = Arc::new(Pod {
            name: Arc::new(name),
            namespace,
            home: shared.workers.home().clone(),
            config: Arc::clone(&shared.config),
            facts: Arc::clone(&shared.facts),
            credentials,
            observer: Arc::clone(&shared.observer),
            underway: shared.workers.underway().clone(),
            drain: Drain::default(),
        });
        let cores = cores(&pod, &shared.workers);
        let listening = serve(&pod, &cores, &shared.workers, listeners);
        shared
            .workers
            .spawn(shared.workers.next(), pod.drain.track(reap(Arc::clone(&pod), Arc::clone(&cores))));
        Ok(Self { pod, cores, listening })
    }

    /// Goes on with other listeners. What waits at those that it has is still taken.
    pub(crate) fn listen(&mut self, shared: &Shared, listeners: Listeners) {
        if listeners.cookies().is_ok_and(|cookies| cookies == self.listening.cookies) {
            return;
        }
        let listening = serve(&self.pod, &self.cores, &shared.workers, listeners);
        std::mem::replace(&mut self.listening, listening).replaced.cancel();
    }

    /// The pod's name.
    #[must_use]
    pub fn name(&self) -> &PodName {
        &self.pod.name
    }

    /// The namespace that it listens in.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.pod.namespace
    }

    /// What it would do with a connection, and why.
    #[must_use]
    pub fn explain(&self, query: &Query) -> Account {
        let usages = explain::Usages {
            tunnel: &|key| usages(&self.cores, |core| core.pool.usage(key)),
            double: &|key| usages(&self.cores, |core| core.double.usage(key)),
        };
        explain::account(&self.pod, query, usages)
    }

    /// Ends it: stops listening at once, tells peers, gives connections `grace` to end and cuts the rest.
    pub async fn drain(self, grace: Duration) {
        self.pod.drain.clone().run(grace).await;
    }
}

impl Drop for Proxy {
    /// Cuts what still runs. After [`drain`](Proxy::drain) nothing does.
    fn drop(&mut self) {
        self.pod.drain.abort();
    }
}

/// What each worker has for a tunnel, if it has anything.
fn usages(cores: &[Arc<Core>], usage: impl Fn(&Core) -> Usage) -> Vec<Connections> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let used = cores.iter().map(|core| (core.worker, usage(core)));
    let something = used.filter(|(_, usage)| *usage != Usage::default());
    let connections = something.map(|(worker, Usage { open, dialling, streams })| Connections {
        worker: number(worker),
        open: number(open),
        dialling: number(dialling),
        streams: number(streams),
    });
    connections.collect()
}

/// Each worker's share of a pod.
fn cores(pod: &Arc<Pod>, workers: &Workers) -> Arc<[Arc<Core>]> {
    let settings = PoolConfig::default()
        .with_max_streams_per_connection(pod.config.streams_per_connection)
        .with_idle_timeout(pod.config.idle_timeout);
    let core = |worker| {
        let cut = pod.drain.cut_for_worker();
        let (pool, double) = (Pool::new(settings), Doubles::default());
        Arc::new(Core { pod: Arc::clone(pod), worker, pool, double, cut })
    };
    (0..workers.count().get()).map(core).collect()
}

/// Starts the accept loops, on different workers.
fn serve(
    pod: &Arc<Pod>,
    cores: &Arc<[Arc<Core>]>,
    workers: &Arc<Workers>,
    listeners: Listeners,
) -> Listening {
    // Sockets that cannot be told are not those that are given later.
    let cookies = listeners.cookies().unwrap_or_default();
    let Listeners { outbound, plaintext, hbone, holder } = listeners;
    let replaced = CancellationToken::new();
    let until = Until { closing: pod.drain.closing().clone(), replaced: replaced.clone(), holder };
    for listener in outbound {
        accept(cores, workers, Place::Near, listener, until.clone(), outbound::serve);
    }
    for listener in plaintext {
        accept(cores, workers, Place::Near, listener, until.clone(), passthrough::serve);
    }
    accept(cores, workers, Place::BesideDialler, hbone, until, inbound::serve);
    Listening { cookies, replaced }
}

/// Which worker is to serve a connection.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// The one that accepted it, as far as the load allows.
    Near,
    /// The one that dialled it, if that was one of ours; else each in turn. Peers' connections are few and long-lived: they
    /// must not fall on one worker because of what happens to be accepted between them.
    BesideDialler,
}

/// How long a peer may take to say its first word before its connection is placed without. A dialler of ours speaks at once,
/// and by then is known as such.
const FIRST_WORD: Duration = Duration::from_millis(100);

/// Accepts on the next worker; each connection is served where `place` says.
fn accept<F>(
    cores: &Arc<[Arc<Core>]>,
    workers: &Arc<Workers>,
    place: Place,
    listener: std::net::TcpListener,
    until: Until,
    serve: fn(Arc<Core>, Accepted) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(pod) = cores.first().map(|core| Arc::clone(&core.pod)) else { return };
    let at = workers.next();
    let (cores, everyone) = (Arc::clone(cores), Arc::downgrade(workers));
    let drain = pod.drain.clone();
    let accepting = pod.drain.clone().track(async move {
        let mut turn = at;
        let take = |accepted: Accepted| {
            // Without workers the node is ending, and the connection with it.
            let Some(workers) = everyone.upgrade() else { return };
            match place {
                Place::Near => {
                    let chosen = workers.near(at);
                    serve_on(chosen, &workers, &cores, &drain, accepted, serve);
                }
                Place::BesideDialler => {
                    turn = (turn + 1) % workers.count();
                    let (turn, cores, serving) = (turn, Arc::clone(&cores), drain.clone());
                    tokio::spawn(drain.track(async move {
                        // Whatever comes of it, the handshake will tell.
                        let _ = tokio::time::timeout(FIRST_WORD, accepted.stream.readable()).await;
                        let chosen = workers.underway().dialled_by(accepted.client).unwrap_or(turn);
                        serve_on(chosen, &workers, &cores, &serving, accepted, serve);
                    }));
                }
            }
        };
        listen::accept_loop(listener, until, take).await;
    });
    workers.spawn(at, accepting);
}

/// Serves a connection that the calling worker has on the worker `chosen`.
fn serve_on<F>(
    chosen: usize,
    workers: &Workers,
    cores: &[Arc<Core>],
    drain: &Drain,
    accepted: Accepted,
    serve: fn(Arc<Core>, Accepted) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(core) = cores.get(chosen).map(Arc::clone) else { return };
    let served = workers.served_by(chosen);
    if workers.is_here(chosen) {
        tokio::spawn(drain.track(async move {
            serve(core, accepted).await;
            drop(served);
        }));
    } else if let Some(moving) = registered(accepted.detach()) {
        let arriving = async move {
            if let Some(accepted) = registered(moving.attach()) {
                serve(core, accepted).await;
            }
            drop(served);
        };
        workers.spawn(chosen, drain.track(arriving));
    }
}

/// What came of registering a connection with another core. Without it the connection is closed.
fn registered<T>(moved: std::io::Result<T>) -> Option<T> {
    moved.inspect_err(|error| tracing::warn!(%error, "handing a connection to another core")).ok()
}

/// Closes connections to peers that have carried no stream for a while.
async fn reap(pod: Arc<Pod>, cores: Arc<[Arc<Core>]>) {
    let reapers = join_all(cores.iter().map(|core| core.pool.run_reaper()));
    tokio::select! {
        _ = reapers => {}
        () = pod.drain.closing().cancelled() => {}
    }
}
