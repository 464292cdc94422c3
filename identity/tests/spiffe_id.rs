//! Ids, trust domains and service accounts by the vectors of `vectors/`, and beside another implementation.

#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

mod vectors;

use std::collections::BTreeSet;
use std::error::Error;

use inpod_identity::{ParseError, ServiceAccount, ServiceAccountError, SpiffeId, TrustDomain};
use proptest::prelude::*;
use vectors::Line;

const IDS: &str = include_str!("vectors/ids.txt");
const BYTES: &str = include_str!("vectors/bytes.txt");
const TRUST_DOMAINS: &str = include_str!("vectors/trust_domains.txt");
const SERVICE_ACCOUNTS: &str = include_str!("vectors/service_accounts.txt");
const DIFFERENCES: &str = include_str!("vectors/differences.txt");

/// A refusal as the vectors write it: its name, and the one number that tells where or how much.
fn told(error: ParseError) -> String {
    match error {
        ParseError::IdTooLong { actual, .. } => format!("IdTooLong {actual}"),
        ParseError::NotSpiffe => "NotSpiffe".into(),
        ParseError::NoTrustDomain => "NoTrustDomain".into(),
        ParseError::TrustDomainTooLong { actual, .. } => format!("TrustDomainTooLong {actual}"),
        ParseError::TrustDomainByte { at, .. } => format!("TrustDomainByte {at}"),
        ParseError::EmptySegment { at } => format!("EmptySegment {at}"),
        ParseError::RelativeSegment { at } => format!("RelativeSegment {at}"),
        ParseError::PathByte { at, .. } => format!("PathByte {at}"),
        other => format!("{other:?}"),
    }
}

/// What is said of a refusal is short and cannot break a log, whatever was refused.
fn assert_printable(error: &dyn Error, line: &Line) {
    let text = error.to_string();
    let is_plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    assert!(is_plain && text.len() < 120, "{line}: {text:?}");
}

#[test]
fn ids_are_what_the_vectors_say() {
    let lines = vectors::lines(IDS).chain(vectors::lines(BYTES));
    for line in lines {
        let found = match line.text.parse::<SpiffeId>() {
            Ok(id) => {
                assert_eq!(id.as_str(), line.text, "{line}");
                assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), line.text, "{line}");
                "ok".into()
            }
            Err(error) => {
                assert_printable(&error, &line);
                if let ParseError::TrustDomainByte { byte, at } | ParseError::PathByte { byte, at } = error {
                    assert_eq!(line.text.as_bytes()[at], byte, "{line}");
                }
                told(error)
            }
        };
        assert_eq!(found, line.verdict, "{line}");
    }
}

#[test]
fn trust_domains_are_what_the_vectors_say() {
    for line in vectors::lines(TRUST_DOMAINS) {
        let found = match line.text.parse::<TrustDomain>() {
            Ok(domain) => {
                assert_eq!(domain.as_str(), line.text, "{line}");
                "ok".into()
            }
            Err(error) => {
                assert_printable(&error, &line);
                told(error)
            }
        };
        assert_eq!(found, line.verdict, "{line}");
    }
}

#[test]
fn service_accounts_are_what_the_vectors_say() {
    for line in vectors::lines(SERVICE_ACCOUNTS) {
        let id: SpiffeId = line.text.parse().unwrap();
        let found = match ServiceAccount::try_from(&id) {
            Ok(account) => {
                assert_eq!(account.spiffe_id(&id.trust_domain()), id, "{line}");
                "ok"
            }
            Err(ServiceAccountError::Path) => "Path",
            Err(ServiceAccountError::Namespace) => "Namespace",
            Err(ServiceAccountError::Name) => "Name",
            Err(_) => "another",
        };
        assert_eq!(found, line.verdict, "{line}");
    }
}

/// The vectors themselves: enough, none twice, and every character in every place.
#[test]
fn the_vectors_are_complete() {
    let files = [IDS, BYTES, TRUST_DOMAINS, SERVICE_ACCOUNTS];
    assert!(files.into_iter().flat_map(vectors::lines).count() >= 3000);
    for file in files {
        let lines: Vec<_> = vectors::lines(file).collect();
        let texts: BTreeSet<_> = lines.iter().map(|line| &line.text).collect();
        assert_eq!(texts.len(), lines.len(), "a text is there twice");
    }
    let texts: BTreeSet<_> = vectors::lines(BYTES).map(|line| line.text).collect();
    for place in [
        ["spiffe://", "b/x"],
        ["spiffe://a", "b/x"],
        ["spiffe://a", ""],
        ["spiffe://td/", "b"],
        ["spiffe://td/a", "b/c"],
        ["spiffe://td/a", ""],
        ["spiffe://td/", "/b"],
        ["", "spiffe://td/x"],
        ["spi", "fe://td/x"],
    ] {
        for character in '\0'..='\u{ff}' {
            let text = format!("{}{character}{}", place[0], place[1]);
            assert!(texts.contains(&text), "{text:?} is missing");
        }
    }
}

// Beside the `spiffe` crate.

/// Why the other implementation may decide otherwise: the section of each line in `differences.txt`, found again.
fn explains(text: &str, line: &Line) -> bool {
    match line.verdict.as_str() {
        // Once the capitals before the path are small, ours decides as theirs did.
        "capitals" => {
            let slash = text.match_indices('/').nth(2).map_or(text.len(), |(at, _)| at);
            let small = format!("{}{}", text[..slash].to_ascii_lowercase(), &text[slash..]);
            small != text && small.parse::<SpiffeId>().is_ok()
        }
        "longer" => text.len() > 2048,
        _ => false,
    }
}

/// Both decide alike, and read the same of what they take; or a line of `differences.txt` says why not.
fn compare(text: &str) -> Result<(), TestCaseError> {
    let differences: Vec<_> = vectors::lines(DIFFERENCES).collect();
    match (text.parse::<SpiffeId>(), text.parse::<spiffe::SpiffeId>()) {
        (Ok(ours), Ok(theirs)) => {
            let domain = ours.trust_domain();
            prop_assert_eq!(domain.as_str(), theirs.trust_domain_name());
            prop_assert_eq!(ours.path(), theirs.path());
            prop_assert_eq!(ours.as_str(), theirs.to_string());
        }
        (Err(_), Err(_)) => {}
        (ours, theirs) => {
            let is_known = differences.iter().any(|line| explains(text, line));
            prop_assert!(is_known, "{:?}: ours {:?}, theirs {:?}", text, ours, theirs);
        }
    }
    Ok(())
}

#[test]
fn every_vector_is_decided_alike_by_another_implementation() {
    for line in [IDS, BYTES, TRUST_DOMAINS, SERVICE_ACCOUNTS].into_iter().flat_map(vectors::lines) {
        compare(&line.text).unwrap();
    }
}

/// Each line of `differences.txt` is true: the two still differ there.
#[test]
fn the_differences_are_there() {
    for line in vectors::lines(DIFFERENCES) {
        let (ours, theirs) =
            (line.text.parse::<SpiffeId>().is_ok(), line.text.parse::<spiffe::SpiffeId>().is_ok());
        assert_ne!(ours, theirs, "{line}");
        assert!(explains(&line.text, &line), "{line}");
    }
}

/// Ids that are nearly right: pieces of right ones, put together at random.
fn nearly_an_id() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9._-]{1,8}".prop_map(String::from),
        3 => Just("/".into()),
        2 => "[A-Z]{1,2}".prop_map(String::from),
        1 => prop::sample::select(vec![
            ".", "..", "//", "%2e", "%41", "%", ":80", "@", "?", "#", "\\", " ", "\0", "\n", "ä", "\u{2025}", "spiffe://",
        ]).prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
    ];
    let pieces = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    let scheme = prop_oneof![9 => Just("spiffe://"), 1 => prop::sample::select(vec!["", "spiffe:/", "Spiffe://", "http://"])];
    (scheme, pieces).prop_map(|(scheme, rest)| format!("{scheme}{rest}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5000) })]

    #[test]
    fn nearly_right_ids_are_decided_alike(text in nearly_an_id()) {
        compare(&text)?;
    }

    #[test]
    fn ids_about_as_long_as_they_may_be_are_decided_alike(domain in 250..260_usize, whole in 2040..2056_usize) {
        let before = format!("spiffe://{}/", "d".repeat(domain));
        compare(&format!("{before}{}", "p".repeat(whole - before.len())))?;
    }

    #[test]
    fn any_text_at_all_is_decided_alike(text in any::<String>()) {
        compare(&text)?;
        compare(&format!("spiffe://{text}"))?;
        compare(&format!("spiffe://td/{text}"))?;
    }
}
