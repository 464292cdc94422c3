//! The written profile, `docs/src/hbone.md`, says nothing that no test proves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A row of one of the profile's tables of requirements.
struct Requirement<'a> {
    number: &'a str,
    tests: Vec<&'a str>,
}

#[test]
fn every_requirement_names_tests_that_exist() {
    let text = std::fs::read_to_string(in_crate("../docs/src/hbone.md")).unwrap();
    let exist: BTreeSet<String> = suite().into_iter().chain(interop()).chain(elsewhere()).collect();
    let requirements = requirements(&text);
    assert!(requirements.len() > 50, "the tables are read");
    for Requirement { number, tests } in requirements {
        assert!(!tests.is_empty(), "{number} names no test");
        for test in tests {
            assert!(exist.contains(test), "{number} names {test}, which does not exist");
        }
    }
}

#[test]
fn requirements_are_numbered_without_gaps() {
    let text = std::fs::read_to_string(in_crate("../docs/src/hbone.md")).unwrap();
    let numbers: Vec<&str> = requirements(&text).iter().map(|requirement| requirement.number).collect();
    let letters: BTreeSet<&str> = numbers.iter().map(|number| &number[..1]).collect();
    for letter in letters {
        let of_letter: Vec<&str> =
            numbers.iter().copied().filter(|number| number.starts_with(letter)).collect();
        let expected: Vec<String> = (1..=of_letter.len()).map(|number| format!("{letter}{number}")).collect();
        assert_eq!(of_letter, expected);
    }
}

/// Rows whose first cell is a letter with a number; the last cell has the tests in backticks.
fn requirements(text: &str) -> Vec<Requirement<'_>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.filter_map(|row| {
        let (number, rest) = row.split_once(" | ")?;
        let (letter, digits) = number.split_at_checked(1)?;
        let numbered = letter.chars().all(|letter| letter.is_ascii_uppercase());
        if !numbered || digits.parse::<u32>().is_err() {
            return None;
        }
        let (_, tests) = rest.rsplit_once(" | ")?;
        Some(Requirement { number, tests: tests.split('`').skip(1).step_by(2).collect() })
    })
    .collect()
}

/// The tests of this program, as it lists them itself.
fn suite() -> Vec<String> {
    let listed = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// The tests of the program beside, from where they get their names.
fn interop() -> Vec<String> {
    let sources = ["tests/interop/serving.rs", "tests/interop/asking.rs"].map(in_crate);
    let texts = sources.map(|path| std::fs::read_to_string(path).unwrap()).concat();
    let quoted = texts.split('"').skip(1).step_by(2);
    quoted
        .filter(|name| name.starts_with("serving::") || name.starts_with("asking::"))
        .map(str::to_owned)
        .collect()
}

/// The tests of two programs that stand on this crate, by their names in the sources.
fn elsewhere() -> Vec<String> {
    let text = |path: &str| std::fs::read_to_string(in_crate(path)).unwrap();
    let layers = text("../proxy-core/tests/layers.rs");
    let layers = layers.lines().filter_map(|line| line.strip_prefix("async fn ")?.split_once('('));
    let layers = layers.map(|(name, _)| format!("layers::{name}"));
    let daemon = ["double", "hand_over", "interop"];
    let daemon = daemon.map(|file| text(&format!("../examples/node-proxy/tests/daemon/{file}.rs"))).concat();
    let daemon = daemon.split('"').skip(1).step_by(2).map(|name| format!("daemon::{name}"));
    layers.chain(daemon).collect()
}

fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
