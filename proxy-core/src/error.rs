//! Why a connection failed: at which step, with its cause.

use std::io;
use std::sync::Arc;

use hbone::proxy_protocol::TlvError;

use crate::address::HopAddr;
use crate::double::DoubleError;
use crate::policy::Denied;
use crate::route::NoRoute;
use crate::workload::NotAdmitted;

/// The step at which a connection failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The kernel knows no original destination: the client connected to the proxy's port itself.
    #[error("not a captured connection")]
    NotCaptured,
    /// There are no facts about the pod that the connection belongs to.
    #[error("no facts about this pod")]
    UnknownPod,
    /// There is no route to the destination.
    #[error("no route")]
    NoRoute(#[source] NoRoute),
    /// The CONNECT asked for a target that is not this pod, or is one of the proxy's own ports.
    #[error("{target} is not a target of this pod")]
    NotOurs {
        /// The target as it was asked for.
        target: String,
    },
    /// The peer's request is no CONNECT with a target.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// Policy denies it, from the start or since the facts changed.
    #[error("denied")]
    Denied(#[source] Denied),
    /// What the application asks to be told does not go into a PROXY header.
    #[error("telling the application who comes")]
    HandOver(#[source] TlvError),
    /// The peer is not believed any more, since trust has changed.
    #[error("the peer is not believed any more")]
    Distrusted(#[source] Arc<identity::VerifyError>),
    /// The next hop or the application could not be reached.
    #[error("dialling")]
    Dial(#[source] Arc<DialError>),
    /// The peer did not open the tunnel.
    #[error("opening the tunnel")]
    Open(#[source] Arc<hbone::OpenError>),
    /// A connection to another network failed, at one of its two layers.
    #[error("through a gateway to another network")]
    Double(#[source] DoubleError),
    /// There are as many connections to peers as there may be.
    #[error("{0}")]
    Exhausted(String),
    /// The peer went away before the tunnel to it was accepted.
    #[error("accepting the tunnel")]
    Accept(#[source] Arc<hbone::AcceptError>),
    /// The client's TLS or HTTP/2 handshake failed.
    #[error("handshake with the peer")]
    Handshake(#[source] Arc<HandshakeError>),
    /// Bytes could not be moved.
    #[error("{side}")]
    Relay {
        /// Which side failed.
        side: Side,
        /// How.
        #[source]
        source: Arc<io::Error>,
    },
    /// The proxy cut the connection: its pod is gone or the time to drain is over.
    #[error("cut by the proxy")]
    Cut,
}

impl From<NotAdmitted> for ConnectionError {
    fn from(why: NotAdmitted) -> Self {
        match why {
            NotAdmitted::UnknownPod => Self::UnknownPod,
            NotAdmitted::Denied(denied) => Self::Denied(denied),
        }
    }
}

impl ConnectionError {
    pub(crate) fn dial(error: DialError) -> Self {
        Self::Dial(Arc::new(error))
    }
}

/// The end of a relayed connection that an error came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Side {
    /// The one that opened the connection.
    Client,
    /// The one that it was opened to.
    Destination,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client => "client side",
            Self::Destination => "destination side",
        })
    }
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No socket could be made inside the pod.
    #[error("making a socket in the pod")]
    Socket(#[source] netns::SocketError),
    /// The address could not be connected to.
    #[error("connecting to {address}")]
    Connect {
        /// The address.
        address: HopAddr,
        /// How it failed; `TimedOut` when the time limit was reached.
        #[source]
        source: io::Error,
    },
    /// The application went away before it could be told who comes.
    #[error("telling {address} who comes")]
    Preamble {
        /// The address.
        address: HopAddr,
        /// How.
        #[source]
        source: io::Error,
    },
    /// The TLS or HTTP/2 handshake failed.
    #[error("handshake with {address}")]
    Handshake {
        /// The address.
        address: HopAddr,
        /// How it failed.
        #[source]
        source: HandshakeError,
    },
}

/// Why no secure connection came to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// TLS failed: no certificate, a wrong one, or not TLS at all.
    #[error("tls")]
    Tls(#[source] io::Error),
    /// The HTTP/2 preface or settings failed.
    #[error("http/2")]
    Http2(#[source] hbone::HandshakeError),
    /// HTTP/2 failed once it ran.
    #[error("http/2 connection")]
    Connection(#[source] hbone::ConnectionError),
    /// It took longer than the limit.
    #[error("not done within the time limit")]
    TimedOut,
    /// Our own certificate is not there.
    #[error("no certificate for this pod")]
    Credentials(#[source] CredentialsError),
    /// The peer proved no identity, though the configuration demands one.
    #[error("the peer has no identity")]
    NoIdentity,
    /// Trust has changed while it was made, and the peer is not believed any more.
    #[error("the peer is not believed any more")]
    Distrusted(#[source] identity::VerifyError),
}

/// Why a pod has no usable certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// None was issued.
    #[error("waiting for the SVID")]
    Source(#[from] identity::source::CacheError),
    /// TLS cannot be configured with it.
    #[error("configuring TLS")]
    Tls(#[source] identity::TlsError),
}
