//! The three small HTTP servers: readiness, metrics, state.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Result;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};

/// What a server answers: status and text.
pub(crate) type Answer = dyn Fn() -> (StatusCode, String) + Send + Sync;

/// Answers every request on `listener` with what `answer` says then. Ends with the runtime.
pub(crate) fn serve(listener: TcpListener, answer: Arc<Answer>) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, most likely: let some be closed.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let answer = Arc::clone(&answer);
            let service = service_fn(move |request| respond(request, Arc::clone(&answer)));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "serving a status request");
                }
            });
        }
    });
    Ok(())
}

async fn respond(_: Request<Incoming>, answer: Arc<Answer>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = answer();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}
