//! Pod: what the three paths of one pod share, and what is each core's own.

use std::sync::Arc;

use hbone::Pool;
use identity::SpiffeId;
use netns::{Home, Namespace};
use tokio_util::sync::CancellationToken;

use crate::address::HopAddr;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::double::Doubles;
use crate::drain::Drain;
use crate::error::DialError;
use crate::report::Observer;
use crate::route::TunnelRoute;
use crate::underway::Underway;
use crate::workload::{Facts, PodName};

/// One enrolled pod.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) name: Arc<PodName>,
    pub(crate) namespace: Namespace,
    /// Where the workers come back to from the pod's namespace.
    pub(crate) home: Home,
    pub(crate) config: Arc<Config>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) credentials: Credentials,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) underway: Underway,
    pub(crate) drain: Drain,
}

/// Names the tunnels that may share a connection: same hop, same demands on its identity. Our own identity is the pod's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TunnelKey {
    pub(crate) hop: HopAddr,
    pub(crate) expected: Vec<SpiffeId>,
}

impl From<TunnelRoute> for TunnelKey {
    fn from(route: TunnelRoute) -> Self {
        Self { hop: route.hop, expected: route.expected }
    }
}

/// One core's share of a pod.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) pod: Arc<Pod>,
    /// Which worker this is.
    pub(crate) worker: usize,
    pub(crate) pool: Pool<TunnelKey, DialError>,
    /// Connections through gateways to other networks.
    pub(crate) double: Doubles,
    pub(crate) cut: CancellationToken,
}
