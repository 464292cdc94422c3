//! Why a Workload API gives nothing.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::pick::Pick;
use crate::error::{BundleError, ParseError, SvidError, TrustError};
use crate::revocation::CrlsError;
use crate::source::error::MaterialError;
use crate::source::grpc::GrpcError;

/// Why a text does not say where a Workload API is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The environment does not say it.
    #[error("SPIFFE_ENDPOINT_SOCKET is not set")]
    Unset,
    /// It is not an absolute path, after `unix:`. TCP is not supported.
    #[error("'{}' is not unix: and an absolute path", text.escape_debug())]
    NotUnix {
        /// The text.
        text: String,
    },
}

/// Why a Workload API gives no SVID.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkloadApiError {
    /// There is no connection.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing came in time: no first answer, or no successor of an SVID that expired.
    #[error("no answer within {limit:?}")]
    Deadline {
        /// How long it was waited for.
        limit: Duration,
    },
    /// The call failed, or the server refused.
    #[error("call failed")]
    Call(#[from] GrpcError),
    /// The server ended the stream, without a word of why.
    #[error("stream has ended")]
    Ended,
    /// The answer has no SVID.
    #[error("answer has no SVID")]
    Empty,
    /// None of the SVIDs is the one that was asked for.
    #[error("none of {count} SVIDs is {wanted}")]
    NotThere {
        /// How many there are.
        count: usize,
        /// Which one was asked for.
        wanted: Pick,
    },
    /// What the answer calls the id is none.
    #[error("answer names no SPIFFE id")]
    Id(#[from] ParseError),
    /// Certificates are not DER, one after the other.
    #[error("answer has malformed certificates")]
    Certificates,
    /// The key is not PKCS#8.
    #[error("answer has a malformed key")]
    Key,
    /// The chain and the key.
    #[error("answer is not an SVID")]
    Svid(#[from] SvidError),
    /// The roots.
    #[error("answer has no roots")]
    Bundle(#[from] BundleError),
    /// What another trust domain is called is no trust domain's id.
    #[error("'{}' is not the id of a trust domain", id.escape_debug())]
    FederatedId {
        /// What it is called.
        id: String,
    },
    /// The roots of another trust domain.
    #[error("answer has no roots of {id}")]
    Federated {
        /// The trust domain's id.
        id: String,
        /// What is wrong with them.
        source: BundleError,
    },
    /// A trust domain has two bundles: the own one is among the others.
    #[error("answer contradicts itself")]
    Trust(#[from] TrustError),
    /// The revocation lists.
    #[error("answer has unusable revocation lists")]
    Crls(#[from] CrlsError),
    /// The SVID is not of the id that the answer says, is not valid now, or does not chain to its roots.
    #[error("answer is not usable")]
    Material(#[from] MaterialError),
}
