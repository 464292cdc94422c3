//! What is attached: an interface of a container, and the pod that it belongs to.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::name::{ContainerId, InterfaceName, PodName, PodNamespace, PodUid};

/// One interface of one container: the key of everything in CNI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attachment {
    /// The container.
    pub container: ContainerId,
    /// Its interface.
    pub interface: InterfaceName,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.interface, self.container)
    }
}

/// A pod as the container runtime knows it. A container that is in no pod has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pod {
    /// Its namespace.
    pub namespace: PodNamespace,
    /// Its name.
    pub name: PodName,
    /// Its UID. Runtimes from before Kubernetes 1.22 do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<PodUid>,
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where a runtime keeps a container's network namespace (`CNI_NETNS`): an absolute path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub struct NamespacePath(PathBuf);

/// Why a text is no such path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamespacePathError {
    /// It would depend on where the reader is.
    #[error("the namespace's path is not absolute")]
    Relative,
    /// It is longer than the kernel takes.
    #[error("the namespace's path has {actual} bytes; at most {MAX_PATH} are allowed")]
    TooLong {
        /// How long it is, in bytes.
        actual: usize,
    },
    /// It has a zero byte, at which the kernel would end it.
    #[error("the namespace's path has a zero byte")]
    Zero,
}

/// `PATH_MAX` of linux/limits.h, less the final zero.
const MAX_PATH: usize = 4095;

impl NamespacePath {
    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<PathBuf> for NamespacePath {
    type Error = NamespacePathError;

    fn try_from(path: PathBuf) -> Result<Self, NamespacePathError> {
        let bytes = path.as_os_str().as_encoded_bytes();
        if !path.is_absolute() {
            return Err(NamespacePathError::Relative);
        }
        if bytes.len() > MAX_PATH {
            return Err(NamespacePathError::TooLong { actual: bytes.len() });
        }
        if bytes.contains(&0) {
            return Err(NamespacePathError::Zero);
        }
        Ok(Self(path))
    }
}

impl From<NamespacePath> for PathBuf {
    fn from(path: NamespacePath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_bounded() {
        let parse = |text: &str| NamespacePath::try_from(PathBuf::from(text));
        assert_eq!(parse("run/netns/a"), Err(NamespacePathError::Relative));
        assert_eq!(parse(""), Err(NamespacePathError::Relative));
        assert_eq!(parse("/a\0b"), Err(NamespacePathError::Zero));
        let long = format!("/{}", "a".repeat(4095));
        assert_eq!(parse(&long), Err(NamespacePathError::TooLong { actual: 4096 }));
        assert_eq!(parse("/run/netns/a").unwrap().as_path(), Path::new("/run/netns/a"));
    }
}
