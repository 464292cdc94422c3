//! Why a text is not the value of a header field.

use std::fmt;

use thiserror::Error;

/// Why a header field cannot be read, or a part cannot be added to it.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldError {
    /// It has bytes other than visible ASCII, space and tab.
    #[error("the field is not visible ASCII")]
    NotText,
    /// It is longer than is read or written.
    #[error("the field has {length} bytes, and {max} are the most")]
    TooLong {
        /// Bytes that it has, or that the text read so far has.
        length: usize,
        /// The most that are taken.
        max: usize,
    },
    /// It has more members than are read or written.
    #[error("the field has more than {max} members")]
    TooMany {
        /// The most that are taken.
        max: usize,
    },
    /// The field, or a part of it that may be there once, is there again.
    #[error("the field or a part of it is repeated")]
    Repeated,
    /// It does not follow its grammar.
    #[error("expected {expected} at byte {at}")]
    Syntax {
        /// Bytes before the fault, in the field or in the one value at fault.
        at: usize,
        /// What should be there.
        expected: Expected,
    },
}

/// What the grammar of a field has at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// A token (RFC 9110 section 5.6.2).
    Token,
    /// A value: a token, a quoted string, or what the field allows.
    Value,
    /// The end of a quoted string.
    ClosingQuote,
    /// `=`.
    Equals,
    /// A separator, or the end.
    Separator,
    /// An address, a name that begins with `_`, or `unknown` (RFC 7239 section 6).
    Node,
    /// A key of tracestate.
    Key,
    /// Lower case hexadecimal digits, not all 0 where that is no id.
    Hexadecimal,
    /// A version, which is not `ff`.
    Version,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "a token",
            Self::Value => "a value",
            Self::ClosingQuote => "a closing quote",
            Self::Equals => "an equals sign",
            Self::Separator => "a separator or the end",
            Self::Node => "a node",
            Self::Key => "a key",
            Self::Hexadecimal => "hexadecimal digits",
            Self::Version => "a version",
        })
    }
}
