//! Double: a tunnel through a gateway to another network. The outer layer ends at the gateway, which passes the bytes of the
//! inner one on and cannot read them; the inner one ends at whom the gateway chose.
//!
//! ```text
//!   us ==== TLS, HTTP/2 ====> gateway
//!       '-- CONNECT web.shop:80 ==== TLS, HTTP/2 ====> far end
//!                                '-- CONNECT web.shop:80 --> application
//! ```
//!
//! Connections of both layers are shared, each in a pool of its own.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hbone::{Client, ConnectRequest, Pool, PoolConfig, PoolError, Pooled, Target, Usage};
use identity::SpiffeId;

use crate::dial;
use crate::error::{DialError, HandshakeError};
use crate::pod::{Core, Pod, TunnelKey};
use crate::route::DoubleRoute;

/// How long a connection through a gateway gets new tunnels. The gateway chooses an endpoint for each connection, not for each tunnel,
/// so this is how long a choice holds: a minute, for endpoints come and go, and a handshake over two hops is not free.
const CHOICE_HOLDS: Duration = Duration::from_secs(60);

/// Over how many connections, and so endpoints, the tunnels for one target are spread that one core has at once.
const SPREAD: usize = 4;

/// Names the connections through gateways that tunnels may share: the same way, the same target, for which the gateway chooses an
/// endpoint, and the same demands on its identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DoubleKey {
    pub(crate) outer: TunnelKey,
    target: Target,
    expected: Vec<SpiffeId>,
}

impl From<DoubleRoute> for DoubleKey {
    fn from(route: DoubleRoute) -> Self {
        let target = route.outer.target.clone();
        Self { outer: route.outer.into(), target, expected: route.expected }
    }
}

/// At which layer, and how, a connection to another network failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DoubleError {
    /// Outer: the gateway could not be reached, or is not whom it should be.
    #[error("outer layer: dialling the gateway")]
    Gateway(#[source] Arc<DialError>),
    /// Outer: the gateway did not open the tunnel.
    #[error("outer layer: opening the tunnel to the far end")]
    Outer(#[source] Arc<hbone::OpenError>),
    /// Inner: the far end's handshake failed, or it is not whom it should be.
    #[error("inner layer: handshake with the far end")]
    FarEnd(#[source] Arc<HandshakeError>),
    /// Inner: the far end did not open the tunnel.
    #[error("inner layer: opening the tunnel to the application")]
    Inner(#[source] Arc<hbone::OpenError>),
    /// There are as many connections, of either layer, as there may be.
    #[error("{0}")]
    Exhausted(String),
}

type DoublePool = Pool<DoubleKey, DoubleError>;

/// One core's connections through gateways. Most pods never have any, and pay nothing for it.
#[derive(Debug, Default)]
pub(crate) struct Doubles(OnceLock<DoublePool>);

impl Doubles {
    /// What there is for a key.
    pub(crate) fn usage(&self, key: &DoubleKey) -> Usage {
        self.0.get().map(|pool| pool.usage(key)).unwrap_or_default()
    }

    /// The pool. The first who needs it starts it, for as long as the pod takes work.
    fn pool(&self, pod: &Pod) -> &DoublePool {
        self.0.get_or_init(|| {
            let settings = PoolConfig::default()
                .with_max_streams_per_connection(pod.config.streams_per_connection)
                .with_idle_timeout(CHOICE_HOLDS)
                .with_max_age(Some(CHOICE_HOLDS))
                .with_spread(SPREAD);
            let pool = Pool::new(settings);
            let (reaped, closing) = (pool.clone(), pod.drain.closing().clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = reaped.run_reaper() => {}
                    () = closing.cancelled() => {}
                }
            });
            pool
        })
    }
}

/// What is asked of the gateway, and of the far end.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) outer: ConnectRequest,
    pub(crate) inner: ConnectRequest,
}

/// A tunnel from this core's pool, over a new connection through the gateway if none has room.
pub(crate) async fn open(
    core: &Arc<Core>,
    route: DoubleRoute,
    requests: Requests,
) -> Result<Pooled, DoubleError> {
    let key = DoubleKey::from(route);
    let dial = || connect(Arc::clone(core), key.clone(), requests.outer);
    core.double.pool(&core.pod).open(&key, requests.inner, dial).await.map_err(|error| match error {
        PoolError::Dial { source } => (*source).clone(),
        PoolError::Open { source } => DoubleError::Inner(Arc::new(source)),
        exhausted => DoubleError::Exhausted(exhausted.to_string()),
    })
}

/// A connection to `key`'s far end: a tunnel of its gateway, TLS as this pod towards exactly the expected identities, HTTP/2.
async fn connect(core: Arc<Core>, key: DoubleKey, request: ConnectRequest) -> Result<Client, DoubleError> {
    let outer = beneath(&core, key.outer, request).await?;
    let carrier = outer.client().clone();
    let secured = dial::secure(&core, &key.expected, key.target.to_string(), outer.into_tunnel()).await;
    let client = secured.map_err(|error| DoubleError::FarEnd(Arc::new(error)))?;
    Ok(client.carried_by(carrier))
}

/// The outer tunnel.
async fn beneath(core: &Arc<Core>, key: TunnelKey, request: ConnectRequest) -> Result<Pooled, DoubleError> {
    dial::pooled(core, key, request).await.map_err(|error| match error {
        PoolError::Dial { source } => DoubleError::Gateway(source),
        PoolError::Open { source } => DoubleError::Outer(Arc::new(source)),
        exhausted => DoubleError::Exhausted(exhausted.to_string()),
    })
}
