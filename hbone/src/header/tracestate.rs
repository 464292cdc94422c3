//! `tracestate`: what tracing systems add to a trace (W3C Trace Context).

use std::fmt;
use std::str::FromStr;

use super::scan::Scanner;
use super::{Expected, FieldError, MAX_LENGTH};

/// The `tracestate` field: an entry for each tracing system, the last to write comes first.
///
/// At most 32 entries (section 3.3.1.1) and 8192 bytes of text. It means something only beside a
/// [`TraceParent`](super::TraceParent).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceState {
    entries: Vec<(StateKey, StateValue)>,
    /// Bytes of the text.
    length: usize,
}

impl TraceState {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries().find_map(|(there, value)| (there.as_str() == key).then(|| value.as_str()))
    }

    /// All entries, in their order.
    pub fn entries(&self) -> impl Iterator<Item = (&StateKey, &StateValue)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Writes an entry, in the place of what the key had: it comes first (section 3.5).
    ///
    /// # Errors
    ///
    /// [`FieldError::TooMany`] and [`FieldError::TooLong`]; nothing is written then.
    pub fn set(&mut self, key: StateKey, value: StateValue) -> Result<(), FieldError> {
        let others: Vec<_> = self.entries.iter().filter(|(there, _)| *there != key).cloned().collect();
        let mut changed = Self::default();
        for (key, value) in std::iter::once((key, value)).chain(others) {
            changed.add(key, value)?;
        }
        *self = changed;
        Ok(())
    }

    fn add(&mut self, key: StateKey, value: StateValue) -> Result<(), FieldError> {
        if self.entries.iter().any(|(there, _)| *there == key) {
            return Err(FieldError::Repeated);
        }
        if self.entries.len() == MAX_ENTRIES {
            return Err(FieldError::TooMany { max: MAX_ENTRIES });
        }
        let separator = usize::from(!self.entries.is_empty());
        let length = self.length + separator + key.as_str().len() + 1 + value.as_str().len();
        if length > MAX_LENGTH {
            return Err(FieldError::TooLong { length, max: MAX_LENGTH });
        }
        self.length = length;
        self.entries.push((key, value));
        Ok(())
    }
}

/// A tracing system's name: lower case letters, digits, `_`, `-`, `*`, `/` and `@`, the first a letter or digit, at most
/// 256 (level 2 of Trace Context, section 3.3.1.3.1, which takes all that level 1 does).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateKey(Box<str>);

impl StateKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StateKey {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let begins = text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
        if begins && text.len() <= MAX_PART && text.bytes().all(is_key_byte) {
            return Ok(Self(text.into()));
        }
        Err(FieldError::Syntax { at: 0, expected: Expected::Key })
    }
}

/// What a tracing system wrote: visible ASCII and spaces, without `,` and `=` and not with a space at its end, 1 to 256
/// (section 3.3.1.3.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateValue(Box<str>);

impl StateValue {
    /// The value as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StateValue {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let bounded = (1..=MAX_PART).contains(&text.len());
        if bounded && text.bytes().all(is_value_byte) && !text.ends_with(' ') {
            return Ok(Self(text.into()));
        }
        Err(FieldError::Syntax { at: 0, expected: Expected::Value })
    }
}

super::field!(TraceState, "tracestate", List);

impl FromStr for TraceState {
    type Err = FieldError;

    /// Empty members are passed over (section 3.3.1.1).
    fn from_str(text: &str) -> Result<Self, FieldError> {
        let mut scanner = Scanner::new(text, MAX_LENGTH)?;
        let mut state = Self::default();
        loop {
            scanner.white_space();
            if scanner.peek().is_some_and(|next| next != b',') {
                let (key, value) = entry(&mut scanner)?;
                state.add(key, value)?;
            }
            if scanner.is_at_end() {
                return Ok(state);
            }
            scanner.expect(b',', Expected::Separator)?;
        }
    }
}

fn entry(scanner: &mut Scanner<'_>) -> Result<(StateKey, StateValue), FieldError> {
    let fault = scanner.fault(Expected::Key);
    let key = scanner.take_while(is_key_byte).parse().map_err(|_| fault)?;
    scanner.expect(b'=', Expected::Equals)?;
    let fault = scanner.fault(Expected::Value);
    // Spaces before the comma are not the value's (section 3.3.1.1).
    let value = scanner.take_while(is_value_byte).trim_end_matches(' ').parse().map_err(|_| fault)?;
    scanner.white_space();
    Ok((key, value))
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.entries.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{}={}", key.as_str(), value.as_str())?;
        }
        Ok(())
    }
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte)
}

fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=')
}

/// Section 3.3.1.1.
const MAX_ENTRIES: usize = 32;
/// Of a key, section 3.3.1.3.1, and of a value, section 3.3.1.3.2.
const MAX_PART: usize = 256;
