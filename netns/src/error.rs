//! What can go wrong: one error for each operation.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::NamespaceId;

/// Why there is no [`Namespace`](crate::Namespace).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Nothing there, or no right to open it. Also: no namespace could be made.
    #[error("cannot open {origin}")]
    Open {
        /// Where the namespace was to come from.
        origin: Origin,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What was opened is an ordinary file, a socket, a pipe, ...: no namespace of any kind.
    #[error("{origin} is not a namespace")]
    NotNamespace {
        /// Where it came from.
        origin: Origin,
    },
    /// What was opened is a namespace, but of mounts, users, processes, ...
    #[error("{origin} is a namespace of another kind than network")]
    NotNetwork {
        /// Where it came from.
        origin: Origin,
    },
    /// The descriptor that was to be a process's pidfd is something else.
    #[error("the given descriptor is not a process's (pidfd)")]
    NotProcess,
    /// The process ended while it was looked at, and another may have its number by now.
    #[error("process {pid} has ended")]
    Ended {
        /// The process.
        pid: u32,
    },
    /// Its identity could not be read.
    #[error("cannot identify {origin}")]
    Identify {
        /// Where it came from.
        origin: Origin,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is a network namespace, but this thread cannot enter it.
    #[error("cannot use {origin}")]
    Enter {
        /// Where it came from.
        origin: Origin,
        /// Why not.
        #[source]
        source: EnterError,
    },
}

impl OpenError {
    /// Whether a right is missing (`EPERM`, `EACCES`): `CAP_SYS_ADMIN` to make or enter a namespace, `CAP_SYS_PTRACE`
    /// to look at another user's process.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Identify { source, .. } => is_permission(source),
            Self::Enter { source, .. } => source.is_permission(),
            Self::NotNamespace { .. } | Self::NotNetwork { .. } | Self::NotProcess | Self::Ended { .. } => {
                false
            }
        }
    }
}

/// Where a namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file: `/run/netns/NAME`, `/proc/PID/ns/net`, ...
    Path(PathBuf),
    /// The namespace that a process is in.
    Process(u32),
    /// The namespace that the process behind a given pidfd is in.
    Pidfd,
    /// The namespace that a thread is in, by its number.
    Task(u32),
    /// The namespace that the calling thread is in.
    Thread,
    /// A new namespace.
    New,
    /// A file descriptor that somebody else opened.
    Descriptor,
    /// The namespace that a socket belongs to.
    Socket,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Process(pid) => write!(f, "the network namespace of process {pid}"),
            Self::Pidfd => f.write_str("the network namespace of the given pidfd"),
            Self::Task(tid) => write!(f, "the network namespace of thread {tid}"),
            Self::Thread => f.write_str("this thread's network namespace"),
            Self::New => f.write_str("a new network namespace"),
            Self::Descriptor => f.write_str("the given file descriptor"),
            Self::Socket => f.write_str("the network namespace of the given socket"),
        }
    }
}

/// Why a thread did not enter a namespace. It is still where it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// The namespace that the thread is in could not be opened, so there would be no way back. Also when the process
    /// has no file descriptor left.
    #[error("cannot hold on to the way back from {target}")]
    Hold {
        /// The namespace that was not entered.
        target: NamespaceId,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The thread may not enter the namespace that it is in, so it would not be let back: `CAP_SYS_ADMIN` is missing
    /// over the user namespace that owns it.
    #[error("would not be let back from {target}; coming back needs CAP_SYS_ADMIN")]
    Return {
        /// The namespace that was not entered.
        target: NamespaceId,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The namespace does not let the thread in.
    #[error("cannot enter {target}; entering needs CAP_SYS_ADMIN")]
    Enter {
        /// The namespace that was not entered.
        target: NamespaceId,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl EnterError {
    /// Whether a right is missing: `CAP_SYS_ADMIN`, in the thread's own user namespace and in the ones that own both
    /// network namespaces.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Hold { source, .. } | Self::Return { source, .. } | Self::Enter { source, .. } => {
                is_permission(source)
            }
        }
    }
}

/// Why there is no socket in the namespace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The socket could not be made: no file descriptors left, or no such address family.
    #[error("cannot make a socket in {namespace}")]
    Make {
        /// The namespace.
        namespace: NamespaceId,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The socket does not take an option.
    #[error("cannot set {option} on a socket in {namespace}")]
    Option {
        /// The option, by its name in C.
        option: &'static str,
        /// The namespace.
        namespace: NamespaceId,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The address is not this namespace's, or is in use.
    #[error("cannot bind to {address} in {namespace}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The namespace.
        namespace: NamespaceId,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The bound socket does not listen: another one listens on the same address.
    #[error("cannot listen on {address} in {namespace}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The namespace.
        namespace: NamespaceId,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl SocketError {
    /// Whether a right is missing: `CAP_SYS_ADMIN` to enter, `CAP_NET_ADMIN` over the namespace to mark packets or to
    /// bind to foreign addresses, `CAP_NET_BIND_SERVICE` for a low port.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Enter(source) => source.is_permission(),
            Self::Make { source, .. }
            | Self::Option { source, .. }
            | Self::Bind { source, .. }
            | Self::Listen { source, .. } => is_permission(source),
        }
    }
}

/// std maps both `EPERM` and `EACCES` to this kind.
fn is_permission(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
