//! `forwarded`: through whose hands a request came (RFC 7239).

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::str::FromStr;

use super::scan::{Scanner, is_text};
use super::token::{MAX_LENGTH as MAX_TOKEN, is_token_byte};
use super::{Expected, FieldError, MAX_LENGTH, Node, Token};

/// The `forwarded` field: hops, the first is the one nearest to the client.
///
/// At most 32 hops and 8192 bytes of text. A hop that says nothing is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    hops: Vec<Hop>,
    /// Bytes of the text.
    length: usize,
}

impl Forwarded {
    /// All hops, in their order.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Adds what one more proxy has to say.
    ///
    /// # Errors
    ///
    /// [`FieldError::TooMany`] and [`FieldError::TooLong`]; nothing is added then.
    pub fn push(&mut self, hop: Hop) -> Result<(), FieldError> {
        let text = super::length(&hop);
        if text == 0 {
            return Ok(());
        }
        if self.hops.len() == MAX_HOPS {
            return Err(FieldError::TooMany { max: MAX_HOPS });
        }
        let separator = if self.hops.is_empty() { 0 } else { SEPARATOR.len() };
        let length = self.length.saturating_add(separator).saturating_add(text);
        if length > MAX_LENGTH {
            return Err(FieldError::TooLong { length, max: MAX_LENGTH });
        }
        self.length = length;
        self.hops.push(hop);
        Ok(())
    }
}

impl From<Hop> for Forwarded {
    /// One hop always fits, because each of its parts is bounded.
    fn from(hop: Hop) -> Self {
        let mut forwarded = Self::default();
        let fits = forwarded.push(hop);
        debug_assert!(fits.is_ok(), "{fits:?}");
        forwarded
    }
}

/// What one proxy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    client: Option<Node>,
    by: Option<Node>,
    host: Option<Box<str>>,
    proto: Option<Token>,
    extensions: Vec<(Token, Box<str>)>,
}

impl Hop {
    /// A hop that tells who asked.
    pub fn from_client(address: SocketAddr) -> Self {
        Self::default().with_client(address.into())
    }

    /// `for`: who asked the proxy.
    pub fn client(&self) -> Option<&Node> {
        self.client.as_ref()
    }

    /// `by`: where the proxy was asked.
    pub fn by(&self) -> Option<&Node> {
        self.by.as_ref()
    }

    /// `host`: what was asked for, a name or an address, perhaps with a port.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// `proto`: the scheme of the request.
    pub fn proto(&self) -> Option<&Token> {
        self.proto.as_ref()
    }

    /// Other parameters, their names in lower case. At most 8, with values of at most 256 bytes.
    pub fn extensions(&self) -> impl Iterator<Item = (&Token, &str)> {
        self.extensions.iter().map(|(name, value)| (name, &**value))
    }

    /// With `for`.
    pub fn with_client(mut self, node: Node) -> Self {
        self.client = Some(node);
        self
    }

    /// With `by`.
    pub fn with_by(mut self, node: Node) -> Self {
        self.by = Some(node);
        self
    }

    /// With `host`.
    ///
    /// # Errors
    ///
    /// If it has characters that no host has (RFC 3986 section 3.2.2), or is empty or longer than 261 bytes.
    pub fn with_host(mut self, host: &str) -> Result<Self, FieldError> {
        self.host = Some(valid_host(host)?.into());
        Ok(self)
    }

    /// With `proto`.
    pub fn with_proto(mut self, proto: Token) -> Self {
        self.proto = Some(proto);
        self
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let twice = if is("for") {
            self.client.replace(value.parse()?).is_some()
        } else if is("by") {
            self.by.replace(value.parse()?).is_some()
        } else if is("host") {
            self.host.replace(valid_host(value)?.into()).is_some()
        } else if is("proto") {
            self.proto.replace(value.parse()?).is_some()
        } else {
            return self.extend(Token::scanned(&name.to_ascii_lowercase()), value);
        };
        if twice { Err(FieldError::Repeated) } else { Ok(()) }
    }

    fn extend(&mut self, name: Token, value: &str) -> Result<(), FieldError> {
        if self.extensions.iter().any(|(there, _)| *there == name) {
            return Err(FieldError::Repeated);
        }
        if self.extensions.len() == MAX_EXTENSIONS {
            return Err(FieldError::TooMany { max: MAX_EXTENSIONS });
        }
        if value.len() > MAX_EXTENSION {
            return Err(FieldError::TooLong { length: value.len(), max: MAX_EXTENSION });
        }
        self.extensions.push((name, value.into()));
        Ok(())
    }
}

super::field!(Forwarded, "forwarded", List);

impl FromStr for Forwarded {
    type Err = FieldError;

    /// Empty elements of the list are passed over (RFC 9110 section 5.6.1.2).
    fn from_str(text: &str) -> Result<Self, FieldError> {
        let mut scanner = Scanner::new(text, MAX_LENGTH)?;
        let mut forwarded = Self::default();
        loop {
            scanner.white_space();
            forwarded.push(hop(&mut scanner)?)?;
            scanner.white_space();
            if scanner.is_at_end() {
                return Ok(forwarded);
            }
            scanner.expect(b',', Expected::Separator)?;
        }
    }
}

/// RFC 7239 section 4: pairs may be left out between semicolons; there is no white space in a pair.
fn hop(scanner: &mut Scanner<'_>) -> Result<Hop, FieldError> {
    let mut hop = Hop::default();
    loop {
        if scanner.peek().is_some_and(is_token_byte) {
            let name = scanner.token()?;
            scanner.expect(b'=', Expected::Equals)?;
            let value = value(scanner)?;
            hop.set(name, &value)?;
        }
        // Some writers have a space after the semicolon.
        scanner.white_space();
        if !scanner.eat(b';') {
            return Ok(hop);
        }
        scanner.white_space();
    }
}

fn value<'a>(scanner: &mut Scanner<'a>) -> Result<Cow<'a, str>, FieldError> {
    if scanner.peek() == Some(b'"') { scanner.quoted() } else { scanner.token().map(Cow::Borrowed) }
}

impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, hop) in self.hops.iter().enumerate() {
            let separator = if index == 0 { "" } else { SEPARATOR };
            write!(f, "{separator}{hop}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut pair = |name: &str, value: &dyn fmt::Display| {
            write!(f, "{separator}{name}={}", Quoted(value))?;
            separator = ";";
            Ok(())
        };
        if let Some(client) = &self.client {
            pair("for", client)?;
        }
        if let Some(by) = &self.by {
            pair("by", by)?;
        }
        if let Some(host) = &self.host {
            pair("host", host)?;
        }
        if let Some(proto) = &self.proto {
            pair("proto", proto)?;
        }
        self.extensions.iter().try_for_each(|(name, value)| pair(name.as_str(), value))
    }
}

/// A value as a token if it is one, else as a quoted string.
struct Quoted<'a>(&'a dyn fmt::Display);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shape = Shape { length: 0, is_token: true };
        write!(shape, "{}", self.0)?;
        if shape.is_token && (1..=MAX_TOKEN).contains(&shape.length) {
            return self.0.fmt(f);
        }
        f.write_char('"')?;
        write!(Escaped(f), "{}", self.0)?;
        f.write_char('"')
    }
}

/// What is seen of a value before it is written.
struct Shape {
    length: usize,
    is_token: bool,
}

impl fmt::Write for Shape {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.length = self.length.saturating_add(text.len());
        self.is_token = self.is_token && text.bytes().all(is_token_byte);
        Ok(())
    }
}

/// The inside of a quoted string, RFC 9110 section 5.6.4.
struct Escaped<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        debug_assert!(text.bytes().all(is_text));
        for piece in text.split_inclusive(['"', '\\']) {
            match piece.strip_suffix(['"', '\\']) {
                Some(plain) => {
                    self.0.write_str(plain)?;
                    self.0.write_char('\\')?;
                    self.0.write_str(piece.get(plain.len()..).unwrap_or_default())?;
                }
                None => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

fn valid_host(host: &str) -> Result<&str, FieldError> {
    if host.len() > MAX_HOST {
        return Err(FieldError::TooLong { length: host.len(), max: MAX_HOST });
    }
    let bad = host
        .bytes()
        .position(|byte| !byte.is_ascii_alphanumeric() && !b"-._~!$&'()*+,;=%:[]".contains(&byte));
    match bad {
        None if !host.is_empty() => Ok(host),
        at => Err(FieldError::Syntax { at: at.unwrap_or(0), expected: Expected::Value }),
    }
}

const SEPARATOR: &str = ", ";
/// More proxies than any request passes; the RFC gives no bound.
const MAX_HOPS: usize = 32;
/// Parameters besides the registered four, of which the registry of RFC 7239 section 9 has none in use.
const MAX_EXTENSIONS: usize = 8;
/// As long as a token may be.
const MAX_EXTENSION: usize = 256;
/// A DNS name, a colon and a port, and two brackets.
const MAX_HOST: usize = 253 + 6 + 2;
