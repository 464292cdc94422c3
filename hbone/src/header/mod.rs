//! Header fields of a CONNECT and of its answer, as values.
//!
//! ```text
//!   HeaderMap --read--> Baggage, Forwarded, TraceParent, TraceState, ForwardedNetwork --write--> HeaderMap
//! ```
//!
//! Values are always valid: what is written is read back as the same value, and within the bounds that reading has. What
//! a peer claims in them is not proof of anything; use them for telemetry, never to let somebody in.
//!
//! ```
//! use http::HeaderMap;
//! use inpod_hbone::header::{self, Baggage, Forwarded, Hop};
//!
//! let mut headers = HeaderMap::new();
//! let mut baggage = Baggage::default();
//! baggage.push("service.name".parse()?, "web")?;
//! header::write(&mut headers, &baggage);
//! header::write(&mut headers, &Forwarded::from(Hop::from_client("10.0.0.1:4000".parse()?)));
//!
//! assert_eq!(headers["forwarded"], "for=\"10.0.0.1:4000\"");
//! assert_eq!(header::read::<Baggage>(&headers)?.unwrap().get("service.name"), Some("web"));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

mod baggage;
mod error;
mod forwarded;
mod network;
mod node;
mod scan;
mod token;
mod traceparent;
mod tracestate;

pub use baggage::{Baggage, Member, Property};
pub use error::{Expected, FieldError};
pub use forwarded::{Forwarded, Hop};
pub use network::ForwardedNetwork;
pub use node::{Node, NodeName, NodePort, Obfuscated};
pub use token::Token;
pub use traceparent::TraceParent;
pub use tracestate::{StateKey, StateValue, TraceState};

/// A header field whose value has a type. Its [`Display`] is what goes on the wire, and [`FromStr`] reads it.
pub trait Field: FromStr<Err = FieldError> + Display + sealed::Sealed {
    /// The field's name.
    const NAME: HeaderName;
    /// Whether it may come in several lines.
    const LINES: Lines;
}

/// How often a field may come in one request or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Once: two are an error, because readers would differ in which of them they take.
    One,
    /// It is a list, and several lines are one list in their order (RFC 9110 section 5.3).
    List,
}

/// Reads a field; `None` if it is not there.
///
/// # Errors
///
/// If what is there is not a value of the type, see [`FieldError`].
pub fn read<F: Field>(headers: &HeaderMap) -> Result<Option<F>, FieldError> {
    let mut lines = headers.get_all(F::NAME).iter();
    let Some(first) = lines.next() else {
        return Ok(None);
    };
    let first = text(first)?;
    let Some(second) = lines.next() else {
        return first.parse().map(Some);
    };
    if F::LINES == Lines::One {
        return Err(FieldError::Repeated);
    }
    let mut joined = first.to_owned();
    for line in std::iter::once(second).chain(lines) {
        joined.push(',');
        joined.push_str(text(line)?);
        if joined.len() > MAX_LENGTH {
            return Err(FieldError::TooLong { length: joined.len(), max: MAX_LENGTH });
        }
    }
    joined.parse().map(Some)
}

/// Writes a field, in the place of any that is there. An empty list is written as no field.
pub fn write<F: Field>(headers: &mut HeaderMap, field: &F) {
    let text = field.to_string();
    if text.is_empty() {
        headers.remove(F::NAME);
        return;
    }
    #[expect(clippy::expect_used, reason = "every field prints as visible ASCII, which proptests hold")]
    let value = HeaderValue::try_from(text).expect("a field is a valid header value");
    headers.insert(F::NAME, value);
}

fn text(value: &HeaderValue) -> Result<&str, FieldError> {
    value.to_str().map_err(|_| FieldError::NotText)
}

/// How many bytes `value` is written in.
fn length(value: &impl Display) -> usize {
    let mut length = Length(0);
    // To count never fails.
    let _ = write!(length, "{value}");
    length.0
}

struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len());
        Ok(())
    }
}

/// Bytes of one field, read or written: what W3C Baggage section 3.3.2 asks every reader of baggage to take. The others
/// are shorter.
const MAX_LENGTH: usize = 8192;

mod sealed {
    /// Only the fields of this module.
    pub trait Sealed {}
}

macro_rules! field {
    ($type:ty, $name:literal, $lines:ident) => {
        impl crate::header::sealed::Sealed for $type {}
        impl crate::header::Field for $type {
            const NAME: http::header::HeaderName = http::header::HeaderName::from_static($name);
            const LINES: crate::header::Lines = crate::header::Lines::$lines;
        }
    };
}
use field;
