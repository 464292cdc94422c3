//! W3C Trace Context, section by section.

use inpod_hbone::header::{Expected, FieldError, StateKey, StateValue, TraceParent, TraceState};
use proptest::prelude::*;

use super::{fault, is_stable, is_written_as, through_headers};

/// Section 3.2.3.
#[test]
fn section_3_2_3_examples() {
    let parent: TraceParent = is_written_as(PARENT, PARENT);
    assert_eq!(parent.trace_id().get(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_eq!(parent.parent_id().get(), 0x00f0_67aa_0ba9_02b7);
    assert!(parent.is_sampled() && !parent.has_random_id());
    let not_sampled = PARENT.replace("-01", "-00");
    assert!(!is_written_as::<TraceParent>(&not_sampled, &not_sampled).is_sampled());
}

/// Section 3.2.2: each part, and its faults.
#[test]
fn section_3_2_2_faults_have_their_place() {
    let syntax = |at, expected| FieldError::Syntax { at, expected };
    for (text, fault_there) in [
        (PARENT.replacen("00", "ff", 1), syntax(0, Expected::Version)),
        (PARENT.replacen("00", "0G", 1), syntax(0, Expected::Hexadecimal)),
        (PARENT.replacen('-', "_", 1), syntax(2, Expected::Separator)),
        (PARENT.replace("4bf92f", "4BF92F"), syntax(3, Expected::Hexadecimal)),
        (
            PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            syntax(3, Expected::Hexadecimal),
        ),
        (PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)), syntax(36, Expected::Hexadecimal)),
        (PARENT.replace("b7-01", "b7_01"), syntax(52, Expected::Separator)),
        (PARENT.replace("-01", "-0"), syntax(53, Expected::Hexadecimal)),
        (PARENT.replace("-01", "-+1"), syntax(53, Expected::Hexadecimal)),
        // Version 00 has nothing more.
        (format!("{PARENT}-00"), syntax(55, Expected::Separator)),
        (format!("{PARENT} "), syntax(55, Expected::Separator)),
        // 55 bytes with too few parts.
        ("0".repeat(55), syntax(2, Expected::Separator)),
        ("-".repeat(55), syntax(0, Expected::Hexadecimal)),
        (String::new(), syntax(0, Expected::Hexadecimal)),
        (format!("00-{}", "\u{e9}".repeat(26)), syntax(3, Expected::Hexadecimal)),
    ] {
        assert_eq!(fault::<TraceParent>(&text), fault_there, "{text:?}");
    }
    assert!(matches!(fault::<TraceParent>(&"0".repeat(513)), FieldError::TooLong { max: 512, .. }));
}

/// Section 3.2.4: a later version may have more, after a dash.
#[test]
fn section_3_2_4_a_later_version_is_read_as_far_as_this_one() {
    let later = PARENT.replacen("00", "cc", 1);
    is_written_as::<TraceParent>(&later, PARENT);
    is_written_as::<TraceParent>(&format!("{later}-what-the-future-will-be-like"), PARENT);
    let glued = FieldError::Syntax { at: 55, expected: Expected::Separator };
    assert_eq!(fault::<TraceParent>(&format!("{later}.what-the-future-will-be-like")), glued);
}

/// Section 3.2.2.5: flags without a meaning are not passed on.
#[test]
fn section_3_2_2_5_unknown_flags_are_cleared() {
    let parent: TraceParent = is_written_as(&PARENT.replace("-01", "-ff"), &PARENT.replace("-01", "-03"));
    assert!(parent.is_sampled() && parent.has_random_id());
    let made = TraceParent::new(parent.trace_id(), parent.parent_id());
    assert_eq!(made.to_string(), PARENT.replace("-01", "-00"));
    assert_eq!(made.sampled().random(), parent);
}

/// Section 3.3.1.1.
#[test]
fn section_3_3_1_1_entries_keep_their_order() {
    let text = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
    let state: TraceState = is_written_as(text, text);
    assert_eq!(state.get("congo"), Some("t61rcWkgMzE"));
    is_written_as::<TraceState>(" a=1 \t,, \t b= 2 ,", "a=1,b= 2");
}

/// Section 3.5: what is written comes first, in the place of what was there.
#[test]
fn section_3_5_a_changed_entry_comes_first() {
    let mut state: TraceState = "a=1,b=2".parse().unwrap();
    state.set(key("b"), value("3")).unwrap();
    assert_eq!(state.to_string(), "b=3,a=1");
    state.set(key("c"), value("4")).unwrap();
    assert_eq!(state.to_string(), "c=4,b=3,a=1");
    assert_eq!(through_headers(&state), Some(state));
}

/// Sections 3.3.1.3.1 and 3.3.1.3.2.
#[test]
fn section_3_3_1_3_keys_and_values() {
    for good in ["a", "1", "a_-*/z", "tenant@system", "0a@b"] {
        assert_eq!(key(good).as_str(), good);
    }
    for bad in ["", "A", "_a", "a b", "a=b", "a,b", "\u{e9}", "@a"] {
        assert!(bad.parse::<StateKey>().is_err(), "{bad:?}");
    }
    assert!("a".repeat(256).parse::<StateKey>().is_ok() && "a".repeat(257).parse::<StateKey>().is_err());
    for good in [" a", "a b", "~!\"", ";"] {
        assert_eq!(value(good).as_str(), good);
    }
    for bad in ["", "a ", "a=b", "a,b", "\t", "\u{e9}", " "] {
        assert!(bad.parse::<StateValue>().is_err(), "{bad:?}");
    }
    assert!("a".repeat(256).parse::<StateValue>().is_ok() && "a".repeat(257).parse::<StateValue>().is_err());
}

/// Section 3.3.1.1: 32 entries, each key once.
#[test]
fn section_3_3_1_1_limits() {
    let entries = |count: usize| (0..count).map(|index| format!("k{index}=1")).collect::<Vec<_>>().join(",");
    assert_eq!(entries(32).parse::<TraceState>().unwrap().entries().count(), 32);
    assert_eq!(fault::<TraceState>(&entries(33)), FieldError::TooMany { max: 32 });
    assert_eq!(fault::<TraceState>("a=1,a=2"), FieldError::Repeated);
    assert!(matches!(fault::<TraceState>(&",".repeat(8193)), FieldError::TooLong { max: 8192, .. }));
    let mut full: TraceState = entries(32).parse().unwrap();
    assert_eq!(full.set(key("new"), value("1")), Err(FieldError::TooMany { max: 32 }));
    full.set(key("k5"), value("2")).unwrap();
    assert_eq!(full.entries().count(), 32);
    for (text, at, expected) in [
        ("a", 1, Expected::Equals),
        ("a=", 2, Expected::Value),
        ("a=b=c", 3, Expected::Separator),
        ("A=1", 0, Expected::Key),
    ] {
        assert_eq!(fault::<TraceState>(text), FieldError::Syntax { at, expected }, "{text}");
    }
}

fn key(text: &str) -> StateKey {
    text.parse().unwrap()
}

fn value(text: &str) -> StateValue {
    text.parse().unwrap()
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

proptest! {
    #[test]
    fn any_parent_comes_back(trace: std::num::NonZeroU128, parent: std::num::NonZeroU64, sampled: bool, random: bool) {
        let mut value = TraceParent::new(trace, parent);
        value = if sampled { value.sampled() } else { value };
        value = if random { value.random() } else { value };
        prop_assert_eq!(through_headers(&value), Some(value));
    }

    #[test]
    fn any_state_comes_back(
        entries in prop::collection::vec(("[a-z0-9][a-z0-9_*/@-]{0,20}", "[ -+.-<>-~]{0,20}[!-+.-<>-~]"), 0..32),
    ) {
        let mut state = TraceState::default();
        for (name, content) in entries {
            state.set(key(&name), value(&content)).unwrap();
        }
        prop_assert_eq!(through_headers(&state).unwrap_or_default(), state);
    }

    #[test]
    fn text_is_stable(state in "[a-z=, \t@]{0,40}", parent in "[0f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-a)?") {
        is_stable::<TraceState>(&state);
        is_stable::<TraceParent>(&parent);
    }
}
