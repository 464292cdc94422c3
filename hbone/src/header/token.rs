//! The word of which most header fields are made.

use std::fmt;
use std::str::FromStr;

use super::scan::Scanner;
use super::{Expected, FieldError};

/// A token: letters, digits and ``!#$%&'*+-.^_`|~`` (RFC 9110 section 5.6.2), at most 256 of them.
///
/// Values are always valid. Compared byte by byte; where a field's names have no case, its reader makes them lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(Box<str>);

impl Token {
    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For text that the scanner took as a token.
    pub(super) fn scanned(text: &str) -> Self {
        Self(text.into())
    }
}

impl FromStr for Token {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let mut scanner = Scanner::new(text, MAX_LENGTH)?;
        let token = scanner.token()?;
        scanner.end(Expected::Token)?;
        Ok(Self::scanned(token))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// As long as the longest key of tracestate; nothing in use comes near it.
pub(super) const MAX_LENGTH: usize = 256;
