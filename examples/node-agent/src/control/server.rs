//! The agent's side.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::time::Duration;

use proxy_core::agent::Agent;
use proxy_core::local_socket::may_ask;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{MAX_QUESTION, Question};
use crate::pods::Pods;
use crate::view::View;
use crate::why;

/// Most askers at once; more wait in the kernel's queue.
const MOST: usize = 8;
/// Longest time for a question and its answer.
const LIMIT: Duration = Duration::from_secs(10);
/// After an accept that failed, typically for want of descriptors (accept(2)): time for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers questions about an agent.
pub(crate) struct Server {
    listener: UnixListener,
    known: Known,
}

#[derive(Clone)]
struct Known {
    agent: Agent,
    pods: Pods,
}

impl Server {
    /// To be called inside a tokio runtime.
    pub(crate) fn new(listener: StdListener, agent: Agent, pods: Pods) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, known: Known { agent, pods } })
    }

    /// Answers until `stop`.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let mut asked = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = asked.join_next(), if asked.len() >= MOST => continue,
                accepted = self.listener.accept(), if asked.len() < MOST => accepted,
            };
            while asked.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) => {
                    let known = self.known.clone();
                    asked.spawn(async move {
                        // Who asks sees that there is no answer.
                        let _ = timeout(LIMIT, known.answer(stream)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a question");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Known {
    async fn answer(&self, mut stream: UnixStream) -> io::Result<()> {
        if !may_ask(stream.peer_cred()?.uid()) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut bytes = Vec::new();
        (&mut stream).take(MAX_QUESTION).read_to_end(&mut bytes).await?;
        let answer = match serde_json::from_slice(&bytes) {
            Ok(Question::Status) => {
                serde_json::to_vec(&View::new(self.agent.status(), self.pods.problems()))?
            }
            Ok(Question::Why(question)) => why::answer(&self.agent, &question).await?,
            Err(error) => why::no_question(&error)?,
        };
        stream.write_all(&answer).await?;
        stream.shutdown().await
    }
}
