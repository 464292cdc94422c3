//! Proxies: one conversation with each proxy that connects, led by the [`Roster`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::asking::Asking;
use super::kernel::StepError;
use super::roster::{Listening, ProxyId, Roster, Work};
use crate::report::Causes;
use crate::zds::Extensions;
use crate::zds::agent::{Connected, Connection, Listener, RequestError};

/// Most proxies at once, those too that have not said hello. 16: there are two while one takes another's place; more are a mistake.
const MOST: usize = 16;

/// After an accept that failed, typically for want of descriptors (accept(2)): time for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The roster, shared by all who change it and all who tell proxies of it.
#[derive(Debug, Clone)]
pub(super) struct Proxies {
    roster: Arc<Mutex<Roster>>,
    changed: watch::Sender<()>,
    /// How long connections wait for a proxy.
    hold: Duration,
    asking: Asking,
}

impl Proxies {
    pub(super) fn new(hold: Duration) -> Self {
        Self { roster: Arc::default(), changed: watch::Sender::new(()), hold, asking: Asking::default() }
    }

    /// Reads the roster.
    pub(super) fn read(&self) -> MutexGuard<'_, Roster> {
        // Each of its methods is whole or not at all.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the newest can be asked.
    pub(super) fn asking(&self) -> &Asking {
        &self.asking
    }

    /// Changes what is offered, and has proxies told.
    pub(super) fn change(&self, change: impl FnOnce(&mut Roster)) {
        change(&mut self.read());
        self.changed.send_replace(());
    }

    /// Serves all that connect, until `stop`.
    pub(super) async fn serve(self, mut listener: Listener, stop: CancellationToken) {
        let mut conversations = JoinSet::new();
        loop {
            let connected = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = conversations.join_next(), if conversations.len() >= MOST => continue,
                connected = listener.connected(), if conversations.len() < MOST => connected,
            };
            while conversations.try_join_next().is_some() {}
            match connected {
                Ok(connected) => {
                    let proxies = self.clone();
                    conversations.spawn(async move { proxies.converse(connected).await });
                }
                Err(error) => {
                    tracing::warn!(error = %Causes(&error), "cannot take a proxy");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn converse(self, connected: Connected) {
        let mut connection = match connected.greeted().await {
            Ok(connection) => connection,
            Err(error) => return tracing::warn!(error = %Causes(&error), "a proxy is turned away"),
        };
        let listening = listening(&connection);
        let joined = Joined { id: self.read().join(listening), proxies: &self };
        tracing::info!(proxy = %joined.id, ?listening, "a proxy has connected");
        let error = self.tell(&mut connection, joined.id).await;
        tracing::warn!(proxy = %joined.id, error = %Causes(&error), "a proxy is gone");
    }

    /// Holds sockets that nobody accepts from for so long, and no longer.
    pub(super) async fn hold(self) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let until = self.read().held_until(self.hold).filter(|until| *until > Instant::now());
            let over = async {
                match until {
                    Some(until) => sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender is ours.
                _ = changed.changed() => {}
                () = over => {}
            }
            self.let_go().await;
        }
    }

    async fn let_go(&self) {
        let for_nobody = self.read().held_for_nobody(self.hold, Instant::now());
        for held in for_nobody {
            held.let_go().await;
        }
    }

    /// Tells one proxy all there is to tell, until the connection is over.
    async fn tell(&self, connection: &mut Connection, id: ProxyId) -> RequestError {
        let mut changed = self.changed.subscribe();
        let mut questions = self.asking.join(id);
        loop {
            changed.mark_unchanged();
            let (work, later) = self.read().work(id, Instant::now());
            if work.is_empty() {
                let later = async {
                    match later {
                        Some(later) => sleep_until(later.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    error = connection.closed() => return error,
                    asked = questions.next() => {
                        if let Err(error) = asked.bring(connection).await {
                            return error;
                        }
                    }
                    // The sender is ours.
                    _ = changed.changed() => {}
                    () = later => {}
                }
            }
            let mut let_go = listening(connection) == Listening::Own;
            for work in work {
                let refusal = match ask(connection, &work).await {
                    Ok(()) => None,
                    Err(AskError::Listen(error)) => Some(Causes(&error).to_string()),
                    Err(AskError::Request(error)) if error.is_the_requests() => Some(error.to_string()),
                    Err(AskError::Request(error)) => return error,
                };
                if let Some(reason) = &refusal {
                    tracing::warn!(proxy = %id, %work, reason, "a proxy refuses");
                    let_go = true;
                }
                self.read().answered(id, &work, refusal, Instant::now(), fastrand::f64());
            }
            if let_go {
                self.let_go().await;
            }
        }
    }
}

/// Why a proxy was not asked, or has not agreed.
#[derive(Debug)]
enum AskError {
    /// What it is to listen on is not there.
    Listen(StepError),
    Request(RequestError),
}

async fn ask(connection: &mut Connection, work: &Work) -> Result<(), AskError> {
    let asked = match work {
        Work::Add { uid, offer, .. } if listening(connection) == Listening::Given => {
            let listeners = offer.held.listeners().await.map_err(AskError::Listen)?;
            connection.add_listening(uid, &offer.name, &offer.namespace, &listeners).await
        }
        Work::Add { uid, offer, .. } => connection.add(uid, &offer.name, &offer.namespace).await,
        Work::Keep(uid) => connection.keep(uid).await,
        Work::Delete(uid) => connection.delete(uid).await,
        Work::SnapshotSent => connection.snapshot_sent().await,
    };
    asked.map_err(AskError::Request)
}

/// Whose sockets this proxy listens on.
fn listening(connection: &Connection) -> Listening {
    if connection.extensions().contains(Extensions::LISTENERS) { Listening::Given } else { Listening::Own }
}

/// A proxy on the roster, until its conversation ends, however it does.
struct Joined<'a> {
    id: ProxyId,
    proxies: &'a Proxies,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.proxies.change(|roster| roster.leave(self.id, Instant::now()));
    }
}
