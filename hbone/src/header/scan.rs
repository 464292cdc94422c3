//! Reads a header field from left to right.

use std::borrow::Cow;

use super::token::{MAX_LENGTH as MAX_TOKEN, is_token_byte};
use super::{Expected, FieldError};

pub(super) struct Scanner<'a> {
    rest: &'a str,
    length: usize,
}

impl<'a> Scanner<'a> {
    /// Of a text of at most `max` bytes.
    pub(super) fn new(text: &'a str, max: usize) -> Result<Self, FieldError> {
        if text.len() > max {
            return Err(FieldError::TooLong { length: text.len(), max });
        }
        Ok(Self { rest: text, length: text.len() })
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.bytes().next()
    }

    /// Takes `byte`, if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let stripped = self.rest.strip_prefix(char::from(byte));
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !wanted(byte)).unwrap_or(self.rest.len());
        // Never cuts a character in two: no field wants bytes that are not ASCII.
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or(("", self.rest));
        self.rest = rest;
        taken
    }

    /// Optional white space, RFC 9110 section 5.6.3.
    pub(super) fn white_space(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    pub(super) fn token(&mut self) -> Result<&'a str, FieldError> {
        let fault = self.fault(Expected::Token);
        let token = self.take_while(is_token_byte);
        if (1..=MAX_TOKEN).contains(&token.len()) { Ok(token) } else { Err(fault) }
    }

    /// A quoted string, RFC 9110 section 5.6.4, of ASCII.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, FieldError> {
        if !self.eat(b'"') {
            return Err(self.fault(Expected::Value));
        }
        let mut text = Cow::Borrowed(self.unescaped());
        while !self.eat(b'"') {
            let escaped = if self.eat(b'\\') { self.peek().filter(|byte| is_text(*byte)) } else { None };
            let escaped = escaped.ok_or_else(|| self.fault(Expected::ClosingQuote))?;
            self.eat(escaped);
            text.to_mut().push(char::from(escaped));
            text.to_mut().push_str(self.unescaped());
        }
        Ok(text)
    }

    /// What stands for itself in a quoted string.
    fn unescaped(&mut self) -> &'a str {
        self.take_while(|byte| is_text(byte) && !matches!(byte, b'"' | b'\\'))
    }

    pub(super) fn expect(&mut self, byte: u8, expected: Expected) -> Result<(), FieldError> {
        if self.eat(byte) { Ok(()) } else { Err(self.fault(expected)) }
    }

    pub(super) fn end(&self, expected: Expected) -> Result<(), FieldError> {
        if self.is_at_end() { Ok(()) } else { Err(self.fault(expected)) }
    }

    pub(super) fn fault(&self, expected: Expected) -> FieldError {
        FieldError::Syntax { at: self.length - self.rest.len(), expected }
    }
}

/// What may be in a quoted string, of ASCII.
pub(super) fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~')
}
