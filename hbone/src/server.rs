//! The side that is asked for tunnels.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{
    CANCELLED_UNSEEN, Config, FAULTS_FORGIVEN, HEADER_TABLE, REMEMBER_RESETS_FOR, REMEMBERED_RESETS,
    SMALL_DATA_OVERHEAD,
};
use crate::connect::{ConnectRequest, MalformedRequest, Refusal};
use crate::error::{AcceptError, ConnectionError, HandshakeError, reset_to_io, to_io};
use crate::guard::{End, Guard, Wire};
use crate::idle::{Idle, Occupant};
use crate::queue::{Queue, Queued};
use crate::room::Room;
use crate::tunnel::{Inlets, SendHalf, SharedInlet, Tunnel};
use crate::windows::Sizes;

/// Starts a connection over `io`, which should be encrypted and authenticated already.
///
/// # Errors
///
/// If the peer does not send the HTTP/2 preface, or not within [`Config::with_handshake_timeout`].
pub async fn handshake<T>(io: T, config: &Config) -> Result<Server<T>, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, tally) = Wire::new(io, End::Server, config);
    let after = config.handshake_timeout;
    let handshake = tokio::time::timeout(after, builder(config).handshake::<_, Queued>(io)).await;
    let mut connection = handshake
        .map_err(|_| HandshakeError::TimedOut { after })?
        .map_err(|source| HandshakeError::Http2 { source })?;
    let guard = Guard::new(config, tally, connection.ping_pong());
    let queue = Queue::new(config.max_send_buffer_size, guard.slivers());
    let room = Room::new(config, Inlets::new(guard.crumbs()));
    let idle = config.idle_timeout.map(Idle::new);
    Ok(Server { running: Some(Running { connection, guard, room, queue, idle }) })
}

/// One end of a connection, on which requests for tunnels arrive.
///
/// Keep calling [`next`](Self::next), also while tunnels run: it is what moves their bytes.
#[derive(Debug)]
pub struct Server<T: AsyncRead + AsyncWrite + Unpin> {
    running: Option<Running<T>>,
}

struct Running<T: AsyncRead + AsyncWrite + Unpin> {
    connection: h2::server::Connection<Wire<T>, Queued>,
    guard: Guard,
    room: Room,
    queue: Queue,
    idle: Option<Idle>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Server<T> {
    /// The next request; `None` when the connection has ended in order, or the peer has closed. Cancel
    /// safe.
    ///
    /// # Errors
    ///
    /// If the stream beneath failed, a side broke the protocol, or the peer fell silent, broke a bound, or opened nothing for too
    /// long. Tunnels that still ran have failed then, and the next call gives `None`.
    pub async fn next(&mut self) -> Option<Result<Arrival, ConnectionError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next).
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Arrival, ConnectionError>>> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(None);
        };
        let next = std::task::ready!(running.poll(cx));
        if !matches!(next, Some(Ok(_))) {
            // Dropping h2's connection is what fails the tunnels of a silent peer.
            self.running = None;
        }
        Poll::Ready(next)
    }

    /// Tells the peer to open no more here (GOAWAY). Streams that run finish; when the last has,
    /// [`next`](Self::next) gives `None`. Requests already under way still arrive.
    pub fn drain(&mut self) {
        if let Some(running) = &mut self.running {
            running.connection.graceful_shutdown();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Running<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Arrival, ConnectionError>>> {
        loop {
            if let Poll::Ready(accepted) = self.connection.poll_accept(cx) {
                return Poll::Ready(match accepted {
                    None => self.idled().err().map(Err),
                    Some(Ok((request, respond))) => {
                        let occupant = self.idle.as_ref().map(Idle::occupant);
                        let answer = Answer { respond, queue: self.queue.clone(), given: false };
                        Some(Ok(Arrival::new(request, answer, self.room.inlets(), occupant)))
                    }
                    Some(Err(source)) => {
                        ConnectionError::of_end(source).and_then(|()| self.idled()).err().map(Err)
                    }
                });
            }
            if self.idle.as_mut().is_some_and(|idle| idle.poll(cx).is_ready()) {
                self.connection.graceful_shutdown();
                continue;
            }
            if self.room.adapt(&self.guard, &mut self.connection) {
                continue;
            }
            self.queue.pass_on(cx);
            if let Err(error) = std::task::ready!(self.guard.poll(cx)) {
                self.say_why(&error, cx);
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Tells the peer what it did wrong, if it takes that at once.
    fn say_why(&mut self, error: &ConnectionError, cx: &mut Context<'_>) {
        if let Some(reason) = error.told_to_peer() {
            self.connection.abrupt_shutdown(reason);
            let _ = self.connection.poll_closed(cx);
        }
    }

    /// Why a connection that ended in order has ended, if it was for rest.
    fn idled(&self) -> Result<(), ConnectionError> {
        let after = self.idle.as_ref().and_then(Idle::exceeded);
        after.map_or(Ok(()), |after| Err(ConnectionError::Idle { after }))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> fmt::Debug for Running<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// What came in on a [`Server`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Arrival {
    /// A request for a tunnel, which waits for an answer.
    Connect(Incoming),
    /// Something else, already answered as [`Refusal::Malformed`]; for the log.
    Malformed(MalformedRequest),
}

impl Arrival {
    fn new(
        request: Request<RecvStream>,
        answer: Answer,
        inlets: &Inlets,
        occupant: Option<Occupant>,
    ) -> Self {
        match ConnectRequest::from_http(request) {
            Ok((request, body)) => {
                Self::Connect(Incoming { request, inlet: inlets.add(body), answer, occupant })
            }
            Err(reason) => {
                answer.refuse(Refusal::Malformed, HeaderMap::new());
                Self::Malformed(reason)
            }
        }
    }
}

/// A request for a tunnel. Dropped without an answer, it is refused as [`Refusal::Unavailable`].
pub struct Incoming {
    request: ConnectRequest,
    inlet: SharedInlet,
    answer: Answer,
    occupant: Option<Occupant>,
}

impl Incoming {
    /// What the peer asks for.
    pub fn request(&self) -> &ConnectRequest {
        &self.request
    }

    /// Says yes (200): the tunnel is open. Do it only when the destination has accepted.
    ///
    /// # Errors
    ///
    /// If the peer has taken the request back, or is gone.
    pub fn accept(self) -> Result<Tunnel, AcceptError> {
        self.accept_with(HeaderMap::new())
    }

    /// As [`accept`](Self::accept), with headers in the answer. `content-length` is left out: a 2xx to a CONNECT must not
    /// have it (RFC 9110 section 9.3.6).
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept), and if the headers cannot be sent in HTTP/2.
    pub fn accept_with(self, headers: HeaderMap) -> Result<Tunnel, AcceptError> {
        let half = self.answer.accept(headers)?;
        let tunnel = Tunnel::new(self.inlet, half);
        Ok(match self.occupant {
            None => tunnel,
            Some(occupant) => tunnel.hold(occupant),
        })
    }

    /// Says no, with the status of [`Refusal::status`].
    pub fn refuse(self, refusal: Refusal) {
        self.refuse_with(refusal, HeaderMap::new());
    }

    /// As [`refuse`](Self::refuse), with headers in the answer. If they cannot be sent in HTTP/2, the peer's request is
    /// reset instead.
    pub fn refuse_with(self, refusal: Refusal, headers: HeaderMap) {
        self.answer.refuse(refusal, headers);
    }

    /// Waits until the peer takes the request back or is gone; to stop dialling for nobody.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.answer.respond.poll_reset(cx).map(|reset| reset.map_or_else(to_io, reset_to_io))
    }

    /// As [`poll_reset`](Self::poll_reset). Nothing is lost if the future is dropped.
    pub async fn reset(&mut self) -> io::Error {
        poll_fn(|cx| self.poll_reset(cx)).await
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("request", &self.request).finish_non_exhaustive()
    }
}

/// The answer that a request is owed; a refusal if nobody gives one.
struct Answer {
    respond: SendResponse<Queued>,
    queue: Queue,
    given: bool,
}

impl Answer {
    fn accept(mut self, mut headers: HeaderMap) -> Result<SendHalf, AcceptError> {
        self.given = true;
        headers.remove(CONTENT_LENGTH);
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        let sent = self.respond.send_response(response, false);
        sent.map(|stream| SendHalf::new(stream, self.queue.clone())).map_err(|source| AcceptError { source })
    }

    fn refuse(mut self, refusal: Refusal, headers: HeaderMap) {
        self.send(refusal, headers);
    }

    fn send(&mut self, refusal: Refusal, headers: HeaderMap) {
        self.given = true;
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        *response.status_mut() = refusal.status();
        // Fails only if the peer no longer waits, or for headers that cannot be sent.
        let _ = self.respond.send_response(response, true);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            self.send(Refusal::Unavailable, HeaderMap::new());
        }
    }
}

fn builder(config: &Config) -> h2::server::Builder {
    let first = Sizes::first(config);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(first.stream)
        .initial_connection_window_size(first.connection)
        .data_frame_budget(SMALL_DATA_OVERHEAD)
        .max_frame_size(config.max_frame_size)
        .max_header_list_size(config.max_header_list_size)
        .header_table_size(HEADER_TABLE)
        .max_send_buffer_size(config.max_send_buffer_size)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(REMEMBER_RESETS_FOR)
        .max_local_error_reset_streams(Some(FAULTS_FORGIVEN))
        .max_concurrent_streams(config.max_concurrent_streams)
        .max_pending_accept_reset_streams(CANCELLED_UNSEEN);
    builder
}
