//! The agent's side: listens for plugins, and puts what they ask, checked, to a [`Handler`].
//!
//! ```text
//!   accept ── root or our user? ── read, bounded, in time ── the pod's namespace, and not the node's? ── Handler ── answer
//!                 │ no                  │ no                              │ no                            │ too slow
//!                 └──── refused ────────┴───────── refused ───────────────┘                try again ─────┘
//! ```

mod incoming;

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use netns::{Namespace, NamespaceId, OpenError};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::incoming::RequestError;
use crate::message::{Answer, Leaving, Placed, Valid};

/// What an agent does about containers. Each may be asked again for what is done already, and several at once; an answer comes
/// within [`Limits::handling`], or the plugin is told to try again while the future is dropped.
pub trait Handler: Send + Sync + 'static {
    /// Enrols a pod. [`Answer::Done`] lets it start, so only when its traffic is captured; [`Answer::NotOurs`] too, so only when it
    /// is certain.
    fn add(&self, present: Present) -> impl Future<Output = Answer> + Send;
    /// Whether a pod is still as [`add`](Self::add) left it.
    fn check(&self, present: Present) -> impl Future<Output = Answer> + Send;
    /// A pod goes. Its containers have ended.
    fn del(&self, leaving: Leaving) -> impl Future<Output = Answer> + Send;
    /// All pods but these are gone.
    fn gc(&self, valid: Valid) -> impl Future<Output = Answer> + Send;
    /// [`Answer::Done`] if a pod could be enrolled now.
    fn status(&self) -> impl Future<Output = Answer> + Send;
}

/// A container that is there. The namespace is a network namespace and not the node's own; that it is this pod's is the
/// runtime's word.
#[derive(Clone, Debug)]
pub struct Present {
    /// What was said about it.
    pub placed: Placed,
    /// Its namespace, as a descriptor that the plugin opened: independent of what a path means to us.
    pub namespace: Namespace,
}

/// What plugins may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests at once; more wait in the kernel's queue. 64: with [`MAX_REQUEST`](crate::message::MAX_REQUEST), 16 MiB at most.
    pub concurrent: NonZeroUsize,
    /// Longest time for a request to be read, and for an answer to be written. 5 s: both are local, and a few kilobytes.
    pub exchange: Duration,
    /// Longest time for the handler. 24 s: with two exchanges still less than the 30 s that the plugin waits unless told otherwise.
    pub handling: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent: NonZeroUsize::MIN.saturating_add(63),
            exchange: Duration::from_secs(5),
            handling: Duration::from_secs(24),
        }
    }
}

/// Listens for plugins.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    limits: Limits,
    node: NamespaceId,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The socket cannot be used.
    #[error("cannot serve the socket")]
    Socket(#[source] std::io::Error),
    /// Our own namespace, which no pod may be in, cannot be known.
    #[error("the agent's own network namespace")]
    Own(#[source] OpenError),
}

impl Server {
    /// Will serve plugins that connect to `listener`, which the caller keeps strangers away from: a socket (0600) in a folder (0700).
    /// The calling thread's namespace is taken for the node's.
    ///
    /// # Errors
    /// [`ServerError`]. To be called inside a tokio runtime.
    pub fn new(listener: std::os::unix::net::UnixListener, limits: Limits) -> Result<Self, ServerError> {
        let node = Namespace::current().map_err(ServerError::Own)?.id();
        listener.set_nonblocking(true).map_err(ServerError::Socket)?;
        let listener = UnixListener::from_std(listener).map_err(ServerError::Socket)?;
        Ok(Self { listener, limits, node })
    }

    /// Serves until `stop`, and then ends what is under way. The socket's file stays: it may be the next agent's by then.
    pub async fn serve<H: Handler>(self, handler: Arc<H>, stop: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.limits.concurrent.get()));
        let mut exchanges = JoinSet::new();
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, self.listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            while exchanges.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) => {
                    let exchange = Exchange { stream, limits: self.limits, node: self.node };
                    let handler = Arc::clone(&handler);
                    exchanges.spawn(async move {
                        exchange.run(&*handler).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept a CNI plugin");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        while exchanges.join_next().await.is_some() {}
    }
}

/// After an accept that failed, typically for want of descriptors (accept(2)): time for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request that has been checked.
#[derive(Debug)]
enum Checked {
    Add(Present),
    Check(Present),
    Del(Leaving),
    Gc(Valid),
    Status,
}

/// One connection: one request, one answer.
#[derive(Debug)]
struct Exchange {
    stream: UnixStream,
    limits: Limits,
    node: NamespaceId,
}

impl Exchange {
    async fn run<H: Handler>(mut self, handler: &H) {
        let answer = match self.receive().await {
            Ok(request) => self.handle(handler, request).await,
            Err(error) => {
                let answer = error.answer();
                warn!(?answer, "a CNI request was not taken");
                answer
            }
        };
        if let Err(error) = self.send(&answer).await {
            debug!(%error, "a CNI plugin did not hear its answer");
        }
    }

    async fn receive(&self) -> Result<Checked, RequestError> {
        let uid = self.stream.peer_cred().map_err(RequestError::Broken)?.uid();
        if !may_ask(uid, rustix::process::geteuid().as_raw()) {
            return Err(RequestError::Stranger { uid });
        }
        let receiving = incoming::receive(&self.stream, self.node);
        timeout(self.limits.exchange, receiving).await.unwrap_or(Err(RequestError::Slow))
    }

    async fn handle<H: Handler>(&self, handler: &H, request: Checked) -> Answer {
        let handling = async {
            match request {
                Checked::Add(present) => handler.add(present).await,
                Checked::Check(present) => handler.check(present).await,
                Checked::Del(leaving) => handler.del(leaving).await,
                Checked::Gc(valid) => handler.gc(valid).await,
                Checked::Status => handler.status().await,
            }
        };
        let slow = |_| Answer::try_again(format_args!("not done within {}s", self.limits.handling.as_secs()));
        timeout(self.limits.handling, handling).await.unwrap_or_else(slow)
    }

    async fn send(&mut self, answer: &Answer) -> std::io::Result<()> {
        let bytes = answer.encode().map_err(std::io::Error::other)?;
        let sending = async {
            self.stream.write_all(&bytes).await?;
            self.stream.shutdown().await
        };
        timeout(self.limits.exchange, sending).await?
    }
}

/// Root asks, or whoever the agent itself is: on a machine where it is not root, so is its runtime.
fn may_ask(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_our_own_user_may_ask() {
        assert!(may_ask(0, 0) && may_ask(0, 1000) && may_ask(1000, 1000));
        assert!(!may_ask(1000, 0) && !may_ask(1001, 1000) && !may_ask(u32::MAX, 0));
    }
}
