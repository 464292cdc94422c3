//! `baggage`: what the asking side's workload is called (W3C Baggage).

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::scan::Scanner;
use super::{Expected, FieldError, MAX_LENGTH, Token};

/// The `baggage` field: names with values, in their order.
///
/// Values are any text; on the wire what is not a baggage octet is percent-encoded (section 3.3.1.3). At most 180 members
/// and 8192 bytes of text. Nothing at all is read as no members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage {
    members: Vec<Member>,
    /// Bytes of the text.
    length: usize,
}

impl Baggage {
    /// The value of a key. Where a key is there again, which producers should avoid, the last counts.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members.iter().rev().find(|member| member.key.as_str() == key).map(Member::value)
    }

    /// All members, in their order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Adds a member.
    ///
    /// # Errors
    ///
    /// [`FieldError::TooMany`] and [`FieldError::TooLong`]; nothing is added then.
    pub fn push(&mut self, key: Token, value: impl Into<String>) -> Result<(), FieldError> {
        self.add(Member { key, value: value.into(), properties: Vec::new() })
    }

    fn add(&mut self, member: Member) -> Result<(), FieldError> {
        if self.members.len() == MAX_MEMBERS {
            return Err(FieldError::TooMany { max: MAX_MEMBERS });
        }
        let separator = usize::from(!self.members.is_empty());
        let length = self.length.saturating_add(separator).saturating_add(super::length(&member));
        if length > MAX_LENGTH {
            return Err(FieldError::TooLong { length, max: MAX_LENGTH });
        }
        self.length = length;
        self.members.push(member);
        Ok(())
    }
}

/// A key with its value and properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    key: Token,
    value: String,
    properties: Vec<Property>,
}

impl Member {
    /// The key.
    pub fn key(&self) -> &Token {
        &self.key
    }

    /// The value, decoded.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What is said about the value.
    pub fn properties(&self) -> &[Property] {
        &self.properties
    }
}

/// A property of a member: a name, perhaps with a value. The specification gives none a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    key: Token,
    value: Option<String>,
}

impl Property {
    /// Its name.
    pub fn key(&self) -> &Token {
        &self.key
    }

    /// Its value, decoded.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

super::field!(Baggage, "baggage", List);

impl FromStr for Baggage {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let mut scanner = Scanner::new(text, MAX_LENGTH)?;
        let mut baggage = Self::default();
        scanner.white_space();
        if scanner.is_at_end() {
            return Ok(baggage);
        }
        loop {
            scanner.white_space();
            baggage.add(member(&mut scanner)?)?;
            if scanner.is_at_end() {
                return Ok(baggage);
            }
            scanner.expect(b',', Expected::Separator)?;
        }
    }
}

fn member(scanner: &mut Scanner<'_>) -> Result<Member, FieldError> {
    let key = key(scanner)?;
    scanner.expect(b'=', Expected::Equals)?;
    let mut member = Member { key, value: value(scanner), properties: Vec::new() };
    while scanner.eat(b';') {
        scanner.white_space();
        let key = self::key(scanner)?;
        let value = scanner.eat(b'=').then(|| value(scanner));
        member.properties.push(Property { key, value });
    }
    Ok(member)
}

fn key(scanner: &mut Scanner<'_>) -> Result<Token, FieldError> {
    let key = Token::scanned(scanner.token()?);
    scanner.white_space();
    Ok(key)
}

/// Section 3.3.1.3: what does not decode to UTF-8 becomes U+FFFD.
fn value(scanner: &mut Scanner<'_>) -> String {
    scanner.white_space();
    let raw = scanner.take_while(is_baggage_octet);
    scanner.white_space();
    percent_decode_str(raw).decode_utf8_lossy().into_owned()
}

impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, member) in self.members.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{member}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, utf8_percent_encode(&self.value, ENCODED))?;
        for property in &self.properties {
            write!(f, ";{}", property.key)?;
            if let Some(value) = &property.value {
                write!(f, "={}", utf8_percent_encode(value, ENCODED))?;
            }
        }
        Ok(())
    }
}

/// Section 3.3.1.3: visible ASCII but `"`, `,`, `;` and `\`.
fn is_baggage_octet(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

/// What is no baggage octet, and the percent sign itself; besides, whatever is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%');

/// The grammar of section 3.3.1 has no more.
const MAX_MEMBERS: usize = 180;
