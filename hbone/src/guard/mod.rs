//! What a peer may make us hold and do, beyond what HTTP/2's own windows and limits bound: frames that carry nothing, frames that
//! do not end, and bytes that it does not take.
//!
//! ```text
//!                 bytes                             heads of frames
//!   stream <----------------> Wire  (in h2) ---------------------------> Toll: credits
//!                              |                                    `--> Turn: when others go on
//!                              | Tally: heard, steps, breach
//!                              v
//!   runtime <---- clock ----- Guard (in the driver or server) --> Heartbeat: pings
//!                                                            `--> Patrol: who dawdles
//! ```

mod overflow;
mod patrol;
mod scan;
mod tally;
mod toll;
mod turn;
mod wire;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::PingPong;
use tokio::time::{Instant, Sleep};

use self::patrol::{Dawdles, Patrol};
use self::tally::Tally;
use crate::config::Config;
use crate::crumbs::Crumbs;
use crate::error::ConnectionError;
use crate::heartbeat::{Beat, Heartbeat};
use crate::slivers::Slivers;
use crate::windows::Flow;

pub(crate) use self::toll::Tariff;
pub(crate) use self::wire::{End, Wire};

/// Watches over one connection. Traffic does not touch its timers: they sleep to the next due time and look then.
pub(crate) struct Guard {
    tally: Arc<Tally>,
    heartbeat: Option<Heartbeat>,
    patrol: Patrol,
    round: Pin<Box<Sleep>>,
    patience: Duration,
}

impl Guard {
    /// For the connection on that [`Wire`], whose pings go by `ping`.
    pub(crate) fn new(config: &Config, tally: Arc<Tally>, ping: Option<PingPong>) -> Self {
        let heartbeat = config.keepalive.and_then(|policy| ping.map(|ping| Heartbeat::new(policy, ping)));
        let patience = config.patience;
        let round = Box::pin(tokio::time::sleep(patience));
        Self { tally, heartbeat, patrol: Patrol::default(), round, patience }
    }

    /// To be polled after the connection, which is what hears. `Ok`: there is something to write now. `Err`: the
    /// connection is to end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        if let Some(breach) = self.tally.breach() {
            return Poll::Ready(Err(breach.into()));
        }
        while self.round.as_mut().poll(cx).is_ready() {
            if let Some(dawdles) = self.patrol.look(self.tally.reading(), self.tally.writing()) {
                return Poll::Ready(Err(self.too_slow(dawdles)));
            }
            let next = Instant::now() + self.patience;
            self.round.as_mut().reset(next);
        }
        let heard = self.tally.take_heard();
        match self.heartbeat.as_mut().map(|heartbeat| heartbeat.poll(heard, cx)) {
            None | Some(Poll::Pending) => {
                self.tally.rest();
                Poll::Pending
            }
            Some(Poll::Ready(Beat::Pinged)) => {
                self.tally.owe();
                Poll::Ready(Ok(()))
            }
            Some(Poll::Ready(Beat::Silent { dead_after })) => {
                Poll::Ready(Err(ConnectionError::Silent { dead_after }))
            }
        }
    }

    /// A setting is to be written.
    pub(crate) fn owe(&self) {
        self.tally.owe();
    }

    /// Whether the peer's first frame has come, which is its settings.
    pub(crate) fn is_greeted(&self) -> bool {
        let at = self.tally.reading();
        at.step > 1 || (at.step == 1 && !at.waits)
    }

    /// The small frames that come in.
    pub(crate) fn crumbs(&self) -> Crumbs {
        self.tally.crumbs()
    }

    /// The frames that the peer's windows cut short.
    pub(crate) fn slivers(&self) -> Slivers {
        self.tally.slivers()
    }

    /// What has passed; `None` while something that was announced waits to be written.
    pub(crate) fn flow(&self) -> Option<Flow> {
        (!self.tally.writing().waits).then(|| self.tally.flow())
    }

    fn too_slow(&self, dawdles: Dawdles) -> ConnectionError {
        let after = self.patience;
        match dawdles {
            Dawdles::Sending => ConnectionError::Unfinished { after },
            Dawdles::Taking => ConnectionError::Untaken { after },
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("heartbeat", &self.heartbeat).finish_non_exhaustive()
    }
}

/// What a peer did that ends its connection at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    Flood { burst: u32 },
    TooLong { limit: u32 },
}

impl From<Breach> for ConnectionError {
    fn from(breach: Breach) -> Self {
        match breach {
            Breach::Flood { burst } => Self::Flooded { burst },
            Breach::TooLong { limit } => Self::Oversized { limit },
        }
    }
}
