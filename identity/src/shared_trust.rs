//! [`SharedTrust`]: what is believed now.

use std::sync::Arc;

use tokio::sync::watch;

use crate::trust::Trust;

/// The [`Trust`] of now, which many TLS configurations look at and somebody replaces.
///
/// Every handshake asks for the value at the moment when the peer's certificate arrives: what was taken away is refused
/// from then on, by configurations that were made long before. Connections that are already there are not cut; whoever
/// has them keeps a [`Proof`](crate::Proof) of each, [`watch`](Self::watch)es, and checks it again.
///
/// A change that fails changes nothing, so that the last good value stays. Cloning shares: it is one value still.
#[derive(Clone, Debug)]
pub struct SharedTrust(Arc<watch::Sender<Trust>>);

impl SharedTrust {
    /// Begins with `trust`.
    pub fn new(trust: Trust) -> Self {
        Self(Arc::new(watch::Sender::new(trust)))
    }

    /// What is believed now.
    pub fn current(&self) -> Trust {
        self.0.borrow().clone()
    }

    /// Believes `trust` from now on.
    pub fn replace(&self, trust: Trust) {
        self.0.send_replace(trust);
    }

    /// Replaces the current value by what `change` makes of it, and nobody else's change gets in between. If `change`
    /// fails, the current value stays and nobody is woken. Handshakes wait for `change`, which must not ask this value
    /// for anything itself.
    pub fn update<E>(&self, change: impl FnOnce(&Trust) -> Result<Trust, E>) -> Result<(), E> {
        let mut result = Ok(());
        self.0.send_if_modified(|current| match change(current) {
            Ok(trust) => {
                *current = trust;
                true
            }
            Err(error) => {
                result = Err(error);
                false
            }
        });
        result
    }

    /// Wakes whoever holds it when the value is replaced.
    pub fn watch(&self) -> watch::Receiver<Trust> {
        self.0.subscribe()
    }
}

impl<T: Into<Trust>> From<T> for SharedTrust {
    /// A value of its own, which nobody else replaces.
    fn from(trust: T) -> Self {
        Self::new(trust.into())
    }
}

impl From<&Self> for SharedTrust {
    fn from(shared: &Self) -> Self {
        shared.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;

    #[test]
    fn a_change_that_fails_changes_nothing_and_wakes_nobody() {
        let shared = SharedTrust::new(Trust::new([]).unwrap());
        let mut watch = shared.watch();
        let refusal = shared.update(|trust| trust.with_alias("a".parse().unwrap(), "b".parse().unwrap()));
        assert!(refusal.is_err());
        assert!(!watch.has_changed().unwrap());
        shared.update(|trust| trust.with_bundle(Bundle::of_nobody("a".parse().unwrap()))).unwrap();
        assert!(watch.has_changed().unwrap());
        assert!(watch.borrow_and_update().bundle(&"a".parse().unwrap()).is_some());
    }
}
