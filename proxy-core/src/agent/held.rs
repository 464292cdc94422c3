//! Held: one pod's listening sockets, which proxies accept from and the agent holds: while there is no proxy, connections wait.

use std::num::NonZeroUsize;
use std::sync::Arc;

use netns::Namespace;
use redirect::Intent;
use tokio::sync::Mutex;

use super::kernel::{Kernel, StepError};
use crate::config::Ports;
use crate::listeners::Listeners;

/// The sockets of one pod, as soon as somebody has asked for them.
#[derive(Debug)]
pub(super) struct Held {
    kernel: Kernel,
    namespace: Namespace,
    ports: Ports,
    mark: u32,
    listeners: Mutex<Option<Arc<Listeners>>>,
}

impl Held {
    /// Will bind where the rules of `intent` lead.
    pub(super) fn new(kernel: Kernel, namespace: Namespace, intent: &Intent) -> Self {
        let (ports, mark) = where_rules_lead(intent);
        Self { kernel, namespace, ports, mark, listeners: Mutex::default() }
    }

    /// The sockets, bound now if they are not yet.
    pub(super) async fn listeners(&self) -> Result<Arc<Listeners>, StepError> {
        let mut listeners = self.listeners.lock().await;
        if let Some(listeners) = &*listeners {
            return Ok(Arc::clone(listeners));
        }
        let acceptors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let bound = self.kernel.listen(&self.namespace, self.ports, self.mark, acceptors).await?;
        Ok(Arc::clone(listeners.insert(Arc::new(bound))))
    }

    /// Holds them no more: a proxy listens that has sockets of its own, and nobody accepts from these.
    pub(super) async fn let_go(&self) {
        *self.listeners.lock().await = None;
    }

    /// Whether these are the sockets for a pod that is wanted so.
    pub(super) fn is_for(&self, namespace: &Namespace, intent: &Intent) -> bool {
        self.namespace.id() == namespace.id() && (self.ports, self.mark) == where_rules_lead(intent)
    }
}

/// The ports that the rules lead to, and the mark of sockets that they let pass.
fn where_rules_lead(intent: &Intent) -> (Ports, u32) {
    let ports = intent.ports();
    let ports = Ports {
        outbound: ports.outbound.number(),
        plaintext: ports.inbound_plaintext.number(),
        hbone: ports.inbound_hbone.number(),
    };
    (ports, intent.marks().proxy().value())
}
