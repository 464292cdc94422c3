//! Word: one argument in the text that iptables-save writes and iptables-restore reads.
//!
//! Words are divided by blanks. One with other characters than the plain ones is in double quotes, in which a
//! backslash takes the next character as it is. A line is one rule, so no word holds a line break.

/// The word as iptables-restore takes it. Characters that would end the line, and other control characters, become
/// blanks: only a comment can have them, and it means nothing to the kernel.
pub(crate) fn quote(word: &str) -> String {
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.into();
    }
    let mut text = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            control if control.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_./:,".contains(&byte)
}

/// The words of a line; nothing when it ends inside a quoted one.
pub(crate) fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            // As iptables-restore has it: a quote ends the word before it only by what follows the closing one.
            '"' => {
                quoted(&mut characters, &mut word)?;
                words.push(std::mem::take(&mut word));
            }
            ' ' | '\t' | '\n' if word.is_empty() => {}
            ' ' | '\t' | '\n' => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    Some(words)
}

/// What is up to the closing quote.
fn quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match characters.next()? {
            '"' => return Some(()),
            '\\' => word.push(characters.next()?),
            other => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_plain_words_go_without_quotes() {
        assert_eq!(quote("10.0.0.1/32"), "10.0.0.1/32");
        assert_eq!(quote(""), "\"\"");
        assert_eq!(quote("a\" -j ACCEPT"), r#""a\" -j ACCEPT""#);
        assert_eq!(quote("a\\"), r#""a\\""#);
        assert_eq!(quote("a\n-I OUTPUT -j ACCEPT\0"), "\"a -I OUTPUT -j ACCEPT \"");
    }

    #[test]
    fn a_line_that_ends_in_quotes_has_no_words() {
        assert_eq!(split("-A \"b c"), None);
        assert_eq!(split("-A \"b\\"), None);
        assert_eq!(split(" -A  \"b \\\" c\"\td"), Some(["-A", "b \" c", "d"].map(String::from).to_vec()));
    }

    proptest! {
        #[test]
        fn whatever_the_words_they_stay_the_same_words_on_one_line(words: Vec<String>) {
            let line = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
            prop_assert!(!line.contains(['\n', '\r', '\0']));
            let no_control = |word: &String| {
                word.chars().map(|character| if character.is_control() { ' ' } else { character }).collect::<String>()
            };
            prop_assert_eq!(split(&line), Some(words.iter().map(no_control).collect()));
        }

        #[test]
        fn no_line_is_too_strange(line: String) {
            let _ = split(&line);
        }
    }
}
