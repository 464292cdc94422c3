//! Issuer: gives pods their SVIDs as the test would have it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use identity::source::{Clock, Issuer, Issuing, Material, SourceError};
use identity::{Ca, SpiffeId, Svid};
use tokio::sync::watch;

/// Issues by the CA that it is given, or not.
#[derive(Debug)]
pub(crate) struct TestIssuer {
    lifetime: Duration,
    mood: watch::Sender<Mood>,
    issued: Mutex<HashMap<SpiffeId, Vec<Svid>>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Mood {
    Issues(Arc<Ca>),
    Refuses,
    /// Until it is in another.
    Dawdles,
}

impl TestIssuer {
    pub(crate) fn new(lifetime: Duration, mood: Mood) -> Arc<Self> {
        Arc::new(Self { lifetime, mood: watch::Sender::new(mood), issued: Mutex::default() })
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// All that it has issued for `id`.
    pub(crate) fn issued(&self, id: &SpiffeId) -> Vec<Svid> {
        self.lock().get(id).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SpiffeId, Vec<Svid>>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issuer for TestIssuer {
    fn issue<'a>(&'a self, id: &'a SpiffeId, clock: &'a Clock) -> Issuing<'a> {
        let mut mood = self.mood.subscribe();
        Box::pin(async move {
            let settled = mood.wait_for(|mood| !matches!(mood, Mood::Dawdles)).await;
            let mood = settled.map_err(|error| SourceError::Other(error.into()))?.clone();
            let Mood::Issues(ca) = mood else { return Err(SourceError::Other("out of order".into())) };
            let svid = ca.issue(id, self.lifetime, clock.now())?;
            self.lock().entry(id.clone()).or_default().push(svid.clone());
            Ok(Material::new(svid, ca.bundle().clone())?)
        })
    }
}
