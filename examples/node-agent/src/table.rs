//! Table: rows of words, in columns, for people.

use std::fmt;

/// A heading, and rows of as many words.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_owned)] }
    }

    /// Adds a row. What would move a terminal's cursor is escaped: reasons come from others.
    pub(crate) fn push(&mut self, row: [String; N]) {
        self.rows.push(row.map(|word| plain(&word)));
    }
}

/// Words of others, with what would move a terminal's cursor escaped.
pub(crate) fn plain(words: &str) -> String {
    words.chars().flat_map(visible).collect()
}

fn visible(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |column: usize| {
            let words = self.rows.iter().filter_map(|row| row.get(column));
            words.map(|word| word.chars().count()).max().unwrap_or_default()
        };
        let lengths: Vec<usize> = (0..N).map(length).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (word, length) in row.iter().zip(&lengths) {
                line.push_str(&format!("{word:length$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_word() {
        let mut table = Table::new(["POD", "RULES", "ERROR"]);
        table.push(["shop/cart-0".into(), "yes".into(), String::new()]);
        table.push(["b/c".into(), "draining 2".into(), "no\n\u{1b}[2J".into()]);
        let wanted = "\
            POD          RULES       ERROR\n\
            shop/cart-0  yes\n\
            b/c          draining 2  no\\n\\u{1b}[2J\n";
        assert_eq!(table.to_string(), wanted);
    }
}
