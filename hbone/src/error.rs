//! What can go wrong in each operation, and the one place where an HTTP/2 error becomes an IO error.

use std::io;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use thiserror::Error;

/// Why a connection could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer did not do its part in time.
    #[error("no HTTP/2 handshake within {after:?}")]
    TimedOut {
        /// The time it had.
        after: Duration,
    },
    /// The stream beneath failed, or the peer does not speak HTTP/2.
    #[error("the HTTP/2 handshake failed")]
    Http2 {
        /// What h2 saw.
        #[source]
        source: h2::Error,
    },
}

/// Why a running connection ended other than in order. Its tunnels have failed too.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer answered neither data nor a ping in time.
    #[error("the peer has been silent for {dead_after:?} since a ping")]
    Silent {
        /// The time it had to answer.
        dead_after: Duration,
    },
    /// A server ended it in order, because nothing was open on it.
    #[error("nothing has been open for {after:?}")]
    Idle {
        /// [`Config::with_idle_timeout`](crate::Config::with_idle_timeout).
        after: Duration,
    },
    /// The peer sent too many frames that carry nothing: resets of what was not answered yet, pings, settings, priorities, empty or
    /// unknown frames. See [`Config::with_idle_frames`](crate::Config::with_idle_frames).
    #[error("the peer sent more than {burst} frames that carry nothing")]
    Flooded {
        /// How many it may send at once.
        burst: u32,
    },
    /// The peer began headers, or another frame than DATA, too long to be meant well.
    #[error("the peer sent headers or a control frame of more than {limit} bytes")]
    Oversized {
        /// The most that is taken.
        limit: u32,
    },
    /// The peer began a frame and did not finish it. See [`Config::with_patience`](crate::Config::with_patience).
    #[error("the peer has not finished a frame within {after:?}")]
    Unfinished {
        /// The time it had, at least.
        after: Duration,
    },
    /// The peer has taken nothing of what there was to write. See [`Config::with_patience`](crate::Config::with_patience).
    #[error("the peer has taken nothing for {after:?}")]
    Untaken {
        /// The time it had, at least.
        after: Duration,
    },
    /// The stream beneath failed, or one side broke the protocol.
    #[error("the HTTP/2 connection failed")]
    Http2 {
        /// What h2 saw.
        #[source]
        source: h2::Error,
    },
}

impl ConnectionError {
    /// What an end that h2 reports as an error is to our caller: nothing, if the peer merely closed.
    pub(crate) fn of_end(source: h2::Error) -> Result<(), Self> {
        // A close noticed by a read is an end in order for h2; noticed by a write it is the same close.
        let closed = source.get_io().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        if closed { Ok(()) } else { Err(Self::Http2 { source }) }
    }

    /// What the peer is told (RFC 9113 section 7), if h2 has not told it already.
    pub(crate) fn told_to_peer(&self) -> Option<h2::Reason> {
        match self {
            Self::Flooded { .. } | Self::Oversized { .. } | Self::Unfinished { .. } => {
                Some(h2::Reason::ENHANCE_YOUR_CALM)
            }
            // It has been told.
            Self::Idle { .. } => None,
            // It would not take it either.
            Self::Silent { .. } | Self::Untaken { .. } | Self::Http2 { .. } => None,
        }
    }
}

/// Why there is no tunnel.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer said no.
    #[error("the peer refused the tunnel with status {status}")]
    Refused {
        /// Its reason, as a number.
        status: StatusCode,
        /// What it said besides, bounded by
        /// [`Config::with_max_header_list_size`](crate::Config::with_max_header_list_size).
        headers: Box<HeaderMap>,
    },
    /// The connection could not take the request, or the peer said that it did not look at it: it is safe to try on
    /// another connection.
    #[error("the request was not processed")]
    NotProcessed {
        /// What h2 saw.
        #[source]
        source: h2::Error,
    },
    /// The stream or its connection ended while the answer was due. The peer may have acted on the request.
    #[error("the stream ended before an answer came")]
    Lost {
        /// What h2 saw.
        #[source]
        source: h2::Error,
    },
    /// The peer did not answer in time.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// The time it had.
        after: Duration,
    },
    /// [`Client::drain`](crate::Client::drain) was called: nothing was sent.
    #[error("the connection is draining")]
    Draining,
    /// The peer takes fewer tunnels on this connection than wait for it: nothing was sent.
    #[error("the connection takes no more than {limit} tunnels")]
    NoRoom {
        /// The peer's limit, or ours.
        limit: usize,
    },
    /// The request's headers cannot be sent in HTTP/2 (`connection` and its kind): nothing was sent.
    #[error("the request cannot be sent")]
    Unsendable {
        /// What h2 objects to.
        #[source]
        source: h2::Error,
    },
}

impl OpenError {
    /// Whether the peer answered, and said no. Asking again would be asking the same question.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether the peer certainly did nothing for this request, so that another connection may try it.
    pub fn is_not_processed(&self) -> bool {
        matches!(self, Self::NotProcessed { .. } | Self::Draining | Self::NoRoom { .. })
    }

    /// An error from before the request was handed to the connection.
    pub(crate) fn unsent(source: h2::Error) -> Self {
        // h2 names a request's own fault only by not being any of these.
        if source.is_io() || source.is_go_away() || source.is_reset() || source.reason().is_some() {
            Self::NotProcessed { source }
        } else {
            Self::Unsendable { source }
        }
    }

    /// An error in the place of an answer.
    pub(crate) fn unanswered(source: h2::Error) -> Self {
        // RFC 9113 section 8.7: both say that the request was not processed. h2 gives a GOAWAY of the peer only to the
        // streams beyond the last one that the peer took.
        let refused_stream = source.is_reset() && source.reason() == Some(h2::Reason::REFUSED_STREAM);
        if source.is_remote() && (source.is_go_away() || refused_stream) {
            Self::NotProcessed { source }
        } else {
            Self::Lost { source }
        }
    }
}

/// Why an answer did not reach the peer: the stream or its connection is gone.
#[derive(Debug, Error)]
#[error("the peer no longer waits for an answer")]
pub struct AcceptError {
    /// What h2 saw.
    #[source]
    pub(crate) source: h2::Error,
}

/// What a stream that carries a tunnel may not have (RFC 9113 section 8.5).
#[derive(Debug, Error)]
#[error("the peer sent trailers into a tunnel")]
pub(crate) struct Trailers;

/// The kind says who ended it: [`ConnectionReset`](io::ErrorKind::ConnectionReset) is a RST_STREAM of the peer, with
/// any code, and [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) is everything else: the connection beneath
/// is gone, or this side gave up. The h2 error is inside.
pub(crate) fn to_io(error: h2::Error) -> io::Error {
    let kind = if error.is_reset() && error.is_remote() {
        io::ErrorKind::ConnectionReset
    } else {
        io::ErrorKind::ConnectionAborted
    };
    io::Error::new(kind, error)
}

/// As [`to_io`], where h2 tells only the code of a reset.
pub(crate) fn reset_to_io(reason: h2::Reason) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, h2::Error::from(reason))
}
