//! How a field that comes in several lines is read.

use http::{HeaderMap, HeaderValue};
use inpod_hbone::header::{self, Baggage, Expected, FieldError, ForwardedNetwork, TraceParent, TraceState};

use super::{fault, is_written_as, of_lines, through_headers};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_field_that_is_not_there_is_none() {
    assert_eq!(header::read::<Baggage>(&HeaderMap::new()), Ok(None));
    assert_eq!(header::read::<TraceParent>(&HeaderMap::new()), Ok(None));
}

/// RFC 9110 section 5.3.
#[test]
fn lines_of_a_list_are_one_list() {
    let baggage: Baggage = of_lines(&["a=1,b=2", "c=3"]).unwrap().unwrap();
    assert_eq!(baggage.to_string(), "a=1,b=2,c=3");
    let state: TraceState = of_lines(&["a=1", "", "b=2"]).unwrap().unwrap();
    assert_eq!(state.to_string(), "a=1,b=2");
}

/// Readers would differ in which line they take.
#[test]
fn a_second_line_of_a_single_field_is_an_error() {
    assert_eq!(of_lines::<TraceParent>(&[PARENT, PARENT]), Err(FieldError::Repeated));
    assert_eq!(of_lines::<ForwardedNetwork>(&["a", "a"]), Err(FieldError::Repeated));
}

#[test]
fn one_bad_line_makes_the_whole_field_bad() {
    assert!(of_lines::<Baggage>(&["a=1", "b"]).is_err());
    assert!(of_lines::<TraceState>(&["a=1", "a=2"]).is_err());
}

#[test]
fn many_lines_are_bounded_together() {
    let line = format!("a={}", "x".repeat(3000));
    let error = of_lines::<Baggage>(&[&line, &line, &line]).unwrap_err();
    assert!(matches!(error, FieldError::TooLong { max: 8192, .. }), "{error:?}");
}

#[test]
fn bytes_that_are_no_text_are_an_error() {
    let mut headers = HeaderMap::new();
    headers.insert("baggage", HeaderValue::from_bytes(b"a=\xff").unwrap());
    assert_eq!(header::read::<Baggage>(&headers), Err(FieldError::NotText));
}

#[test]
fn writing_replaces_and_an_empty_list_is_no_field() {
    let mut headers = HeaderMap::new();
    headers.append("baggage", HeaderValue::from_static("old=1"));
    headers.append("baggage", HeaderValue::from_static("older=1"));
    header::write(&mut headers, &"new=1".parse::<Baggage>().unwrap());
    assert_eq!(headers.get_all("baggage").iter().collect::<Vec<_>>(), ["new=1"]);
    header::write(&mut headers, &Baggage::default());
    assert!(headers.is_empty());
}

#[test]
fn a_network_is_a_token() {
    let network: ForwardedNetwork = is_written_as("network-2", "network-2");
    assert_eq!(network.as_str(), "network-2");
    assert_eq!(through_headers(&network), Some(network));
    for bad in ["", "a b", "a,b", "a;b", "n\u{e9}"] {
        let token = FieldError::Syntax {
            at: bad.find([' ', ',', ';', '\u{e9}']).unwrap_or(0),
            expected: Expected::Token,
        };
        assert_eq!(fault::<ForwardedNetwork>(bad), token, "{bad}");
    }
    assert!(matches!(fault::<ForwardedNetwork>(&"a".repeat(257)), FieldError::TooLong { max: 256, .. }));
}
