//! Set: a named place in a plan's table for facts that come and go while the rules that ask for them stay.

use std::borrow::Cow;
use std::fmt;

use crate::elements::Element;
use crate::family::Family;

/// A set that a plan declares. What is in it is not part of the plan: see [`Elements`](crate::Elements).
///
/// Always valid: its name is one that `nft` takes as it is, and no longer than the kernel keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set {
    name: Cow<'static, str>,
    kind: SetKind,
}

/// What is in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SetKind {
    /// Addresses of this family.
    Addresses(Family),
    /// TCP connections of this family, each as the packets of one direction show it: [`Connection`](crate::Connection).
    Connections(Family),
}

/// The longest name, in bytes (`NFT_SET_MAXNAMELEN` in `linux/netfilter/nf_tables.h`, with its NUL).
const MAX_NAME: usize = 255;

impl Set {
    /// The set of this name; none when `nft` would not read the name as one word.
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, kind: SetKind) -> Option<Self> {
        let name = name.into();
        let goes_on = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
        let is_word =
            name.starts_with(|letter: char| letter.is_ascii_alphabetic()) && name.chars().all(goes_on);
        (is_word && name.len() <= MAX_NAME).then_some(Self { name, kind })
    }

    /// Its name within the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is in it.
    pub const fn kind(&self) -> SetKind {
        self.kind
    }

    /// The family of what is in it.
    pub const fn family(&self) -> Family {
        self.kind.family()
    }

    /// Whether such a thing can be in it.
    pub fn admits(&self, element: &Element) -> bool {
        self.kind == element.kind()
    }
}

impl SetKind {
    /// All.
    pub(crate) const ALL: [Self; 4] = [
        Self::Addresses(Family::V4),
        Self::Addresses(Family::V6),
        Self::Connections(Family::V4),
        Self::Connections(Family::V6),
    ];

    /// The family of what is in such a set.
    pub const fn family(self) -> Family {
        match self {
            Self::Addresses(family) | Self::Connections(family) => family,
        }
    }
}

impl fmt::Display for SetKind {
    /// As `nft` names the type of such a set's elements.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self.family() {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        match self {
            Self::Addresses(_) => f.write_str(address),
            Self::Connections(_) => write!(f, "{address} . inet_service . {address} . inet_service"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_nft() {
        let set = |name: &'static str| Set::new(name, SetKind::Addresses(Family::V4));
        for name in ["pods4", "a", "kept-6", "x_y.z"] {
            assert_eq!(set(name).unwrap().name(), name);
        }
        for name in ["", "4pods", "@pods", "a b", "a\"", "a;", "é", "_", "-a"] {
            assert_eq!(set(name), None, "{name}");
        }
        assert!(Set::new("a".repeat(255), SetKind::Addresses(Family::V4)).is_some());
        assert!(Set::new("a".repeat(256), SetKind::Addresses(Family::V4)).is_none());
    }
}
