//! The moment when a server's first settings have come: only then is it known how many streams it takes.

use std::future::poll_fn;
use std::sync::Arc;

use crate::gate::Gate;

/// A greeting that is awaited, for whoever sees it come, and for those who wait for it.
pub(crate) fn greeting() -> (Greeting, Greeted) {
    let gate = Gate::new(1);
    gate.add(1);
    let gate = Arc::new(gate);
    (Greeting(Arc::clone(&gate)), Greeted(gate))
}

/// To be dropped when the greeting has come, or never will.
#[derive(Debug)]
pub(crate) struct Greeting(Arc<Gate>);

impl Drop for Greeting {
    fn drop(&mut self) {
        self.0.give_back(1);
    }
}

/// Waits for the greeting.
#[derive(Clone, Debug)]
pub(crate) struct Greeted(Arc<Gate>);

impl Greeted {
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| self.0.poll(cx)).await;
    }
}
