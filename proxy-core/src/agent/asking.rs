//! Asking: questions to the newest proxy, which its conversation brings to it between other requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::roster::ProxyId;
use crate::explain::{Account, Query};
use crate::zds::agent::{Connection, RequestError};

/// Most questions that wait for one proxy. 8: people ask.
const MOST: usize = 8;

/// The proxies that can be asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Asking(Arc<Mutex<BTreeMap<ProxyId, mpsc::Sender<Asked>>>>);

/// Why a proxy has not told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// None is connected.
    #[error("no proxy is connected")]
    NoProxy,
    /// Others ask, and have not been answered yet.
    #[error("{MOST} questions wait for the proxy")]
    Busy,
    /// Its connection has ended meanwhile.
    #[error("the proxy has gone before it answered")]
    Gone,
    /// It does not understand the question: it is none of this project, or an older one.
    #[error("the proxy does not tell")]
    NotUnderstood,
    /// It has refused, or would have.
    #[error("the question")]
    Refused(#[source] RequestError),
}

/// One question, and where the answer goes.
#[derive(Debug)]
pub(super) struct Asked {
    query: Query,
    answer: oneshot::Sender<Result<Account, ExplainError>>,
}

/// The questions to one proxy, for as long as it is connected.
#[derive(Debug)]
pub(super) struct Questions {
    asking: Asking,
    id: ProxyId,
    asked: mpsc::Receiver<Asked>,
}

impl Asking {
    /// A proxy has connected.
    pub(super) fn join(&self, id: ProxyId) -> Questions {
        let (sender, asked) = mpsc::channel(MOST);
        self.lock().insert(id, sender);
        Questions { asking: self.clone(), id, asked }
    }

    /// Asks the newest proxy.
    pub(super) async fn ask(&self, query: Query) -> Result<Account, ExplainError> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { query, answer };
        {
            let proxies = self.lock();
            let (_, newest) = proxies.last_key_value().ok_or(ExplainError::NoProxy)?;
            newest.try_send(asked).map_err(|error| match error {
                TrySendError::Full(_) => ExplainError::Busy,
                TrySendError::Closed(_) => ExplainError::Gone,
            })?;
        }
        answered.await.unwrap_or(Err(ExplainError::Gone))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProxyId, mpsc::Sender<Asked>>> {
        // Nothing is left half done in it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Questions {
    /// The next question. Cancel safe.
    pub(super) async fn next(&mut self) -> Asked {
        match self.asked.recv().await {
            Some(asked) => asked,
            // The sender is there for as long as this is.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        self.asking.lock().remove(&self.id);
    }
}

impl Asked {
    /// Brings it to the proxy.
    ///
    /// # Errors
    /// When the conversation cannot go on.
    pub(super) async fn bring(self, connection: &mut Connection) -> Result<(), RequestError> {
        let answer = match connection.explain(&self.query).await {
            Ok(account) => Ok(account),
            Err(RequestError::NotUnderstood) => Err(ExplainError::NotUnderstood),
            Err(error) if error.is_the_requests() => Err(ExplainError::Refused(error)),
            Err(error) => return Err(error),
        };
        // Who has asked may be gone.
        let _ = self.answer.send(answer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{ClientAddr, OriginalDst};
    use crate::agent::roster::{Listening, Roster};
    use crate::explain::Way;

    fn query() -> Query {
        Query {
            uid: "u".into(),
            way: Way::Out,
            client: ClientAddr::new("10.0.0.1:1".parse().unwrap()),
            destination: OriginalDst::new("10.0.0.2:1".parse().unwrap()),
        }
    }

    #[tokio::test]
    async fn the_newest_is_asked_and_so_many_at_once() {
        let (asking, mut roster) = (Asking::default(), Roster::default());
        assert!(matches!(asking.ask(query()).await, Err(ExplainError::NoProxy)));
        let mut older = asking.join(roster.join(Listening::Own));
        let mut newer = asking.join(roster.join(Listening::Own));
        let asked: Vec<_> = (0..MOST)
            .map(|_| {
                tokio::spawn({
                    let asking = asking.clone();
                    async move { asking.ask(query()).await }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(matches!(asking.ask(query()).await, Err(ExplainError::Busy)));
        let first = newer.next().await;
        assert!(older.asked.try_recv().is_err());
        drop((first, newer));
        for asked in asked {
            assert!(matches!(asked.await.unwrap(), Err(ExplainError::Gone)));
        }
        let asked = tokio::spawn({
            let asking = asking.clone();
            async move { asking.ask(query()).await }
        });
        let refused = Err(ExplainError::NotUnderstood);
        older.next().await.answer.send(refused).unwrap();
        assert!(matches!(asked.await.unwrap(), Err(ExplainError::NotUnderstood)));
        drop(older);
        assert!(matches!(asking.ask(query()).await, Err(ExplainError::NoProxy)));
    }
}
