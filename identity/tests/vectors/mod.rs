//! Reads the files of this folder.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "every test binary compiles this file and uses its own part of it"
)]

use std::fmt;

/// One case of a file with three columns.
#[derive(Debug)]
pub(crate) struct Line {
    /// Where it stands in its file, for people.
    number: usize,
    /// What it comes to.
    pub(crate) verdict: String,
    /// The section that says so.
    section: String,
    /// What is judged.
    pub(crate) text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text.chars().take(80).collect();
        write!(f, "line {} ({}, {:?})", self.number, self.section, shown)
    }
}

/// The cases of `file`.
pub(crate) fn lines(file: &str) -> impl Iterator<Item = Line> {
    let lines = file.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(index, line)| {
        let (before, text) = line.split_once('"').expect("a text in quotes");
        let text = text.strip_suffix('"').expect("a text in quotes");
        let (verdict, section) = before.trim().rsplit_once(' ').expect("a verdict and a section");
        Line {
            number: index + 1,
            verdict: verdict.trim().into(),
            section: section.replace(':', " "),
            text: unescape(text),
        }
    })
}

/// `\u{7f}` is a character by its number, `{a*255}` is one as many times.
pub(crate) fn unescape(text: &str) -> String {
    let (mut rest, mut plain) = (text, String::new());
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '\\' => {
                let (character, after) = character(rest);
                plain.push(character);
                rest = after;
            }
            '{' => {
                let (repeated, after) = match rest.strip_prefix('\\') {
                    Some(escape) => character(escape),
                    None => (rest.chars().next().expect("a character"), &rest[1..]),
                };
                let (times, after) =
                    after.strip_prefix('*').and_then(|rest| rest.split_once('}')).expect("a number of times");
                plain.extend(std::iter::repeat_n(repeated, times.parse().expect("a number of times")));
                rest = after;
            }
            other => plain.push(other),
        }
    }
    plain
}

/// The character that `u{7f}` at the beginning of `text` means, and what follows.
fn character(text: &str) -> (char, &str) {
    let (digits, after) = text.strip_prefix("u{").and_then(|text| text.split_once('}')).expect("an escape");
    let number = u32::from_str_radix(digits, 16).expect("a number");
    (char::from_u32(number).expect("a character"), after)
}
