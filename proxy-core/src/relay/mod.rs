//! Relay: moves bytes both ways until both are done. Knows nothing of identities, routes or policy.
//!
//! Each direction is a [`Pump`] from a [`Source`] to a [`Sink`]. The end of a stream is passed on as such (half-close), so
//! the other direction may go on for as long as it likes; a failure of either side resets both, so that a truncated
//! stream never looks complete.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hbone::Tunnel;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::error::{ConnectionError, Side};
use crate::report::{Relayed, Transferred};
use pump::Pump;

mod pump;
mod tcp;
#[cfg(test)]
mod tests;
mod tunnel;

/// Where chunks come from.
trait Source {
    /// The next chunk; `None` when the peer has finished.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;
}

/// Where chunks go.
trait Sink {
    /// Takes the chunk as far as there is room; ready when it is empty.
    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>>;

    /// Tells the peer that nothing more comes.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when the peer no longer takes anything, though we had nothing to send.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error>;
}

/// Joins an application's outbound connection to its tunnel.
pub(crate) async fn into_tunnel(client: TcpStream, destination: Tunnel, cut: &CancellationToken) -> Relayed {
    with_tunnel(client, destination, Side::Client, cut).await
}

/// Joins a tunnel to the application that it was opened to.
pub(crate) async fn from_tunnel(client: Tunnel, destination: TcpStream, cut: &CancellationToken) -> Relayed {
    let (seen_from_tcp, outcome) = with_tunnel(destination, client, Side::Destination, cut).await;
    let Transferred { sent, received } = seen_from_tcp;
    (Transferred { sent: received, received: sent }, outcome)
}

async fn with_tunnel(mut stream: TcpStream, tunnel: Tunnel, tcp: Side, cut: &CancellationToken) -> Relayed {
    let other = match tcp {
        Side::Client => Side::Destination,
        Side::Destination => Side::Client,
    };
    // Dropped unfinished, the tunnel's halves reset its stream.
    let (receive, send) = tunnel.into_split();
    let (read, write) = stream.split();
    let up = Pump::new((tcp, tcp::Reading::new(read)), (other, tunnel::Sending::new(send)));
    let down = Pump::new((other, tunnel::Receiving::new(receive)), (tcp, tcp::Writing::new(write)));
    let relayed = both(up, down, cut).await;
    if relayed.1.is_err() {
        reset(&stream);
    }
    relayed
}

/// Joins two TCP connections.
pub(crate) async fn direct(
    mut client: TcpStream,
    mut destination: TcpStream,
    cut: &CancellationToken,
) -> Relayed {
    let (client_read, client_write) = client.split();
    let (read, write) = destination.split();
    let up = Pump::new(
        (Side::Client, tcp::Reading::new(client_read)),
        (Side::Destination, tcp::Writing::new(write)),
    );
    let down = Pump::new(
        (Side::Destination, tcp::Reading::new(read)),
        (Side::Client, tcp::Writing::new(client_write)),
    );
    let relayed = both(up, down, cut).await;
    if relayed.1.is_err() {
        reset(&client);
        reset(&destination);
    }
    relayed
}

/// Runs both directions on one task. The first failure ends both.
async fn both(
    mut up: Pump<impl Source, impl Sink>,
    mut down: Pump<impl Source, impl Sink>,
    cut: &CancellationToken,
) -> Relayed {
    let mut cutting = pin!(cut.cancelled());
    let outcome = poll_fn(|cx| {
        let up = up.poll(cx)?;
        let down = down.poll(cx)?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        cutting.as_mut().poll(cx).map(|()| Err(ConnectionError::Cut))
    })
    .await;
    // A cut takes the tunnel's connection away as well, and that may be seen first.
    let outcome = outcome.map_err(|error| if cut.is_cancelled() { ConnectionError::Cut } else { error });
    (Transferred { sent: up.moved(), received: down.moved() }, outcome)
}

/// Makes the close that follows a reset, so that the application learns that its stream is not complete.
fn reset(stream: &TcpStream) {
    // Without it the application would see an orderly end; there is nothing else to do if the kernel refuses.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn failed(side: Side, source: io::Error) -> ConnectionError {
    ConnectionError::Relay { side, source: Arc::new(source) }
}
