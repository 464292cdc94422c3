//! ProxySockets: by what the sockets of a plan's proxy are known among those of the application.

use crate::id_range::IdRange;
use crate::intent::{DnsCapture, Intent, ProxyIdentity};
use crate::mark::Mark;
use crate::owner::Owner;
use crate::port::Port;

use super::past;

/// By what the proxy's sockets are known. Each sign is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxySockets {
    /// On what it accepts, in the pod.
    pub(crate) ports: Vec<Port>,
    /// The mark of all its sockets.
    pub(crate) mark: Option<Mark>,
    /// The users whose all sockets are its own. Groups are not told of with sockets.
    pub(crate) users: Vec<IdRange>,
}

impl ProxySockets {
    /// Of a plan that has no proxy.
    pub(super) fn none() -> Self {
        Self { ports: Vec::new(), mark: None, users: Vec::new() }
    }

    pub(super) fn new(intent: &Intent) -> Self {
        let ports = intent.ports();
        let mut ports = vec![ports.outbound, ports.inbound_plaintext, ports.inbound_hbone];
        if let DnsCapture::To(port) = intent.dns() {
            ports.push(port);
        }
        let mark = match intent.proxy() {
            ProxyIdentity::Mark => Some(intent.marks().proxy()),
            ProxyIdentity::Owners(_) => None,
        };
        let users = past::proxys(intent).iter().filter_map(|owner| match owner {
            Owner::User(users) => Some(*users),
            Owner::Group(_) | Owner::Cgroup(_) => None,
        });
        Self { ports, mark, users: users.collect() }
    }
}
