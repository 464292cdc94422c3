//! Listeners: a pod's listening sockets, bound here or by somebody else who holds them, too.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use netns::{Namespace, OpenError, SocketError, SocketOptions};
use socket2::{SockRef, Type};

use crate::config::{Ipv6, Ports, wildcard};

/// Most listeners on one port of a pod: what the kernel holds for each is paid for every pod of the node.
pub(crate) const MOST_ACCEPTORS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// Most sockets of one pod: on both ports of captured connections, and one for tunnels.
pub(crate) const MOST_SOCKETS: usize = 2 * MOST_ACCEPTORS.get() + 1;

/// A pod's listening sockets on all three ports.
///
/// Whoever else holds them, too, keeps connections waiting, not failing, while nobody accepts: the next proxy of the pod takes them.
#[derive(Debug)]
pub struct Listeners {
    /// The kernel spreads connections over them.
    pub(crate) outbound: Vec<TcpListener>,
    /// The same.
    pub(crate) plaintext: Vec<TcpListener>,
    /// One: peers' connections are few and long-lived, so who gets which is not left to chance.
    pub(crate) hbone: TcpListener,
    pub(crate) holder: Holder,
}

/// Who holds a pod's listening sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// This process alone: when it closes them, what waits is reset, or given to others on the same port.
    Us,
    /// Somebody else, too: what waits is for the next that accepts.
    Others,
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

/// Why sockets are not a pod's listeners.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GivenError {
    /// There are more than are accepted from.
    #[error("{actual} sockets; at most {MOST_SOCKETS} are taken")]
    TooMany {
        /// How many there are.
        actual: usize,
    },
    /// A descriptor is no socket, or cannot be asked.
    #[error("asking a descriptor what it is")]
    Ask(#[source] io::Error),
    /// A socket is not a TCP socket that listens.
    #[error("a socket that is not a TCP listener")]
    NoListener,
    /// A socket's namespace could not be told.
    #[error("telling a listener's namespace")]
    Namespace(#[source] OpenError),
    /// A socket is in another namespace than the pod's.
    #[error("a listener on {address} that is not in the pod")]
    Elsewhere {
        /// Where it listens.
        address: SocketAddr,
    },
    /// A socket has another mark than the proxy's: capture would take what it answers.
    #[error("a listener on {address} with mark {mark:#x}; {expected:#x} is ours")]
    Mark {
        /// Where it listens.
        address: SocketAddr,
        /// Its mark.
        mark: u32,
        /// Ours.
        expected: u32,
    },
    /// A socket is on no port of ours, not on all addresses, or a second one for tunnels.
    #[error("a listener on {address}, where none is wanted")]
    Unwanted {
        /// Where it listens.
        address: SocketAddr,
    },
    /// No socket is on one of our ports.
    #[error("no listener on port {port}")]
    Missing {
        /// The port.
        port: u16,
    },
}

impl Listeners {
    /// Binds all three ports, on both families where the pod has both; those of captured connections `acceptors` times, or as often as is
    /// allowed. If one cannot be bound, none stays.
    ///
    /// `SO_REUSEPORT` also lets a new proxy bind beside an old one that drains.
    ///
    /// # Errors
    /// [`ListenError`] names the port.
    pub fn bind(
        namespace: &Namespace,
        ports: Ports,
        mark: u32,
        acceptors: NonZeroUsize,
    ) -> Result<Self, ListenError> {
        hand_connections_over(namespace);
        let options = SocketOptions::default().mark(mark).reuse_port().transparent();
        let bind = |port| match namespace.tcp_listener(wildcard(Ipv6::Present, port), &options) {
            Err(error) if lacks_ipv6(&error) => {
                namespace.tcp_listener(wildcard(Ipv6::Absent, port), &options)
            }
            bound => bound,
        };
        let bind = |port| bind(port).map_err(|source| ListenError { port, source });
        let several =
            |port| (0..acceptors.min(MOST_ACCEPTORS).get()).map(|_| bind(port)).collect::<Result<_, _>>();
        let (outbound, plaintext) = (several(ports.outbound)?, several(ports.plaintext)?);
        Ok(Self { outbound, plaintext, hbone: bind(ports.hbone)?, holder: Holder::Us })
    }

    /// Takes sockets that somebody else has bound as [`bind`](Self::bind) does, and holds. Trusts nothing about them.
    ///
    /// # Errors
    /// [`GivenError`]; all are closed then.
    pub(crate) fn given(
        sockets: Vec<OwnedFd>,
        namespace: &Namespace,
        ports: Ports,
        mark: u32,
    ) -> Result<Self, GivenError> {
        if sockets.len() > MOST_SOCKETS {
            return Err(GivenError::TooMany { actual: sockets.len() });
        }
        let (mut outbound, mut plaintext, mut hbone) = (Vec::new(), Vec::new(), None);
        for socket in sockets {
            let (listener, address) = listener(socket, namespace, mark)?;
            match address.port() {
                port if port == ports.outbound => outbound.push(listener),
                port if port == ports.plaintext => plaintext.push(listener),
                port if port == ports.hbone && hbone.is_none() => hbone = Some(listener),
                _ => return Err(GivenError::Unwanted { address }),
            }
        }
        let missing = |port| GivenError::Missing { port };
        if outbound.is_empty() {
            return Err(missing(ports.outbound));
        }
        if plaintext.is_empty() {
            return Err(missing(ports.plaintext));
        }
        let hbone = hbone.ok_or_else(|| missing(ports.hbone))?;
        Ok(Self { outbound, plaintext, hbone, holder: Holder::Others })
    }

    /// All sockets, to be given to somebody else.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.all().map(|listener| listener.as_fd())
    }

    /// What tells these sockets from all others for as long as the machine runs (`SO_COOKIE`).
    pub(crate) fn cookies(&self) -> io::Result<BTreeSet<u64>> {
        self.all().map(|listener| SockRef::from(listener).cookie()).collect()
    }

    fn all(&self) -> impl Iterator<Item = &TcpListener> {
        self.outbound.iter().chain(&self.plaintext).chain([&self.hbone])
    }
}

/// A descriptor as a TCP listener in the pod that works as ours do, and where it listens.
fn listener(
    socket: OwnedFd,
    namespace: &Namespace,
    expected: u32,
) -> Result<(TcpListener, SocketAddr), GivenError> {
    let asked = SockRef::from(&socket);
    let is_stream = asked.r#type().map_err(GivenError::Ask)? == Type::STREAM;
    let address = asked.local_addr().map_err(GivenError::Ask)?.as_socket();
    let Some(address) = address.filter(|_| is_stream && asked.is_listener().unwrap_or(false)) else {
        return Err(GivenError::NoListener);
    };
    if !address.ip().is_unspecified() {
        return Err(GivenError::Unwanted { address });
    }
    let mark = asked.mark().map_err(GivenError::Ask)?;
    if mark != expected {
        return Err(GivenError::Mark { address, mark, expected });
    }
    if Namespace::of_socket(&socket).map_err(GivenError::Namespace)?.id() != namespace.id() {
        return Err(GivenError::Elsewhere { address });
    }
    asked.set_nonblocking(true).map_err(GivenError::Ask)?;
    Ok((TcpListener::from(socket), address))
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
