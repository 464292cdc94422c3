//! Connector: a connection to the API server, with TLS as it is configured at that moment.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::{BoxError, Service};

use super::access::Access;

/// Longest time for a connection, TLS included.
const LIMIT: Duration = Duration::from_secs(10);
/// A server that is silent is asked whether it is there after so long (tcp(7), `TCP_KEEPIDLE`),
const KEEPALIVE: Duration = Duration::from_secs(15);
/// and so often, this far apart (`TCP_KEEPCNT`, `TCP_KEEPINTVL`): one that is gone without a word is known to be within half a minute.
const KEEPALIVE_RETRIES: u32 = 3;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Connects as an access says.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    access: Access,
    http: HttpConnector,
}

impl Connector {
    pub(super) fn new(access: Access) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(LIMIT));
        http.set_keepalive(Some(KEEPALIVE));
        http.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        http.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        http.set_tcp_user_timeout(Some(KEEPALIVE + KEEPALIVE_INTERVAL * KEEPALIVE_RETRIES));
        Self { access, http }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { access, http } = self.clone();
        Box::pin(async move {
            let (tls, name) = access.tls().await?;
            let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
            if let Some(name) = name {
                builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
            }
            let mut https = builder.enable_http1().wrap_connector(http);
            timeout(LIMIT, https.call(uri)).await?
        })
    }
}
