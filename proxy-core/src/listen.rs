//! Listen: accepts from a pod's listeners, and asks the kernel about a connection.

use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::address::{ClientAddr, LocalAddr, OriginalDst};
use crate::config::Ports;
use crate::listeners::Holder;

/// Pause after an accept that failed for want of a resource (descriptors, memory), so that the loop does not spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Most connections that can wait to be accepted (`net.core.somaxconn`, 4096 since Linux 5.4).
const MOST_WAITING: u32 = 4096;

/// A connection as it was accepted, registered with the runtime of the core that has it.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) client: ClientAddr,
}

/// A connection on its way from one core to another.
#[derive(Debug)]
pub(crate) struct Detached {
    stream: std::net::TcpStream,
    client: ClientAddr,
}

impl Detached {
    /// Registers it with the runtime of the core that this is called on.
    pub(crate) fn attach(self) -> io::Result<Accepted> {
        Ok(Accepted { stream: TcpStream::from_std(self.stream)?, client: self.client })
    }
}

impl Accepted {
    /// Takes it off this core's runtime.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        Ok(Detached { stream: self.stream.into_std()?, client: self.client })
    }

    /// Where the client meant to go, if the kernel brought the connection here.
    ///
    /// Where it was given to us as it is (TPROXY) that is our own end, and conntrack need not know of it. A connection that was
    /// made to this very port has no other destination; it was not captured.
    pub(crate) fn original_destination(&self, ports: Ports) -> Option<OriginalDst> {
        let socket = SockRef::from(&self.stream);
        // The IPv6 question is asked only of IPv6 connections: a mapped IPv4 one answers to the IPv4 question.
        let answer =
            if self.client.ip().is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
        let local = self.local()?.socket_addr();
        let destination = answer.ok().and_then(|address| address.as_socket()).unwrap_or(local);
        let destination = OriginalDst::new(destination);
        (destination.socket_addr() != local || !ports.contains(destination.port())).then_some(destination)
    }

    /// Our end of the connection.
    pub(crate) fn local(&self) -> Option<LocalAddr> {
        self.stream.local_addr().ok().map(LocalAddr::new)
    }
}

/// When an accept loop ends.
#[derive(Debug, Clone)]
pub(crate) struct Until {
    /// The pod's proxy takes no new work.
    pub(crate) closing: CancellationToken,
    /// Other listeners have taken this one's place.
    pub(crate) replaced: CancellationToken,
    pub(crate) holder: Holder,
}

impl Until {
    fn is_over(&self) -> bool {
        self.closing.is_cancelled() || self.replaced.is_cancelled()
    }

    /// Whether it is over, and what waits is for the next that accepts from the same socket.
    fn leaves_what_waits(&self) -> bool {
        self.closing.is_cancelled() && self.holder == Holder::Others && !self.replaced.is_cancelled()
    }
}

/// Accepts until then, handing each connection to `take`.
pub(crate) async fn accept_loop(listener: TcpListener, until: Until, mut take: impl FnMut(Accepted)) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener cannot be watched");
            return;
        }
    };
    let over = async {
        tokio::select! {
            () = until.closing.cancelled() => {}
            () = until.replaced.cancelled() => {}
        }
    };
    let mut over = pin!(over);
    // What waits when the end comes is still taken: the kernel would reset it. New ones may come meanwhile, so no more than
    // can have waited.
    let mut last = MOST_WAITING;
    while last > 0 {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept(), if !until.leaves_what_waits() => accepted,
            () = &mut over => return,
        };
        if until.is_over() {
            last -= 1;
        }
        match accepted {
            Ok((stream, peer)) => take(Accepted { stream, client: ClientAddr::new(peer) }),
            Err(error) if is_one_connections(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Errors that accept(2) passes on from one connection; the next may be well.
fn is_one_connections(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    ) || matches!(error.raw_os_error(), Some(nix::libc::EPROTO | nix::libc::EPERM | nix::libc::EINVAL))
}
