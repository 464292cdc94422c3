//! The side that asks for tunnels.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{
    Config, FAULTS_FORGIVEN, HEADER_TABLE, REMEMBER_RESETS_FOR, REMEMBERED_RESETS, SMALL_DATA_OVERHEAD,
    UNTIL_SETTINGS,
};
use crate::connect::ConnectRequest;
use crate::driver::Driver;
use crate::error::{HandshakeError, OpenError};
use crate::greeting::{Greeted, greeting};
use crate::guard::{End, Guard, Wire};
use crate::queue::{Queue, Queued};
use crate::room::Room;
use crate::tunnel::{Inlets, SendHalf, Tunnel};
use crate::windows::Sizes;

/// Starts a connection over `io`, which should be encrypted and authenticated already.
///
/// The [`Driver`] must run for the [`Client`] to do anything.
///
/// # Errors
///
/// If the preface cannot be written, or not within [`Config::with_handshake_timeout`]. What the peer answers is seen
/// later, by the driver.
pub async fn handshake<T>(io: T, config: &Config) -> Result<(Client, Driver<T>), HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, tally) = Wire::new(io, End::Client, config);
    let after = config.handshake_timeout;
    let handshake = tokio::time::timeout(after, builder(config).handshake::<_, Queued>(io)).await;
    let (send, mut connection) = handshake
        .map_err(|_| HandshakeError::TimedOut { after })?
        .map_err(|source| HandshakeError::Http2 { source })?;
    let guard = Guard::new(config, tally, connection.ping_pong());
    let inlets = Inlets::new(guard.crumbs());
    let terms = Terms {
        inlets: inlets.clone(),
        max_streams: usize::try_from(config.max_concurrent_streams).unwrap_or(usize::MAX),
        open_timeout: config.open_timeout,
        draining: AtomicBool::new(false),
        carrier: OnceLock::new(),
        note: OnceLock::new(),
    };
    let queue = Queue::new(config.max_send_buffer_size, guard.slivers());
    let (greeting, greeted) = greeting();
    let driver = Driver::new(connection, guard, Room::new(config, inlets), queue.clone(), greeting);
    Ok((Client { send, terms: Arc::new(terms), queue, greeted }, driver))
}

/// One end of a connection, to open tunnels with. Clones share the connection.
///
/// The connection ends when every clone and every tunnel is gone.
#[derive(Clone)]
pub struct Client {
    send: SendRequest<Queued>,
    terms: Arc<Terms>,
    queue: Queue,
    greeted: Greeted,
}

/// What a caller keeps with a connection.
pub type Note = Arc<dyn Any + Send + Sync>;

#[derive(Debug)]
struct Terms {
    inlets: Inlets,
    max_streams: usize,
    open_timeout: Duration,
    draining: AtomicBool,
    /// What this connection is over, where that is a tunnel.
    carrier: OnceLock<Client>,
    note: OnceLock<Note>,
}

impl Client {
    /// Asks for a tunnel, and waits for the answer, any 2xx (RFC 9110 section 9.3.6).
    ///
    /// Dropping the future takes the request back (RST_STREAM CANCEL).
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; [`OpenError::is_not_processed`] says whether another connection may try.
    pub async fn open(&self, request: ConnectRequest) -> Result<Tunnel, OpenError> {
        if self.terms.draining.load(Ordering::Relaxed) {
            return Err(OpenError::Draining);
        }
        let after = self.terms.open_timeout;
        tokio::time::timeout(after, self.connect(request)).await.unwrap_or(Err(OpenError::TimedOut { after }))
    }

    /// Says that this connection is over a tunnel of `carrier`. Once nothing more can be opened there, nothing more should be here:
    /// who ends the connection beneath ends this one with it. It is so of all clones, and the first word counts.
    pub fn carried_by(self, carrier: Self) -> Self {
        let _ = self.terms.carrier.set(carrier);
        self
    }

    /// Whether nothing more can, or should, be opened: the peer said GOAWAY or is gone, the driver has ended,
    /// [`drain`](Self::drain) was called, or all that is so of the connection that carries this one.
    pub fn is_closed(&self) -> bool {
        let ready = self.send.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        self.terms.draining.load(Ordering::Relaxed)
            || matches!(ready, Poll::Ready(Err(_)))
            || self.terms.carrier.get().is_some_and(Self::is_closed)
    }

    /// The same, with something of the caller's that belongs to the connection: who its peer is, or what will have ended it.
    /// Whoever gets a tunnel on it from a pool [gets it too](crate::Pooled::note). All clones have it, and the first one stays.
    #[must_use]
    pub fn with_note(self, note: Note) -> Self {
        let _ = self.terms.note.set(note);
        self
    }

    /// What it was [given](Self::with_note).
    pub fn note(&self) -> Option<&Note> {
        self.terms.note.get()
    }

    /// How many tunnels may be open at once: the smaller of our limit and the peer's as last announced. More wait in
    /// [`open`](Self::open). Until the peer's settings have come, its limit is taken as 100.
    pub fn max_streams(&self) -> usize {
        self.send.current_max_send_streams().min(self.terms.max_streams)
    }

    /// Waits until the peer's settings have come, or never will: [`max_streams`](Self::max_streams) is its own number then.
    pub(crate) async fn greeted(&self) {
        self.greeted.wait().await;
    }

    /// Opens nothing more, on any clone. Tunnels that are open go on.
    pub fn drain(&self) {
        self.terms.draining.store(true, Ordering::Relaxed);
    }

    async fn connect(&self, request: ConnectRequest) -> Result<Tunnel, OpenError> {
        let mut send = self.send.clone();
        poll_fn(|cx| send.poll_ready(cx)).await.map_err(|source| OpenError::NotProcessed { source })?;
        let (response, stream) = send.send_request(request.into_http(), false).map_err(OpenError::unsent)?;
        // Made before the wait: dropped during it, it takes the request back.
        let half = SendHalf::asking(stream, self.queue.clone());
        let (parts, body) = response.await.map_err(OpenError::unanswered)?.into_parts();
        if !parts.status.is_success() {
            return Err(OpenError::Refused { status: parts.status, headers: Box::new(parts.headers) });
        }
        Ok(Tunnel::new(self.terms.inlets.add(body), half.accepted()).with_answer(parts.headers))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("terms", &self.terms).finish_non_exhaustive()
    }
}

fn builder(config: &Config) -> h2::client::Builder {
    let first = Sizes::first(config);
    let mut builder = h2::client::Builder::new();
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
        .initial_max_send_streams(UNTIL_SETTINGS)
        .enable_push(false);
    builder
}
