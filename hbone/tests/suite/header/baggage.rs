//! W3C Baggage, section by section.

use inpod_hbone::header::{Baggage, Expected, FieldError, Token};
use proptest::prelude::*;

use super::{fault, is_stable, is_written_as, through_headers};

/// Section 3.3.1 and its examples.
#[test]
fn section_3_3_1_members_have_values_and_properties() {
    let text = "SomeKey \t = \t SomeValue2 \t ; \t SomeProp = SomeVal, key2=2;b";
    let baggage: Baggage = is_written_as(text, "SomeKey=SomeValue2;SomeProp=SomeVal,key2=2;b");
    assert_eq!(baggage.get("SomeKey"), Some("SomeValue2"));
    assert_eq!(baggage.get("key2"), Some("2"));
    assert_eq!(baggage.get("somekey"), None, "keys have case");
    let properties = baggage.members()[0].properties();
    assert_eq!((properties[0].key().as_str(), properties[0].value()), ("SomeProp", Some("SomeVal")));
    let properties = baggage.members()[1].properties();
    assert_eq!((properties[0].key().as_str(), properties[0].value()), ("b", None));
}

/// As Istio's peers write it.
#[test]
fn a_mesh_peer_s_baggage_is_read() {
    let text = "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web-v1,service.name=web,service.version=v1";
    let baggage: Baggage = is_written_as(text, text);
    assert_eq!(baggage.get("k8s.deployment.name"), Some("web-v1"));
    assert_eq!(baggage.members().len(), 5);
}

/// Section 3.3.1.3.
#[test]
fn section_3_3_1_3_values_are_percent_encoded_utf_8() {
    let baggage: Baggage = is_written_as("a=%C3%A9%20%2c,b=1=2", "a=%C3%A9%20%2C,b=1=2");
    assert_eq!((baggage.get("a"), baggage.get("b")), (Some("\u{e9} ,"), Some("1=2")));
    let baggage: Baggage = is_written_as("a=%ff", "a=%EF%BF%BD");
    assert_eq!(baggage.get("a"), Some("\u{fffd}"), "what is not UTF-8 is replaced");
    let baggage: Baggage = is_written_as("a=100%", "a=100%25");
    assert_eq!(baggage.get("a"), Some("100%"));
}

#[test]
fn a_value_with_a_line_break_stays_one_line() {
    let mut baggage = Baggage::default();
    baggage.push(token("a"), "b\r\nevil: 1").unwrap();
    assert_eq!(baggage.to_string(), "a=b%0D%0Aevil:%201");
    assert_eq!(through_headers(&baggage), Some(baggage));
}

#[test]
fn an_empty_value_is_a_value_and_nothing_is_no_members() {
    let baggage: Baggage = is_written_as("a=", "a=");
    assert_eq!(baggage.get("a"), Some(""));
    for nothing in ["", " ", "\t "] {
        assert!(is_written_as::<Baggage>(nothing, "").members().is_empty());
    }
}

#[test]
fn the_last_of_a_repeated_key_counts() {
    assert_eq!(is_written_as::<Baggage>("a=1,a=2", "a=1,a=2").get("a"), Some("2"));
}

#[test]
fn what_the_grammar_does_not_have_is_refused_with_its_place() {
    for (text, at, expected) in [
        ("a", 1, Expected::Equals),
        ("=1", 0, Expected::Token),
        ("a=1,", 4, Expected::Token),
        (",a=1", 0, Expected::Token),
        ("a=1 2", 4, Expected::Separator),
        ("a=\"1\"", 2, Expected::Separator),
        ("a=\\", 2, Expected::Separator),
        ("a=1;", 4, Expected::Token),
        ("a b=1", 2, Expected::Equals),
        ("a=\u{e9}", 2, Expected::Separator),
        ("a=1\n", 3, Expected::Separator),
        ("a=\0", 2, Expected::Separator),
    ] {
        assert_eq!(fault::<Baggage>(text), FieldError::Syntax { at, expected }, "{text:?}");
    }
}

/// Section 3.3.1: 180 members; section 3.3.2: 8192 bytes.
#[test]
fn section_3_3_2_limits() {
    let members = |count: usize| vec!["a=1"; count].join(",");
    assert_eq!(members(180).parse::<Baggage>().unwrap().members().len(), 180);
    assert_eq!(fault::<Baggage>(&members(181)), FieldError::TooMany { max: 180 });
    let long = |bytes: usize| format!("a={}", "x".repeat(bytes - 2));
    assert!(long(8192).parse::<Baggage>().is_ok());
    assert_eq!(fault::<Baggage>(&long(8193)), FieldError::TooLong { length: 8193, max: 8192 });
    // It would be longer when it is written than it is.
    let grows = format!("a={}", "%".repeat(8000));
    assert!(matches!(fault::<Baggage>(&grows), FieldError::TooLong { max: 8192, .. }));
}

#[test]
fn what_does_not_fit_is_not_added() {
    let mut baggage: Baggage = "a=1".parse().unwrap();
    let before = baggage.clone();
    assert!(matches!(baggage.push(token("b"), "\u{e9}".repeat(5000)), Err(FieldError::TooLong { .. })));
    assert_eq!(baggage, before);
}

fn token(text: &str) -> Token {
    text.parse().unwrap()
}

proptest! {
    #[test]
    fn any_values_come_back(members in prop::collection::vec(("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", ".{0,20}"), 0..20)) {
        let mut baggage = Baggage::default();
        for (key, value) in &members {
            baggage.push(token(key), value).unwrap();
        }
        prop_assert_eq!(through_headers(&baggage).unwrap_or_default(), baggage);
    }

    #[test]
    fn text_is_stable(text in "([a-z%=;, \t\"\u{e9}]|%[0-9A-F]{2}){0,40}") {
        is_stable::<Baggage>(&text);
    }
}
