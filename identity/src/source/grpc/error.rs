//! What can go wrong with a call.

use std::fmt;

use thiserror::Error;

/// The most of a status message that is kept.
const MAX_MESSAGE: usize = 256;

/// Why a gRPC call has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GrpcError {
    /// HTTP/2 failed, or the connection under it.
    #[error("HTTP/2 failed")]
    Http2(#[from] h2::Error),
    /// The connection was closed before the answer was complete.
    #[error("connection was closed")]
    Closed,
    /// The server is not a gRPC server, or a proxy answered in its place.
    #[error("HTTP status is {status}, not 200")]
    HttpStatus {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is something else than gRPC.
    #[error("content type is not application/grpc")]
    ContentType,
    /// The server refused.
    #[error("server says {0}")]
    Status(Status),
    /// The answer ended without a status.
    #[error("answer has no gRPC status")]
    NoStatus,
    /// The answer is compressed, which was not offered.
    #[error("message is compressed")]
    Compressed,
    /// A message is larger than it may be.
    #[error("message has {actual} bytes, more than {limit}")]
    TooLarge {
        /// The most bytes that are accepted.
        limit: usize,
        /// How many were announced.
        actual: usize,
    },
    /// The answer ended within a message.
    #[error("message is cut short")]
    Truncated,
    /// There should have been exactly one message.
    #[error("answer has not exactly one message")]
    NotOne,
    /// The message is not of its type.
    #[error("message is malformed")]
    Malformed(#[from] prost::DecodeError),
}

/// A status that is not OK (the gRPC status codes), and what the server said with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Status {
    code: u32,
    message: String,
}

impl Status {
    /// INVALID_ARGUMENT.
    pub const INVALID_ARGUMENT: u32 = 3;
    /// PERMISSION_DENIED.
    pub const PERMISSION_DENIED: u32 = 7;
    /// UNIMPLEMENTED.
    pub const UNIMPLEMENTED: u32 = 12;

    pub(super) fn new(code: u32, message: &[u8]) -> Self {
        let message = message.get(..MAX_MESSAGE).unwrap_or(message);
        Self { code, message: message.escape_ascii().to_string() }
    }

    /// The number.
    pub fn code(&self) -> u32 {
        self.code
    }

    /// What the server said: as it was sent, but escaped and cut.
    pub fn message(&self) -> &str {
        &self.message
    }

    fn name(&self) -> Option<&'static str> {
        // Of the gRPC documentation, statuscodes.md; zero is OK.
        const NAMES: [&str; 16] = [
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        let index = usize::try_from(self.code).ok()?.checked_sub(1)?;
        NAMES.get(index).copied()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "status {}", self.code)?,
        }
        match self.message.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.message),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({self})")
    }
}
