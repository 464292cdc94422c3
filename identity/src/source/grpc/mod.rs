//! The little gRPC that a client of two services needs, on h2: one request, and one or many answers, on a connection that
//! lives as long as the call. The caller's future drives the connection, so that there is no task.

mod error;
mod frames;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, Connection};
use http::{HeaderMap, Request, Response, StatusCode, header};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::error::{GrpcError, Status};
use self::frames::{Frames, frame};

/// What a connection reads ahead of us: more than an answer has.
const WINDOW: u32 = 1024 * 1024;

/// The most bytes of headers that are accepted, twice what gRPC's implementations allow by default.
const MAX_HEADERS: u32 = 16 * 1024;

/// One call, and the connection that it is made on.
pub(super) struct Call<T> {
    /// `None` once it has ended.
    connection: Option<Connection<T>>,
    body: RecvStream,
    frames: Frames,
    ended: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Call<T> {
    /// Sends `message` to the method at `uri`, over `io`. Answers may have `limit` bytes each.
    pub(super) async fn open(
        io: T,
        uri: http::Uri,
        metadata: HeaderMap,
        message: &impl Message,
        limit: usize,
    ) -> Result<Self, GrpcError> {
        let mut http2 = Builder::new();
        http2.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        http2.max_header_list_size(MAX_HEADERS).enable_push(false);
        let (mut requests, connection) = http2.handshake::<_, Bytes>(io).await?;
        let mut connection = Some(connection);
        let request = request(uri, metadata);
        let answer = async {
            poll_fn(|cx| requests.poll_ready(cx)).await?;
            let (answer, mut body) = requests.send_request(request, false)?;
            body.send_data(frame(message), true)?;
            Ok::<_, GrpcError>(answer.await?)
        };
        let answer = drive(&mut connection, answer).await??;
        check(&answer)?;
        Ok(Self { connection, body: answer.into_body(), frames: Frames::new(limit), ended: false })
    }

    /// The next answer; `None` after the last one, if the server says that all went well.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, GrpcError> {
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(Some(M::decode(message)?));
            }
            if self.ended {
                self.frames.finish()?;
                return Ok(None);
            }
            match drive(&mut self.connection, self.body.data()).await? {
                Some(bytes) => {
                    let bytes = bytes?;
                    self.body.flow_control().release_capacity(bytes.len())?;
                    self.frames.push(&bytes);
                }
                None => {
                    let trailers = drive(&mut self.connection, self.body.trailers()).await??;
                    status(&trailers.unwrap_or_default())?.ok_or(GrpcError::NoStatus)?;
                    self.ended = true;
                }
            }
        }
    }

    /// The only answer.
    #[cfg(all(feature = "istio-ca", any(feature = "aws-lc-rs", feature = "ring")))]
    pub(super) async fn only<M: Message + Default>(mut self) -> Result<M, GrpcError> {
        let answer = self.next().await?.ok_or(GrpcError::NotOne)?;
        match self.next::<M>().await? {
            Some(_) => Err(GrpcError::NotOne),
            None => Ok(answer),
        }
    }
}

fn request(uri: http::Uri, metadata: HeaderMap) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    *headers = metadata;
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
    request
}

/// Checks that an answer will come: it may be a refusal that is all headers.
fn check(answer: &Response<RecvStream>) -> Result<(), GrpcError> {
    if answer.status() != StatusCode::OK {
        return Err(GrpcError::HttpStatus { status: answer.status().as_u16() });
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return Err(GrpcError::ContentType);
    }
    match (status(answer.headers())?, answer.body().is_end_stream()) {
        (None, true) => Err(GrpcError::NoStatus),
        (Some(()), true) => Err(GrpcError::NotOne),
        (_, false) => Ok(()),
    }
}

/// The status in headers or trailers: `Some` if it is OK, an error if it is another.
fn status(headers: &HeaderMap) -> Result<Option<()>, GrpcError> {
    let Some(code) = headers.get("grpc-status") else { return Ok(None) };
    // What is no number is UNKNOWN (2).
    let code = code.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(2);
    if code == 0 {
        return Ok(Some(()));
    }
    let message = headers.get("grpc-message").map(http::HeaderValue::as_bytes).unwrap_or_default();
    Err(GrpcError::Status(Status::new(code, message)))
}

/// What `work` comes to, while its connection is kept going.
async fn drive<T: AsyncRead + AsyncWrite + Unpin, O>(
    connection: &mut Option<Connection<T>>,
    work: impl Future<Output = O>,
) -> Result<O, GrpcError> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let mut end = Ok(());
        if let Some(open) = connection.as_mut()
            && let Poll::Ready(ended) = Pin::new(open).poll(cx)
        {
            (end, *connection) = (ended, None);
        }
        // Asked after the connection, which may have brought it on its end.
        match (work.as_mut().poll(cx), end) {
            (Poll::Ready(done), _) => Poll::Ready(Ok(done)),
            (Poll::Pending, Err(error)) => Poll::Ready(Err(error.into())),
            (Poll::Pending, Ok(())) if connection.is_none() => Poll::Ready(Err(GrpcError::Closed)),
            (Poll::Pending, Ok(())) => Poll::Pending,
        }
    })
    .await
}
