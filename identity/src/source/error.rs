//! What can be wrong with material, and with those who give it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;

use super::files::FilesError;
#[cfg(all(feature = "istio-ca", any(feature = "aws-lc-rs", feature = "ring")))]
use super::istio_ca::IstioCaError;
#[cfg(feature = "workload-api")]
use super::workload_api::WorkloadApiError;
#[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
use crate::ca::IssueError;
use crate::error::VerifyError;
use crate::spiffe_id::SpiffeId;
use crate::trust_domain::TrustDomain;

/// Why an SVID and roots are not what a workload can use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MaterialError {
    /// The roots are those of another trust domain.
    #[error("SVID is of trust domain {svid}, and its bundle of {bundle}")]
    TrustDomain {
        /// The SVID's.
        svid: TrustDomain,
        /// The bundle's.
        bundle: TrustDomain,
    },
    /// Nobody is trusted about the SVID's trust domain.
    #[error("SVID is of trust domain {trust_domain}, which has no bundle")]
    NoBundle {
        /// The SVID's.
        trust_domain: TrustDomain,
    },
    /// The SVID is somebody else's.
    #[error("SVID is of {actual}, and {expected} was asked for")]
    Id {
        /// Who was asked for.
        expected: SpiffeId,
        /// Whose it is.
        actual: SpiffeId,
    },
    /// The SVID is not valid yet, or our clock is behind.
    #[error("SVID is not valid yet")]
    NotYetValid {
        /// From when it will be.
        not_before: SystemTime,
    },
    /// The SVID has expired, or our clock is ahead.
    #[error("SVID has expired")]
    Expired {
        /// The last second in which it was valid.
        not_after: SystemTime,
    },
    /// The roots do not vouch for it, or nobody should believe it.
    #[error("SVID does not prove its identity")]
    Verify(#[from] VerifyError),
    /// The crypto provider cannot use the key, or finds that it is not the certificate's.
    #[error("key is not usable")]
    Key(#[source] rustls::Error),
}

/// Why a source or an issuer has nothing new to give.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// What was given cannot be used.
    #[error("what was given is not acceptable")]
    Material(#[from] MaterialError),
    /// The files.
    #[error("files give no SVID")]
    Files(#[from] FilesError),
    /// The embedded CA.
    #[cfg(all(feature = "ca", any(feature = "aws-lc-rs", feature = "ring")))]
    #[error("embedded CA issues no SVID")]
    EmbeddedCa(#[from] IssueError),
    /// Istio's CA.
    #[cfg(all(feature = "istio-ca", any(feature = "aws-lc-rs", feature = "ring")))]
    #[error("Istio CA issues no SVID")]
    IstioCa(#[from] IstioCaError),
    /// The Workload API.
    #[cfg(feature = "workload-api")]
    #[error("Workload API gives no SVID")]
    WorkloadApi(#[from] WorkloadApiError),
    /// The issuer took too long.
    #[error("no answer within {limit:?}")]
    Deadline {
        /// How long it was waited for.
        limit: Duration,
    },
    /// What a source that is not of this crate says.
    #[error("source gives no SVID")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why there is no SVID to use now.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// None was ever given, or it was taken back.
    #[error("there is no SVID")]
    Nothing {
        /// What is in the way, if anything is known of it.
        #[source]
        trouble: Option<Arc<SourceError>>,
    },
    /// The last one is not usable at this time, and no other has come.
    #[error("SVID of {id} is not valid now")]
    Stale {
        /// Whose it is.
        id: SpiffeId,
        /// What is in the way of a new one, if anything is known of it.
        #[source]
        trouble: Option<Arc<SourceError>>,
    },
}
