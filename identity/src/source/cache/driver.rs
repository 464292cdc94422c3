//! [`CacheDriver`]: asks the issuer when the ledger says so.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::ledger::Lifetime;
use crate::source::error::SourceError;
use crate::source::material::Material;
use crate::spiffe_id::SpiffeId;

/// How often the clock is looked at, if nothing happens: it may have been set, and then renewal is due earlier.
const LOOK: Duration = Duration::from_secs(30);

/// Keeps a cache's SVIDs fresh: the caller runs it.
#[derive(Debug)]
#[must_use = "nothing is issued unless the driver runs"]
pub struct CacheDriver {
    shared: Arc<Shared>,
    gone: oneshot::Receiver<Infallible>,
}

/// The answer to a request.
type Answered = (SpiffeId, Result<Material, SourceError>);

/// What the driver wakes for.
enum Event {
    Answered(Answered),
    Due,
    /// Nobody is left to serve.
    Gone,
}

impl CacheDriver {
    pub(super) fn new(shared: Arc<Shared>, gone: oneshot::Receiver<Infallible>) -> Self {
        Self { shared, gone }
    }

    /// Issues and renews until the cache and all its leases are dropped. To drop the future ends the cache.
    pub async fn run(mut self) {
        let mut requests = FuturesUnordered::new();
        loop {
            let idle = self.start(|id| requests.push(request(Arc::clone(&self.shared), id)));
            let answered = async {
                match requests.next().await {
                    Some(answered) => answered,
                    None => std::future::pending().await,
                }
            };
            let (due, later) = (pin!(self.shared.due.notified()), pin!(sleep(idle)));
            let woken = select(select(due, later), &mut self.gone);
            let event = match select(pin!(answered), woken).await {
                Either::Left((answered, _)) => Event::Answered(answered),
                Either::Right((Either::Left(_), _)) => Event::Due,
                Either::Right((Either::Right(_), _)) => Event::Gone,
            };
            match event {
                Event::Answered((id, outcome)) => self.finish(&id, outcome),
                Event::Due => {}
                Event::Gone => return,
            }
        }
    }

    /// Starts what is due, and says for how long nothing else will be.
    fn start(&self, mut start: impl FnMut(SpiffeId)) -> Duration {
        let (mut state, now) = (self.shared.state(), self.shared.now());
        while let Some(id) = state.ledger.next(now) {
            start(id);
        }
        state.ledger.idle(now).map_or(LOOK, |idle| idle.min(LOOK))
    }

    fn finish(&self, id: &SpiffeId, outcome: Result<Material, SourceError>) {
        let (mut state, now) = (self.shared.state(), self.shared.now());
        let outcome = outcome.and_then(|material| {
            // Whatever the issuer is: nobody gets another's SVID, or one that is of no use.
            material.check_id(id)?;
            material.check_dates(now.wall)?;
            Ok(material)
        });
        let lifetime = outcome.as_ref().ok().map(|material| Lifetime {
            not_before: material.svid().not_before(),
            not_after: material.svid().not_after(),
        });
        if !state.ledger.finish(id, now, lifetime) {
            return;
        }
        match (state.seats.get(id), outcome) {
            (Some(seat), Ok(material)) => seat.publish(material),
            (Some(seat), Err(trouble)) => seat.report(trouble),
            (None, _) => {}
        }
    }
}

impl Drop for CacheDriver {
    /// Those who wait learn that nothing will come.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended = true;
        state.seats.clear();
    }
}

async fn request(shared: Arc<Shared>, id: SpiffeId) -> Answered {
    let limit = shared.limits.deadline;
    let outcome = timeout(limit, shared.issuer.issue(&id, &shared.clock)).await;
    (id, outcome.unwrap_or(Err(SourceError::Deadline { limit })))
}
