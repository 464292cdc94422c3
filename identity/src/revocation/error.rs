//! What can be wrong with revocation lists, and what they refuse.

use std::fmt::Write;
use std::time::SystemTime;

use thiserror::Error;

use crate::error::PathError;

/// Why revocation lists are not taken. Whatever was in force stays in force.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CrlsError {
    /// The PEM text has no `X509 CRL` section.
    #[error("no revocation list in PEM")]
    None,
    /// The PEM text is cut short or is not base64.
    #[error("malformed PEM")]
    Pem,
    /// Together they are too large.
    #[error("revocation lists have {actual} bytes, more than {limit}")]
    TooLarge {
        /// The most bytes that are accepted.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// There are too many.
    #[error("there are {actual} revocation lists, more than {limit}")]
    TooMany {
        /// The most that are accepted.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// One of them cannot be read, or is of a kind that is not supported: version 1, delta, without a next update.
    #[error("revocation list {index} is malformed or of a kind that is not supported")]
    Malformed {
        /// Which one, from zero.
        index: usize,
        /// What is wrong with it.
        source: PathError,
    },
    /// One of them has an issuing distribution point (RFC 5280 §5.2.5), so that it may not be the whole list of its issuer.
    #[error("revocation list {index} may be a part of a list")]
    Partial {
        /// Which one, from zero.
        index: usize,
    },
    /// One of them has a root's name and is not signed by a root of that name that may sign lists.
    #[error("revocation list {index} is not signed by the root that it names")]
    Signature {
        /// Which one, from zero.
        index: usize,
    },
    /// One of them is older than the one of the same issuer that is in force.
    #[error("revocation list {index} is older than the one in force")]
    Older {
        /// Which one, from zero.
        index: usize,
    },
}

/// Why a path is refused although its signatures, dates and usages are right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// Its issuer revoked a certificate of it.
    #[error("certificate with serial number {serial} is revoked")]
    Revoked {
        /// The certificate's serial number, in hexadecimal; of a long one, the beginning.
        serial: String,
    },
    /// The only lists of an issuer are overdue, and the policy is to refuse then.
    #[error("revocation list of the issuer has expired")]
    Expired {
        /// When there should have been another.
        next_update: SystemTime,
    },
    /// An issuer has no list in force, and the policy is to refuse then.
    #[error("issuer has no revocation list")]
    Unknown,
}

impl RevocationError {
    pub(super) fn revoked(serial: &[u8]) -> Self {
        /// The longest serial number that there should be (RFC 5280 §4.1.2.2).
        const SHOWN: usize = 20;
        let serial = serial.iter().take(SHOWN).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self::Revoked { serial }
    }
}
