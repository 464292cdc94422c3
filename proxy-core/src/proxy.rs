//! Proxy: one pod's listeners and what they start.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hbone::{Pool, PoolConfig};
use identity::ServiceAccount;
use netns::Namespace;

use crate::config::Config;
use crate::credentials::{Authority, Credentials};
use crate::drain::Drain;
use crate::listen::{self, Accepted, ListenError, Listeners};
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
    /// Where SVIDs come from.
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
    /// A port of the pod could not be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// One enrolled pod: it listens inside the pod's namespace until it is drained or dropped.
#[derive(Debug)]
pub struct Proxy {
    pod: Arc<Pod>,
}

impl Proxy {
    /// Binds the pod's three ports and serves them.
    ///
    /// # Errors
    /// [`StartError`] names the port that could not be bound; then none is.
    pub fn start(shared: &Shared, name: PodName, namespace: Namespace) -> Result<Self, StartError> {
        let account =
            ServiceAccount::new(&name.namespace, &name.service_account).map_err(StartError::Identity)?;
        let id = account.spiffe_id(shared.authority.bundle().trust_domain());
        let listeners = listen::bind(&namespace, &shared.config)?;
        let pod = Arc::new(Pod {
            name: Arc::new(name),
            namespace,
            home: shared.workers.home().clone(),
            config: Arc::clone(&shared.config),
            facts: Arc::clone(&shared.facts),
            credentials: Credentials::new(Arc::clone(&shared.authority), id),
            observer: Arc::clone(&shared.observer),
            drain: Drain::default(),
        });
        serve(&pod, &shared.workers, listeners);
        Ok(Self { pod })
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

/// Starts the accept loops, each on a worker of its own choice; connections go round all workers.
fn serve(pod: &Arc<Pod>, workers: &Arc<Workers>, listeners: Listeners) {
    let settings = PoolConfig::default()
        .with_max_streams_per_connection(pod.config.streams_per_connection)
        .with_idle_timeout(pod.config.idle_timeout);
    let core = |_| {
        let cut = pod.drain.cut_for_worker();
        Arc::new(Core { pod: Arc::clone(pod), pool: Pool::new(settings), cut })
    };
    let cores: Arc<[Arc<Core>]> = (0..workers.count()).map(core).collect();
    let Listeners { outbound, plaintext, hbone } = listeners;
    accept(&cores, workers, outbound, outbound::serve);
    accept(&cores, workers, plaintext, passthrough::serve);
    accept(&cores, workers, hbone, inbound::serve);
    workers.spawn(workers.next(), pod.drain.track(reap(Arc::clone(pod), cores)));
}

fn accept<F>(
    cores: &Arc<[Arc<Core>]>,
    workers: &Arc<Workers>,
    listener: std::net::TcpListener,
    serve: fn(Arc<Core>, Accepted) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(pod) = cores.first().map(|core| Arc::clone(&core.pod)) else { return };
    let (cores, everyone) = (Arc::clone(cores), Arc::downgrade(workers));
    let drain = pod.drain.clone();
    // Each listener takes turns by itself: the few connections of peers must not fall on one core because of what happens
    // to be accepted between them.
    let mut turn = workers.next();
    let accepting = pod.drain.clone().track(async move {
        let take = |accepted: Accepted| {
            // Without workers the node is ending, and the connection with it.
            let Some(workers) = everyone.upgrade() else { return };
            turn = (turn + 1) % cores.len();
            if let Some(core) = cores.get(turn) {
                workers.spawn(turn, drain.track(serve(Arc::clone(core), accepted)));
            }
        };
        listen::accept_loop(listener, pod.drain.closing(), take).await;
    });
    workers.spawn(workers.next(), accepting);
}

/// Closes connections to peers that have carried no stream for a while.
async fn reap(pod: Arc<Pod>, cores: Arc<[Arc<Core>]>) {
    let reapers = join_all(cores.iter().map(|core| core.pool.run_reaper()));
    tokio::select! {
        _ = reapers => {}
        () = pod.drain.closing().cancelled() => {}
    }
}
