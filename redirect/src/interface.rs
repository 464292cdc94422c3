//! InterfaceName: the name of a network interface, safe to put into a rule.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes: `IFNAMSIZ` (16, in `linux/if.h`) less its NUL.
const MAX_LEN: usize = 15;

/// The name of a network interface. Always valid: what the kernel's `dev_valid_name` takes, less what is not
/// visible ASCII and less the characters to which a rule language gives a meaning (`"`, `\`, `*`, `+`), so that
/// a name can neither end its quotes nor match more interfaces than one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

/// Why a text is not an [`InterfaceName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceNameError {
    /// The text is empty.
    #[error("an interface name is not empty")]
    Empty,
    /// The text is longer than the kernel allows.
    #[error("an interface name has at most {limit} bytes, not {actual}")]
    TooLong {
        /// The longest, in bytes.
        limit: usize,
        /// The length of the text, in bytes.
        actual: usize,
    },
    /// The text holds a character that is not allowed.
    #[error("an interface name does not hold {0:?}")]
    Character(char),
    /// The text is `.` or `..`, which name folders.
    #[error("an interface is not named . or ..")]
    Folder,
}

impl InterfaceName {
    /// The interface of this name.
    ///
    /// # Errors
    /// When no interface that a rule can name has this name.
    pub fn new(name: impl Into<String>) -> Result<Self, InterfaceNameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(InterfaceNameError::Empty);
        }
        if name.len() > MAX_LEN {
            return Err(InterfaceNameError::TooLong { limit: MAX_LEN, actual: name.len() });
        }
        if let Some(character) = name.chars().find(|&character| !is_allowed(character)) {
            return Err(InterfaceNameError::Character(character));
        }
        if name == "." || name == ".." {
            return Err(InterfaceNameError::Folder);
        }
        Ok(Self(name))
    }

    /// The loopback interface, `lo` in every namespace.
    pub fn loopback() -> Self {
        Self("lo".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_graphic() && !matches!(character, '/' | ':' | '"' | '\\' | '*' | '+')
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, InterfaceNameError> {
        Self::new(text)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_could_change_a_rule_are_refused() {
        let cases = [
            ("", InterfaceNameError::Empty),
            ("..", InterfaceNameError::Folder),
            ("sixteen-bytes-if", InterfaceNameError::TooLong { limit: 15, actual: 16 }),
            ("eth0\naccept", InterfaceNameError::Character('\n')),
            ("a\" accept", InterfaceNameError::Character('"')),
            ("eth*", InterfaceNameError::Character('*')),
            ("eth+", InterfaceNameError::Character('+')),
            ("a/b", InterfaceNameError::Character('/')),
            ("a\0", InterfaceNameError::Character('\0')),
            ("ethé", InterfaceNameError::Character('é')),
        ];
        for (text, error) in cases {
            assert_eq!(InterfaceName::new(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_valid_name_is_one_short_visible_word(text in any::<String>()) {
            if let Ok(name) = text.parse::<InterfaceName>() {
                prop_assert_eq!(name.to_string(), &text[..]);
                prop_assert!(text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }

        #[test]
        fn usual_names_are_valid(text in "[a-z][a-z0-9_.@-]{0,14}") {
            prop_assert!(InterfaceName::new(text).is_ok());
        }
    }
}
