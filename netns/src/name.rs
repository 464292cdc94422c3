//! The name of a namespace in a folder of names.

use std::fmt;
use std::str::FromStr;

/// The name of a [named](crate::Names) namespace. Instances are always valid: one component of a path, so a name never leads
/// out of its folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty.
    #[error("a name of a namespace is not empty")]
    Empty,
    /// It is longer than a file's name may be.
    #[error("a name of a namespace has at most {limit} bytes, this one {actual}")]
    TooLong {
        /// The most bytes that it may have.
        limit: usize,
        /// How many it has.
        actual: usize,
    },
    /// A slash or a NUL, which no file's name has.
    #[error("a name of a namespace has no {character:?}, as this one at byte {position}")]
    Character {
        /// The character.
        character: char,
        /// The byte that it begins at, counted from 0.
        position: usize,
    },
    /// `.` and `..`, which stand for folders.
    #[error("\".\" and \"..\" are no names of a namespace")]
    Dots,
}

/// `NAME_MAX`, `linux/limits.h`.
const LONGEST: usize = 255;

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > LONGEST {
            return Err(NameError::TooLong { limit: LONGEST, actual: name.len() });
        }
        if let Some((position, character)) =
            name.char_indices().find(|(_, character)| matches!(character, '/' | '\0'))
        {
            return Err(NameError::Character { character, position });
        }
        if matches!(name, "." | "..") {
            return Err(NameError::Dots);
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_file_cannot_be_called_is_no_name() {
        for (text, error) in [
            ("", NameError::Empty),
            (".", NameError::Dots),
            ("..", NameError::Dots),
            ("../a", NameError::Character { character: '/', position: 2 }),
            ("/", NameError::Character { character: '/', position: 0 }),
            ("é\0", NameError::Character { character: '\0', position: 2 }),
        ] {
            assert_eq!(text.parse::<Name>(), Err(error), "{text:?}");
        }
        assert_eq!("a".repeat(256).parse::<Name>(), Err(NameError::TooLong { limit: 255, actual: 256 }));
        for text in ["a", "...", "cni-7f3a9c4e", " ", "é", &"a".repeat(255)] {
            assert_eq!(text.parse::<Name>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn errors_name_the_character() {
        let error = "a\0b".parse::<Name>().unwrap_err();
        assert_eq!(error.to_string(), "a name of a namespace has no '\\0', as this one at byte 1");
    }

    proptest! {
        /// std's own reading of paths is the judge.
        #[test]
        fn a_name_is_exactly_one_component(text in "[a/.\0é]{0,6}|.{0,300}") {
            let path = Path::new(&text);
            let one = path.components().eq([Component::Normal(OsStr::new(&text))]);
            let expected = one && !text.contains('\0') && text.len() <= 255;
            match text.parse::<Name>() {
                Ok(name) => prop_assert!(expected && name.as_str() == text),
                Err(error) => prop_assert!(!expected, "{error}"),
            }
        }
    }
}
