//! What moves a client's connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::ConnectionError;
use crate::greeting::Greeting;
use crate::guard::{Guard, Wire};
use crate::queue::{Queue, Queued};
use crate::room::Room;

/// The future that moves the bytes of one client connection, answers and sends pings.
///
/// Spawn it, or poll it beside your own work: without it nothing moves. It ends
///
/// * in order, when the peer has closed, if also with tunnels open, or when every [`Client`](crate::Client) and every tunnel is gone;
/// * with an error, when the stream beneath failed, a side broke the protocol, or the peer fell silent or broke a bound.
///
/// When it ends or is dropped, tunnels that still run fail with
/// [`ConnectionAborted`](std::io::ErrorKind::ConnectionAborted).
#[must_use = "nothing moves unless the driver is polled"]
#[derive(Debug)]
pub struct Driver<T: AsyncRead + AsyncWrite + Unpin> {
    running: Option<Running<T>>,
}

#[derive(Debug)]
struct Running<T: AsyncRead + AsyncWrite + Unpin> {
    connection: h2::client::Connection<Wire<T>, Queued>,
    guard: Guard,
    room: Room,
    queue: Queue,
    greeting: Option<Greeting>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(crate) fn new(
        connection: h2::client::Connection<Wire<T>, Queued>,
        guard: Guard,
        room: Room,
        queue: Queue,
        greeting: Greeting,
    ) -> Self {
        Self { running: Some(Running { connection, guard, room, queue, greeting: Some(greeting) }) }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = Result<(), ConnectionError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(Ok(()));
        };
        let end = std::task::ready!(running.poll(cx));
        // Dropping h2's connection is what fails the tunnels of a silent peer.
        self.running = None;
        Poll::Ready(end)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Running<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        loop {
            if let Poll::Ready(end) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(end.or_else(ConnectionError::of_end));
            }
            if self.guard.is_greeted() {
                self.greeting = None;
            }
            if !self.room.adapt(&self.guard, &mut self.connection) {
                self.queue.pass_on(cx);
                std::task::ready!(self.guard.poll(cx))?;
            }
        }
    }
}
