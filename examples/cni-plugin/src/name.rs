//! Names that a container runtime gives: bounded, and of characters that mean nothing in a path, a log or a protocol.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not such a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing.
    #[error("the {what} is empty")]
    Empty {
        /// What it should name.
        what: &'static str,
    },
    /// It is longer than such a name can be.
    #[error("the {what} has {actual} bytes; at most {limit} are allowed")]
    TooLong {
        /// What it should name.
        what: &'static str,
        /// How long such a name may be, in bytes.
        limit: usize,
        /// How long it is, in bytes.
        actual: usize,
    },
    /// A character that has no place there.
    #[error("the {what} has {character:?} at byte {at}")]
    Character {
        /// What it should name.
        what: &'static str,
        /// The character.
        character: char,
        /// Where, in bytes from 0.
        at: usize,
    },
}

/// Checks a name: not empty, bounded, and each character allowed at its place.
fn check(
    what: &'static str,
    limit: usize,
    allowed: fn(usize, char) -> bool,
    text: &str,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > limit {
        return Err(NameError::TooLong { what, limit, actual: text.len() });
    }
    match text.char_indices().find(|(at, character)| !allowed(*at, *character)) {
        Some((at, character)) => Err(NameError::Character { what, character, at }),
        None => Ok(()),
    }
}

/// Letters, digits, and from the second on `_`, `.` and `-`: the specification's rule for container ids (section 2), and wide
/// enough for every name that Kubernetes allows.
fn word(at: usize, character: char) -> bool {
    character.is_ascii_alphanumeric() || (at > 0 && matches!(character, '_' | '.' | '-'))
}

/// What the kernel takes as a name (`dev_valid_name` in net/core/dev.c), less what is not printable ASCII. A dot may not come
/// first, so that `.` and `..` are none.
fn interface(at: usize, character: char) -> bool {
    character.is_ascii_graphic() && !matches!(character, '/' | ':') && (at > 0 || character != '.')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:literal, $allowed:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The longest, in bytes.
            pub const MAX: usize = $limit;

            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, Self::MAX, $allowed, text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                check($what, Self::MAX, $allowed, &text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name! {
    /// A container's id (`CNI_CONTAINERID`), unique on its node. containerd and CRI-O use 64 hexadecimal digits; the specification
    /// has no limit, ours is generous.
    ContainerId, "container id", 256, word
}
name! {
    /// The name of an interface inside a container (`CNI_IFNAME`): `IFNAMSIZ` (linux/if.h) less the final zero.
    InterfaceName, "interface name", 15, interface
}
name! {
    /// The name of a network (`name` of a configuration): the same characters as a container's id.
    NetworkName, "network name", 256, word
}
name! {
    /// A pod's name: in Kubernetes a DNS subdomain (RFC 1123), hence its length; other callers of the CRI write what they like.
    PodName, "pod name", 253, word
}
name! {
    /// A pod's namespace: in Kubernetes a DNS label (RFC 1123), hence its length.
    PodNamespace, "pod namespace", 63, word
}
name! {
    /// A pod's UID: a UUID, or for a static pod the hash of its file; twice as long as the longest of them.
    PodUid, "pod uid", 128, word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| text.parse::<InterfaceName>().unwrap_err().to_string();
        assert_eq!(error(""), "the interface name is empty");
        assert_eq!(error("sixteen-chars-lo"), "the interface name has 16 bytes; at most 15 are allowed");
        assert_eq!(error("a/b"), "the interface name has '/' at byte 1");
        assert_eq!(error(".."), "the interface name has '.' at byte 0");
        assert_eq!(error("eth0\n"), "the interface name has '\\n' at byte 4");
        assert!("eth0.7@x".parse::<InterfaceName>().is_ok());
    }

    #[test]
    fn no_container_id_is_a_path() {
        for text in ["../x", "/x", "a/b", "-x", ".", "a b", "a\0", "ä"] {
            assert!(text.parse::<ContainerId>().is_err(), "{text:?}");
        }
        assert!("0a.b_c-D".parse::<ContainerId>().is_ok());
    }

    proptest! {
        #[test]
        fn a_name_is_as_it_was_given_and_harmless(text in "\\PC{0,70}|[a-z0-9._/-]{1,70}") {
            if let Ok(name) = text.parse::<PodNamespace>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(!text.contains(['/', '\\', '"', ' ', ';', '=']) && text.len() <= 63);
                let json = serde_json::to_string(&name).unwrap();
                prop_assert_eq!(serde_json::from_str::<PodNamespace>(&json).unwrap(), name);
            }
        }
    }
}
