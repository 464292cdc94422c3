//! What can be wrong with a bundle document.

use thiserror::Error;

use crate::error::AuthorityError;

/// Why a text is not a [`BundleDocument`](crate::BundleDocument), or cannot be written as one.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// It is too large.
    #[error("bundle document has {actual} bytes, more than {limit}")]
    TooLarge {
        /// The most bytes that are accepted.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// It is no JSON, or not of this shape: an object with an array `keys` of objects, and two whole numbers that may be
    /// left out.
    #[error("bundle document is malformed at line {line}, column {column}")]
    Json {
        /// The line, from one.
        line: usize,
        /// The column, from one.
        column: usize,
    },
    /// The certificate of an entry is not Base64.
    #[error("certificate of key {index} is not base64")]
    Base64 {
        /// Which entry, from zero.
        index: usize,
    },
    /// The certificate of an entry cannot vouch for others.
    #[error("certificate of key {index} is not a root")]
    Root {
        /// Which entry, from zero.
        index: usize,
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// The certificate's key has no form in RFC 7518 or RFC 8037.
    #[error("key {index} is of a kind that has no form in JSON")]
    UnknownKey {
        /// Which entry, from zero.
        index: usize,
    },
    /// The entry tells another key than its certificate has.
    #[error("certificate of key {index} has another key than the entry tells")]
    OtherKey {
        /// Which entry, from zero.
        index: usize,
    },
}

impl DocumentError {
    /// Without what the library says: it quotes what it found.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self::Json { line: error.line(), column: error.column() }
    }
}
