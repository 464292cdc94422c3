//! What can be wrong with a CA, and with what is asked of it.

use std::time::SystemTime;

use thiserror::Error;

use crate::error::{AuthorityError, BundleError, ChainError, KeyError, PemError, SvidError};
use crate::trust_domain::TrustDomain;

/// Why a certificate and a key are not a [`Ca`](crate::Ca).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CaError {
    /// The PEM text of the certificate.
    #[error("CA certificate is unreadable")]
    CertificatePem(#[source] PemError),
    /// The PEM text of the key.
    #[error("CA key is unreadable")]
    KeyPem(#[source] PemError),
    /// The chain leaves no room for a workload's certificate.
    #[error("CA chain is not acceptable")]
    Chain(#[from] ChainError),
    /// One of the certificates cannot vouch for others.
    #[error("certificate {index} of the CA chain cannot sign")]
    Certificate {
        /// Which one, from zero.
        index: usize,
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// A certificate of the chain is not issued by the one after it.
    #[error("certificate {index} of the CA chain is not issued by the next one")]
    Order {
        /// Which one, from zero.
        index: usize,
    },
    /// The key.
    #[error("CA key is not usable")]
    Key(#[from] KeyError),
    /// The crypto library refuses.
    #[error("CA cannot sign")]
    Sign(#[from] SignError),
    /// The CA's own root is refused.
    #[error("CA root is not acceptable")]
    Bundle(#[from] BundleError),
}

/// Why a [`Ca`](crate::Ca) does not issue.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The id is of another trust domain than the CA.
    #[error("id is of trust domain {actual}, and the CA issues for {expected}")]
    TrustDomain {
        /// The CA's trust domain.
        expected: TrustDomain,
        /// The id's trust domain.
        actual: TrustDomain,
    },
    /// Nothing would be valid for as little as a second, which is what certificates count in.
    #[error("lifetime is shorter than a second")]
    Lifetime,
    /// A certificate of the CA has expired, so that nothing it signs is valid.
    #[error("CA is not valid now")]
    Expired {
        /// Until when it was.
        not_after: SystemTime,
    },
    /// A certificate of the CA is not valid yet.
    #[error("CA is not valid yet")]
    NotYetValid {
        /// From when it will be.
        not_before: SystemTime,
    },
    /// The crypto library refuses.
    #[error("CA cannot sign")]
    Sign(#[from] SignError),
    /// What was signed is not an SVID: the id has no path, for example.
    #[error("nothing acceptable was issued")]
    Svid(#[from] SvidError),
}

/// What the library that makes certificates and keys found wrong.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct SignError(#[from] pub(crate) rcgen::Error);
