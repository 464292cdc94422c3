//! Cgroup: a control group, by which its processes' sockets are known.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// A control group of the version 2 hierarchy, as it is at one moment: a group that is made anew under the same path is
/// another, which rules have to be told. Two are the same if the kernel says so, whatever their paths.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// Below the root of the hierarchy.
    path: PathBuf,
    /// How many folders below it.
    level: u32,
    /// The kernel's number of it: the inode of its folder (`cgroup_id` in the kernel).
    id: u64,
}

/// Why a path is not a [`Cgroup`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// It is not a path of plain names below the root: absolute, empty, or with `..` or quotes.
    #[error(
        "a control group is a path of names below the root of the hierarchy, such as system.slice/kubelet.service"
    )]
    Path,
    /// No such folder can be looked at.
    #[error("no control group {}", path.display())]
    Look {
        /// The whole path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The hierarchy there is not of version 2.
    #[error("{} is no control group of version 2", path.display())]
    NotVersion2 {
        /// The whole path.
        path: PathBuf,
    },
}

impl Cgroup {
    /// Where the hierarchy is by custom.
    pub const MOUNT: &str = "/sys/fs/cgroup";

    /// The group at this path below `mount`, where a hierarchy of version 2 is mounted.
    ///
    /// # Errors
    /// When the path is no relative one of plain names, or when there is no such group.
    pub fn find(mount: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<Self, CgroupError> {
        let path = path.as_ref();
        let is_name = |component: Component<'_>| match component {
            Component::Normal(name) => name
                .to_str()
                .is_some_and(|name| !name.contains(|letter: char| letter == '"' || letter.is_control())),
            _ => false,
        };
        let level = u32::try_from(path.components().count()).map_err(|_| CgroupError::Path)?;
        if level == 0 || !path.components().all(is_name) {
            return Err(CgroupError::Path);
        }
        let whole = mount.as_ref().join(path);
        let look = |path: &Path| {
            path.metadata().map_err(|source| CgroupError::Look { path: path.to_owned(), source })
        };
        let id = look(&whole)?.ino();
        // Every group of version 2 but the root has it, and none of version 1.
        if look(&whole.join("cgroup.events")).is_err() {
            return Err(CgroupError::NotVersion2 { path: whole });
        }
        Ok(Self { path: path.to_owned(), level, id })
    }

    /// The group of this number, which rules in a kernel name; its path is not told.
    pub(crate) fn unnamed(level: u32, id: u64) -> Self {
        Self { path: PathBuf::new(), level, id }
    }

    /// Its path below the root of the hierarchy; empty when it was read from a rule.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many folders below the root it is.
    pub const fn level(&self) -> u32 {
        self.level
    }

    /// The kernel's number of it.
    pub const fn id(&self) -> u64 {
        self.id
    }

    fn key(&self) -> (u32, u64) {
        (self.level, self.id)
    }
}

impl PartialEq for Cgroup {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Cgroup {}

impl PartialOrd for Cgroup {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cgroup {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Cgroup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for Cgroup {
    /// Its path, or its number when only that is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.level == 0 || self.path.as_os_str().is_empty() {
            write!(f, "number {}", self.id)
        } else {
            self.path.display().fmt(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["", "/", "/system.slice", "..", "a/../b", "./a", "a\"b", "a\nb"] {
            assert!(matches!(Cgroup::find("/tmp", path), Err(CgroupError::Path)), "{path:?}");
        }
        assert!(matches!(Cgroup::find("/nowhere", "a"), Err(CgroupError::Look { .. })));
        assert!(matches!(Cgroup::find("/", "proc"), Err(CgroupError::NotVersion2 { .. })));
    }

    #[test]
    fn the_same_is_what_the_kernel_says() {
        let one = Cgroup { path: "a/b".into(), level: 2, id: 7 };
        assert_eq!(one, Cgroup::unnamed(2, 7));
        assert_ne!(one, Cgroup::unnamed(2, 8));
        assert_eq!((one.to_string(), Cgroup::unnamed(2, 7).to_string()), ("a/b".into(), "number 7".into()));
    }
}
