//! Listen: sockets inside a pod's namespace, and what the kernel says of a connection that they accept.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::time::Duration;

use netns::{Namespace, SocketError, SocketOptions};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::address::{ClientAddr, LocalAddr, OriginalDst};
use crate::config::{Config, Ipv6, Ports, wildcard};

/// Pause after an accept that failed for want of a resource (descriptors, memory), so that the loop does not spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Most connections that can wait to be accepted (`net.core.somaxconn`, 4096 since Linux 5.4).
const MOST_WAITING: u32 = 4096;

/// A pod's listening sockets. Bound together: if one cannot be, none stays.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// As many as were asked for; the kernel spreads connections over them.
    pub(crate) outbound: Vec<TcpListener>,
    /// The same.
    pub(crate) plaintext: Vec<TcpListener>,
    /// One: peers' connections are few and long-lived, so who gets which is not left to chance.
    pub(crate) hbone: TcpListener,
}

/// A port could not be bound inside a pod.
#[derive(Debug, thiserror::Error)]
#[error("listening on port {port} in the pod")]
pub struct ListenError {
    /// The port.
    pub port: u16,
    /// Why.
    #[source]
    pub source: SocketError,
}

/// Binds all three ports, on both families where the pod has both; those of captured connections `acceptors` times.
///
/// `SO_REUSEPORT` also lets a new proxy bind beside an old one that drains.
pub(crate) fn bind(
    namespace: &Namespace,
    config: &Config,
    acceptors: NonZeroUsize,
) -> Result<Listeners, ListenError> {
    hand_connections_over(namespace);
    let options = SocketOptions::default().mark(config.mark).reuse_port().transparent();
    let bind = |port| match namespace.tcp_listener(wildcard(Ipv6::Present, port), &options) {
        Err(error) if lacks_ipv6(&error) => namespace.tcp_listener(wildcard(Ipv6::Absent, port), &options),
        bound => bound,
    };
    let bind = |port| bind(port).map_err(|source| ListenError { port, source });
    let several = |port| (0..acceptors.get()).map(|_| bind(port)).collect::<Result<_, _>>();
    let Ports { outbound, plaintext, hbone } = config.ports;
    Ok(Listeners { outbound: several(outbound)?, plaintext: several(plaintext)?, hbone: bind(hbone)? })
}

/// Has the kernel give connections that wait at a listener which closes to another one on the same port, instead of
/// resetting them (`tcp_migrate_req`, ip-sysctl, Linux 5.14): those of the proxy that follows this one.
fn hand_connections_over(namespace: &Namespace) {
    // Best effort: an older kernel, or a read-only /proc/sys, costs the few connections that wait in that moment.
    let written = namespace.run(|| std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1"));
    if let Ok(Err(error)) = written {
        tracing::debug!(%error, "connections that wait are reset when the proxy is replaced");
    }
}

/// A pod without IPv6 has no such family, or no such address to bind.
fn lacks_ipv6(error: &SocketError) -> bool {
    let code = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>()?.raw_os_error());
    code.is_some_and(|code| code == nix::libc::EAFNOSUPPORT || code == nix::libc::EADDRNOTAVAIL)
}

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

/// Accepts until `closing`, handing each connection to `take`.
pub(crate) async fn accept_loop(
    listener: TcpListener,
    closing: &CancellationToken,
    mut take: impl FnMut(Accepted),
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener cannot be watched");
            return;
        }
    };
    let mut closed = pin!(closing.cancelled());
    // What waits when the end comes is still taken: the kernel would reset it. New ones may come meanwhile, so no more than
    // can have waited.
    let mut last = MOST_WAITING;
    while last > 0 {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = &mut closed => return,
        };
        if closing.is_cancelled() {
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
