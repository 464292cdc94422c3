//! [`WorkloadApiDriver`]: keeps a stream open, and takes what comes.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use rustls::crypto::CryptoProvider;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::answer;
use super::endpoint::Endpoint;
use super::error::WorkloadApiError;
use super::message::{FETCH_X509_SVID, X509SvidRequest, X509SvidResponse};
use super::pick::Pick;
use crate::source::backoff::{FLOOR, PRESSED, RELAXED, backoff};
use crate::source::clock::Clock;
use crate::source::grpc::{Call, GrpcError, Status};
use crate::source::watch::Publisher;

/// The longest that a connection, and then the first answer, may take. The standard wants it without delay (SPIFFE Workload
/// API §4.3).
const FIRST: Duration = Duration::from_secs(10);

/// How long after an SVID has expired its successor is waited for, on a stream that seems to live.
const OVERDUE: Duration = Duration::from_secs(1);

/// The most bytes of an answer: gRPC's default.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Fetches SVIDs: the caller runs it.
#[derive(Debug)]
#[must_use = "nothing is fetched unless the driver runs"]
pub struct WorkloadApiDriver {
    endpoint: Endpoint,
    pick: Pick,
    provider: Arc<CryptoProvider>,
    clock: Clock,
    publisher: Publisher,
    /// Until when the SVID that was given out last is valid.
    expires: Option<SystemTime>,
    /// Streams in a row that brought nothing good.
    failures: u32,
}

/// What a stream's end means.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Try again.
    Retry,
    /// This process has no SVID now (SPIFFE Workload API §5.2.1). Try again.
    Denied,
    /// To ask again makes no sense (SPIFFE Workload Endpoint, appendix A).
    Refused,
}

impl WorkloadApiDriver {
    pub(super) fn new(
        endpoint: Endpoint,
        pick: Pick,
        provider: Arc<CryptoProvider>,
        clock: Clock,
        publisher: Publisher,
    ) -> Self {
        Self { endpoint, pick, provider, clock, publisher, expires: None, failures: 0 }
    }

    /// Fetches until the source and all its watches are dropped, or until the server says that to ask again makes no sense:
    /// with INVALID_ARGUMENT or UNIMPLEMENTED.
    pub async fn run(mut self) {
        let mut rng = fastrand::Rng::new();
        loop {
            let started = Instant::now();
            let Err(error) = self.stream().await else { return };
            let end = End::of(&error);
            match end {
                End::Denied => self.withdraw(error),
                End::Retry | End::Refused => self.publisher.report(error.into()),
            }
            if end == End::Refused {
                return;
            }
            // A stream that was good is opened anew at once (SPIFFE Workload API §4.2), but not in a hot loop.
            let wait = match self.failures {
                0 => FLOOR.saturating_sub(started.elapsed()),
                failures => backoff(failures, PRESSED, &mut rng),
            };
            self.failures = self.failures.saturating_add(1);
            if let Either::Left(_) = select(pin!(self.publisher.unwatched()), pin!(sleep(wait))).await {
                return;
            }
        }
    }

    /// One stream, from the connection to its end. Ends well only when nobody watches.
    async fn stream(&mut self) -> Result<(), WorkloadApiError> {
        let mut call = within(FIRST, self.open()).await?;
        let mut limit = FIRST;
        loop {
            let next = within(limit, async { Ok(call.next::<X509SvidResponse>().await?) });
            let answer = match select(pin!(self.publisher.unwatched()), pin!(next)).await {
                Either::Left(_) => return Ok(()),
                Either::Right((answer, _)) => answer?.ok_or(WorkloadApiError::Ended)?,
            };
            limit = self.take(answer);
        }
    }

    async fn open(&self) -> Result<Call<UnixStream>, WorkloadApiError> {
        let path = self.endpoint.path();
        let stream = UnixStream::connect(path).await;
        let stream = stream.map_err(|source| WorkloadApiError::Connect { path: path.to_owned(), source })?;
        // Against requests that somebody tricks a program into (SPIFFE Workload Endpoint §3).
        let header = (HeaderName::from_static("workload.spiffe.io"), HeaderValue::from_static("true"));
        // gRPC's name for the other end of a Unix socket.
        let uri = Uri::builder().scheme("http").authority("localhost").path_and_query(FETCH_X509_SVID);
        let uri = uri.build().unwrap_or_default();
        let metadata = HeaderMap::from_iter([header]);
        Ok(Call::open(stream, uri, metadata, &X509SvidRequest {}, MAX_ANSWER).await?)
    }

    /// Takes an answer for what it is worth, and says how long the next one is waited for.
    fn take(&mut self, answer: X509SvidResponse) -> Duration {
        let now = self.clock.now();
        match answer::read(answer, &self.pick, &self.provider, now) {
            Ok(material) => {
                self.failures = 0;
                self.expires = Some(material.svid().not_after());
                self.publisher.publish(material);
            }
            // What is not in an answer is taken back (SPIFFE Workload API §4.4).
            Err(error @ WorkloadApiError::NotThere { .. }) => self.withdraw(error),
            // What is wrong is told and discarded (SPIFFE Workload API §4.5).
            Err(error) => self.publisher.report(error.into()),
        }
        let left = self.expires.and_then(|expires| expires.duration_since(now).ok());
        left.map_or(RELAXED, |left| left.saturating_add(OVERDUE))
    }

    fn withdraw(&mut self, error: WorkloadApiError) {
        self.expires = None;
        self.publisher.withdraw(error.into());
    }
}

impl End {
    fn of(error: &WorkloadApiError) -> Self {
        let WorkloadApiError::Call(GrpcError::Status(status)) = error else { return Self::Retry };
        match status.code() {
            Status::PERMISSION_DENIED => Self::Denied,
            Status::INVALID_ARGUMENT | Status::UNIMPLEMENTED => Self::Refused,
            _ => Self::Retry,
        }
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, WorkloadApiError>>,
) -> Result<T, WorkloadApiError> {
    timeout(limit, work).await.unwrap_or(Err(WorkloadApiError::Deadline { limit }))
}
