//! Certificates by the vectors of `vectors/certificates.txt`: what [`verify`] makes of each in both roles, and what a client that
//! meets it and a server that meets it do.

#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on has failed"
)]

mod case;
mod forge;
#[path = "../lab/mod.rs"]
mod lab;
#[path = "../vectors/mod.rs"]
mod vectors;

use std::collections::BTreeSet;
use std::fmt::Debug;

use case::Case;
use inpod_identity::{Bundle, LeafError, Role, Rules, SpiffeId, Trust, VerifyError, verify};
use lab::{at_both_ends, cause, domain, now, providers, unix};
use rustls::{CertificateError, Error};

const CERTIFICATES: &str = include_str!("../vectors/certificates.txt");

/// What the vectors say that is trusted.
fn trust(forged: &forge::Forged, rules: Rules) -> Trust {
    let ours = Bundle::new(domain(), vec![forged.root.clone()]).unwrap();
    let theirs = Bundle::new("example.org".parse().unwrap(), vec![forged.other.clone()]).unwrap();
    let trust = Trust::new([ours, theirs]).unwrap();
    trust.with_alias("old.local".parse().unwrap(), domain()).unwrap().with_rules(rules)
}

/// A refusal as the vectors write it.
fn told(error: &VerifyError) -> String {
    match error {
        VerifyError::Leaf(LeafError::NotSpiffe(error)) => format!("NotSpiffe {}", first_word(error)),
        VerifyError::Leaf(error) => first_word(error),
        VerifyError::Chain(error) => first_word(error),
        VerifyError::Path(error) => first_word(&error.to_string()).trim_matches('"').into(),
        VerifyError::Intermediate(error) => format!("Intermediate {}", first_word(error)),
        error => first_word(error),
    }
}

/// The name of an enum's variant.
fn first_word(error: &(impl Debug + ?Sized)) -> String {
    let text = format!("{error:?}");
    text.trim_matches('"').split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().into()
}

/// What rustls gives back, as the vectors write it.
fn told_by_tls(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { .. }) => "CertExpired".into(),
        Error::InvalidCertificate(CertificateError::NotValidYetContext { .. }) => "CertNotValidYet".into(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => "UnknownIssuer".into(),
        error => cause::<VerifyError>(error).map_or_else(|| format!("{error:?}"), told),
    }
}

/// Nothing that is said of a refusal is long, or could break a log, whatever the certificate holds.
fn assert_printable(error: &VerifyError, case: &Case) {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        assert!(
            text.len() < 400 && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()),
            "{case}: {text:?}"
        );
        next = error.source();
    }
}

/// The cases that came out otherwise than their verdict, each told.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn check<E: Debug>(
        &mut self,
        case: &Case,
        found: Result<SpiffeId, E>,
        told: impl Fn(&E) -> String,
        verdict: &str,
    ) {
        let (came_out, detail) = match found {
            Ok(id) => ("ok".into(), id.to_string()),
            Err(error) => (told(&error), format!("{error:?}")),
        };
        if came_out != verdict {
            self.0.push(format!("{case}: {verdict} expected, {came_out} found: {detail}"));
        }
    }

    fn assert_none(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

#[test]
fn certificates_are_what_the_vectors_say() {
    let mut failures = Failures::default();
    for case in case::cases(CERTIFICATES) {
        let forged = forge::forge(&case);
        for (rules, verdict) in [(Rules::Validator, &case.verdict), (Rules::Issuer, &case.strict)] {
            let trust = trust(&forged, rules);
            for provider in providers() {
                let algorithms = provider.signature_verification_algorithms.all;
                for role in [Role::Client, Role::Server] {
                    let found = verify(&forged.chain, &trust, role, algorithms, unix(now()));
                    if let Err(error) = &found {
                        assert_printable(error, &case);
                    }
                    failures.check(&case, found, told, verdict);
                }
            }
        }
    }
    failures.assert_none();
}

/// The same through TLS: our server shown the chain by a client, and our client shown it by a server.
#[test]
fn handshakes_are_what_the_vectors_say() {
    let mut failures = Failures::default();
    for case in case::cases(CERTIFICATES) {
        let forged = forge::forge(&case);
        for (rules, verdict) in [(Rules::Validator, &case.verdict), (Rules::Issuer, &case.strict)] {
            let trust = trust(&forged, rules);
            for found in at_both_ends((forged.chain.clone(), forged.key.clone_key()), &trust) {
                failures.check(&case, found.map(|id| id.unwrap()), told_by_tls, verdict);
            }
        }
    }
    failures.assert_none();
}

#[test]
fn the_vectors_are_complete() {
    let cases = case::cases(CERTIFICATES);
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "a name is there twice");
    assert!(cases.len() >= 140, "{}", cases.len());
    assert!(cases.iter().filter(|case| case.verdict == "ok").count() >= 40);
    let verdicts: BTreeSet<_> = cases.iter().flat_map(|case| [&case.verdict, &case.strict]).collect();
    assert!(verdicts.len() >= 35, "{verdicts:?}");
}
