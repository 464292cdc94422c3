//! [`Watch`] and [`Publisher`]: the two ends of what a source holds.

use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;
use tokio::sync::watch;

use super::error::{SourceError, Unavailable};
use super::material::Material;

/// What a source holds, as its users see it: the newest material, and what is in the way of newer.
///
/// Clones are independent: each learns of every change. It can be read at any time, even when the source has ended.
#[derive(Debug, Clone)]
pub struct Watch(watch::Receiver<State>);

/// What a source holds, as the source itself sees it.
#[derive(Debug)]
pub struct Publisher(watch::Sender<State>);

/// The source has ended: nothing will change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("source has ended")]
pub struct Ended;

#[derive(Debug, Clone, Default)]
struct State {
    material: Option<Material>,
    trouble: Option<Arc<SourceError>>,
}

impl Watch {
    /// What can be used at `now`. Expired material is not given out.
    pub fn at(&self, now: SystemTime) -> Result<Material, Unavailable> {
        let state = self.0.borrow();
        let trouble = || state.trouble.clone();
        let material = state.material.as_ref().ok_or_else(|| Unavailable::Nothing { trouble: trouble() })?;
        match material.check_dates(now) {
            Ok(()) => Ok(material.clone()),
            Err(_) => Err(Unavailable::Stale { id: material.id().clone(), trouble: trouble() }),
        }
    }

    /// What is in the way of newer material, if anything is. It goes with the next success.
    pub fn trouble(&self) -> Option<Arc<SourceError>> {
        self.0.borrow().trouble.clone()
    }

    /// Waits until the material or the trouble is another than when this was last called.
    pub async fn changed(&mut self) -> Result<(), Ended> {
        self.0.changed().await.map_err(|_| Ended)
    }

    /// Waits until there is material, however old, and gives it.
    pub async fn first(&mut self) -> Result<Material, Ended> {
        let state = self.0.wait_for(|state| state.material.is_some()).await.map_err(|_| Ended)?;
        state.material.clone().ok_or(Ended)
    }

    /// Whether the material or the trouble is another than what was last [seen](Self::see) or waited for. It costs an atomic
    /// load.
    pub fn has_changed(&self) -> bool {
        // A source that has ended changes nothing.
        self.0.has_changed().unwrap_or(false)
    }

    /// Takes what is there now for seen.
    pub fn see(&mut self) {
        self.0.mark_unchanged();
    }
}

impl Publisher {
    /// One that holds nothing yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// A view of what it holds.
    pub fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    /// `material` takes the place of what was held, and trouble is over.
    pub fn publish(&self, material: Material) {
        self.0.send_replace(State { material: Some(material), trouble: None });
    }

    /// Says what is in the way. What is held stays.
    pub fn report(&self, trouble: SourceError) {
        self.0.send_modify(|state| state.trouble = Some(Arc::new(trouble)));
    }

    /// Takes back what is held, and says why.
    pub fn withdraw(&self, trouble: SourceError) {
        self.0.send_replace(State { material: None, trouble: Some(Arc::new(trouble)) });
    }

    /// Waits until nobody watches.
    pub async fn unwatched(&self) {
        self.0.closed().await;
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_has_changed_is_told_until_it_is_seen() {
        let publisher = Publisher::new();
        let mut watch = publisher.watch();
        let other = watch.clone();
        assert!(!watch.has_changed());
        publisher.report(SourceError::Deadline { limit: Duration::ZERO });
        assert!(watch.has_changed());
        watch.see();
        assert!(!watch.has_changed() && other.has_changed());
        drop(publisher);
        assert!(!watch.has_changed(), "nothing will change any more");
    }
}
