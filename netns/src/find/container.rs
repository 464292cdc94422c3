//! What a process can be recognised as: a container, perhaps of a pod.

use std::fmt;
use std::str::FromStr;

/// A container, as its runtime tells it in what it does to the container's processes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Container {
    /// The pod that it is of; `None` where it is of none, or nothing tells.
    pub pod: Option<PodUid>,
    /// Its id.
    pub id: ContainerId,
    /// Who runs it; `None` where nothing tells.
    pub runtime: Option<Runtime>,
}

/// A container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Runtime {
    /// containerd, by its Kubernetes interface.
    Containerd,
    /// CRI-O.
    CriO,
    /// Docker.
    Docker,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
        })
    }
}

/// The UID of a pod, as Kubernetes writes it: `8e3e9e3a-7c1f-4a4c-9a55-0b5b0a3c9f11`, or 32 hexadecimal digits for a pod
/// from a file on the node. Instances are always valid: letters and digits of ASCII, and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(String);

/// The id of a container: 64 hexadecimal digits in lower case, which is what containerd's Kubernetes interface, CRI-O and
/// Docker make. Instances are always valid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

/// Why a text is no [`PodUid`] or no [`ContainerId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifierError {
    /// It is longer or shorter than it may be.
    #[error("an identifier of {least} to {most} characters has {actual}")]
    Length {
        /// The fewest characters that it may have.
        least: usize,
        /// The most.
        most: usize,
        /// How many it has.
        actual: usize,
    },
    /// It has a character that it may not have.
    #[error("{character:?} at byte {position} has no place in an identifier of {allowed}")]
    Character {
        /// The character.
        character: char,
        /// The byte that it begins at, counted from 0.
        position: usize,
        /// What may be there.
        allowed: &'static str,
    },
}

/// As long as the value of a Kubernetes label may be; a UID itself has 36 characters.
const LONGEST_UID: usize = 63;

/// 32 random bytes; see [`ContainerId`].
const ID_DIGITS: usize = 64;

impl PodUid {
    /// The UID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PodUid {
    type Err = IdentifierError;

    fn from_str(uid: &str) -> Result<Self, IdentifierError> {
        let fits = |character: char| character.is_ascii_alphanumeric() || character == '-';
        check(uid, 1, LONGEST_UID, fits, "letters, digits and '-'")?;
        Ok(Self(uid.to_owned()))
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ContainerId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = IdentifierError;

    fn from_str(id: &str) -> Result<Self, IdentifierError> {
        let fits = |character: char| matches!(character, '0'..='9' | 'a'..='f');
        check(id, ID_DIGITS, ID_DIGITS, fits, "digits and 'a' to 'f'")?;
        Ok(Self(id.to_owned()))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(
    text: &str,
    least: usize,
    most: usize,
    fits: impl Fn(char) -> bool,
    allowed: &'static str,
) -> Result<(), IdentifierError> {
    if let Some((position, character)) = text.char_indices().find(|(_, character)| !fits(*character)) {
        return Err(IdentifierError::Character { character, position, allowed });
    }
    match text.len() {
        actual if actual < least || actual > most => Err(IdentifierError::Length { least, most, actual }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids() {
        for uid in ["8e3e9e3a-7c1f-4a4c-9a55-0b5b0a3c9f11", "c7fb2b8ad4d6f6e1fcb6b3d7a1e4d5f0", "a"] {
            assert_eq!(uid.parse::<PodUid>().unwrap().to_string(), uid);
        }
        for uid in ["", "a_b", "a/b", "..", "é", &"a".repeat(64)] {
            assert!(uid.parse::<PodUid>().is_err(), "{uid}");
        }
        let error = "a_b".parse::<PodUid>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "'_' at byte 1 has no place in an identifier of letters, digits and '-'"
        );
    }

    #[test]
    fn ids() {
        assert!("0a".repeat(32).parse::<ContainerId>().is_ok());
        let error = "0a".repeat(31).parse::<ContainerId>().unwrap_err();
        assert_eq!(error, IdentifierError::Length { least: 64, most: 64, actual: 62 });
        assert!("0A".repeat(32).parse::<ContainerId>().is_err());
    }
}
