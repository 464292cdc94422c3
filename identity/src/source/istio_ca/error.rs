//! Why Istio's CA issues nothing.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::ca::SignError;
use crate::error::{BundleError, PemError, SvidError};
use crate::source::error::MaterialError;
use crate::source::grpc::GrpcError;

/// Why Istio's CA issues no SVID.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IstioCaError {
    /// The address has no name or IP address before its port, so that nobody could tell who answers.
    #[error("'{}' is not HOST:PORT", address.escape_debug())]
    Address {
        /// The address.
        address: String,
    },
    /// What should go along with requests is not a header.
    #[error("'{}' is not a header", name.escape_debug())]
    Header {
        /// Its name. Its value may be a secret.
        name: String,
    },
    /// The token or the roots cannot be read.
    #[error("{} is unreadable", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The token is empty, or cannot be sent.
    #[error("{} is not a token", path.display())]
    Token {
        /// Which file.
        path: PathBuf,
    },
    /// The roots that the CA's server must chain to are not PEM.
    #[error("roots of the CA's server are unreadable")]
    RootsPem(#[source] PemError),
    /// The roots cannot be trusted, or the provider has no TLS 1.3.
    #[error("roots of the CA's server are not usable")]
    Roots(#[source] rustls::Error),
    /// The signing request could not be made.
    #[error("signing request cannot be made")]
    Sign(#[from] SignError),
    /// There is no connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The CA's server is not who it should be, or the connection failed.
    #[error("no TLS with {address}")]
    Tls {
        /// Where to.
        address: String,
        /// What went wrong.
        source: io::Error,
    },
    /// It took too long.
    #[error("no answer within {limit:?}")]
    Deadline {
        /// How long it was waited for.
        limit: Duration,
    },
    /// The call failed, or the CA refused.
    #[error("call failed")]
    Call(#[from] GrpcError),
    /// The answer lacks the leaf or the roots.
    #[error("answer has {count} certificates, not a leaf and roots")]
    Short {
        /// How many it has.
        count: usize,
    },
    /// The chain is not an SVID, or not for the key that we made.
    #[error("answer is not an SVID")]
    Svid(#[from] SvidError),
    /// The roots.
    #[error("answer has no roots")]
    Bundle(#[from] BundleError),
    /// The SVID is another's, is not valid now, or does not chain to the roots that came with it.
    #[error("answer is not usable")]
    Material(#[from] MaterialError),
}
