//! IdRange: users or groups, by their numbers.

use std::fmt;
use std::str::FromStr;

/// Numbers of users or of groups that follow each other, both ends included: `1337`, `1000-1999`. Always valid: the first is
/// not after the last.
///
/// Names are not taken: the pod's names are in the pod's files, and only the pod's containers agree on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdRange {
    first: u32,
    last: u32,
}

/// Why a text or two numbers are not an [`IdRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdRangeError {
    /// The text is neither a number nor two of them.
    #[error("users and groups are numbers from 0 to 4294967294, or ranges of them, such as 1000-1999")]
    Text,
    /// The first is after the last.
    #[error("{first} is after {last}")]
    Backwards {
        /// The first.
        first: u32,
        /// The last.
        last: u32,
    },
}

impl IdRange {
    /// All that a user or a group can have.
    pub(crate) const ANY: Self = Self { first: 0, last: u32::MAX - 1 };

    pub(crate) const fn single(id: u32) -> Self {
        Self { first: id, last: id }
    }

    /// The numbers from `first` to `last`.
    ///
    /// # Errors
    /// When the first is after the last, or when the last is 4294967295, which no user or group has (`(uid_t)-1` in chown(2)).
    pub const fn new(first: u32, last: u32) -> Result<Self, IdRangeError> {
        if last == u32::MAX {
            return Err(IdRangeError::Text);
        }
        if first > last {
            return Err(IdRangeError::Backwards { first, last });
        }
        Ok(Self { first, last })
    }

    /// The first.
    pub const fn first(self) -> u32 {
        self.first
    }

    /// The last.
    pub const fn last(self) -> u32 {
        self.last
    }

    /// Whether the number is one of them.
    pub const fn contains(self, id: u32) -> bool {
        self.first <= id && id <= self.last
    }
}

impl FromStr for IdRange {
    type Err = IdRangeError;

    fn from_str(text: &str) -> Result<Self, IdRangeError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(number(first)?, number(last)?)
    }
}

fn number(text: &str) -> Result<u32, IdRangeError> {
    // `u32::from_str` also takes a sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(IdRangeError::Text);
    }
    text.parse().map_err(|_| IdRangeError::Text)
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_signs_and_nobody_at_all_are_refused() {
        for text in ["", "root", "+1", "-1", "1-", "1-2-3", "4294967295", "4294967296"] {
            assert_eq!(text.parse::<IdRange>(), Err(IdRangeError::Text), "{text:?}");
        }
        assert_eq!("2-1".parse::<IdRange>(), Err(IdRangeError::Backwards { first: 2, last: 1 }));
    }

    proptest! {
        #[test]
        fn text_round_trips(one in 0..u32::MAX, other in 0..u32::MAX) {
            let range = IdRange::new(one.min(other), one.max(other)).unwrap();
            prop_assert_eq!(range.to_string().parse(), Ok(range));
            prop_assert!(range.contains(one) && range.contains(other));
        }
    }
}
