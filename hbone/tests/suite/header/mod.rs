//! Header fields, as values and as text; a file for each specification.

use std::fmt::Debug;

use http::{HeaderMap, HeaderValue};
use inpod_hbone::header::{self, Field, FieldError};

mod baggage;
mod forwarded;
mod lines;
mod trace;

/// Writes the field and reads it back.
fn through_headers<F: Field>(field: &F) -> Option<F> {
    let mut headers = HeaderMap::new();
    header::write(&mut headers, field);
    header::read(&headers).unwrap()
}

/// The field in the lines given.
fn of_lines<F: Field>(lines: &[&str]) -> Result<Option<F>, FieldError> {
    header::read(&lines.iter().map(|line| (F::NAME, line_of(line))).collect())
}

fn line_of(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap()
}

/// The text is read, and written as `canonical`, which is read as the same.
fn is_written_as<F: Field + PartialEq + Debug>(text: &str, canonical: &str) -> F {
    let value: F = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(value.to_string(), canonical, "{text}");
    assert_eq!(canonical.parse::<F>().unwrap(), value);
    value
}

/// Text that is read is written as text that is read as the same.
fn is_stable<F: Field + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<F>() {
        assert_eq!(value.to_string().parse::<F>().unwrap(), value);
    }
}

fn fault<F: Field + Debug>(text: &str) -> FieldError {
    text.parse::<F>().expect_err(text)
}
