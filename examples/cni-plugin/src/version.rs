//! The versions of the CNI specification that we speak.

use std::fmt;
use std::str::FromStr;

/// A version of the specification, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.3.1: plugins are chained, and results list interfaces.
    V0_3_1,
    /// 0.4.0: CHECK, and DEL gets the previous result.
    V0_4_0,
    /// 1.0.0: lists only, and addresses without their family.
    V1_0_0,
    /// 1.1.0: GC and STATUS.
    V1_1_0,
}

impl Version {
    /// All that we speak.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The newest that we speak.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As configurations write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Whether results of these two versions are written alike. Until 0.4.0 each address names its family.
    #[must_use]
    pub fn has_results_of(self, other: Self) -> bool {
        (self < Self::V1_0_0) == (other < Self::V1_0_0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version that we do not speak.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {found:?} of CNI is not one of 0.3.1, 0.4.0, 1.0.0, 1.1.0")]
pub struct UnknownVersion {
    /// As it was written.
    pub found: String,
}

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        let known = Self::ALL.into_iter().find(|version| version.as_str() == text);
        known.ok_or_else(|| UnknownVersion { found: text.chars().take(MAX_SHOWN).collect() })
    }
}

/// How much of a wrong version an error shows: no version is longer.
const MAX_SHOWN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_lists_all_versions() {
        let said = "2.0.0".parse::<Version>().unwrap_err().to_string();
        for version in Version::ALL {
            assert!(said.contains(version.as_str()), "{said}");
            assert_eq!(version.to_string().parse(), Ok(version));
        }
    }

    #[test]
    fn results_changed_with_1_0_0() {
        assert!(Version::V0_3_1.has_results_of(Version::V0_4_0));
        assert!(Version::V1_1_0.has_results_of(Version::V1_0_0));
        assert!(!Version::V1_0_0.has_results_of(Version::V0_4_0));
    }
}
