//! An issuer that does what a test tells it, and remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use inpod_identity::source::{Clock, Issuer, Issuing, Material, SourceError};
use inpod_identity::{Ca, SpiffeId};
use tokio::time::{Instant, sleep};

use crate::lab::{self, HOUR, domain, id};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// An SVID that lasts so long.
    Good(Duration),
    /// An error.
    Fails,
    /// Nothing, ever.
    Hangs,
    /// An SVID of somebody else.
    WrongId,
    /// One that expired before it came.
    Expired,
    /// One for later.
    Early,
}

#[derive(Debug, Clone)]
pub(crate) struct Scripted(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ca: Ca,
    script: Mutex<(Behaviour, Duration)>,
    /// What was asked for, when, and whether it is answered.
    asked: Mutex<Vec<(SpiffeId, Instant)>>,
    /// How many requests are on their way, and the most that ever were.
    load: Mutex<(usize, usize)>,
}

impl Scripted {
    /// Each request takes `delay`.
    pub(crate) fn new(behaviour: Behaviour, delay: Duration) -> Self {
        Self(Arc::new(Inner {
            ca: Ca::generate_at(domain(), lab::now() - HOUR).unwrap(),
            script: Mutex::new((behaviour, delay)),
            asked: Mutex::default(),
            load: Mutex::default(),
        }))
    }

    pub(crate) fn now_does(&self, behaviour: Behaviour) {
        self.0.script.lock().unwrap().0 = behaviour;
    }

    pub(crate) fn asked(&self) -> Vec<(SpiffeId, Instant)> {
        self.0.asked.lock().unwrap().clone()
    }

    /// The most requests that were on their way at once.
    pub(crate) fn peak(&self) -> usize {
        self.0.load.lock().unwrap().1
    }

    async fn answer(&self, wanted: &SpiffeId, clock: &Clock) -> Result<Material, SourceError> {
        self.0.asked.lock().unwrap().push((wanted.clone(), Instant::now()));
        let (behaviour, delay) = *self.0.script.lock().unwrap();
        let _load = Load::new(self);
        sleep(delay).await;
        let now = clock.now();
        let other = id("/ns/other/sa/other");
        let svid = match behaviour {
            Behaviour::Good(lifetime) => self.0.ca.issue(wanted, lifetime, now),
            Behaviour::Fails => return Err(SourceError::Other("no".into())),
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::WrongId => self.0.ca.issue(&other, HOUR, now),
            Behaviour::Expired => self.0.ca.issue(wanted, Duration::from_secs(5), now - HOUR / 2),
            Behaviour::Early => self.0.ca.issue(wanted, HOUR, now + HOUR),
        };
        Ok(Material::new(svid?, self.0.ca.bundle().clone())?)
    }
}

impl Issuer for Scripted {
    fn issue<'a>(&'a self, id: &'a SpiffeId, clock: &'a Clock) -> Issuing<'a> {
        Box::pin(self.answer(id, clock))
    }
}

/// A request on its way, however it ends.
struct Load<'a>(&'a Scripted);

impl<'a> Load<'a> {
    fn new(issuer: &'a Scripted) -> Self {
        let mut load = issuer.0.load.lock().unwrap();
        load.0 += 1;
        load.1 = load.1.max(load.0);
        Self(issuer)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.0.0.load.lock().unwrap().0 -= 1;
    }
}
