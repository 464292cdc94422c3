//! What makes two handles the same namespace.

use std::fmt;

/// The identity of a network namespace.
///
/// Device and inode (namespaces(7)) tell apart the namespaces that exist at one moment, but the kernel reuses an inode
/// once its namespace is gone. A cookie is given once and never again until the machine restarts, so two equal ids
/// are the same namespace even if the ids outlived their handles. Kernels before 5.14 have no cookie; there an id is
/// only worth as much as a handle that is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceId {
    device: u64,
    inode: u64,
    cookie: Option<u64>,
}

impl NamespaceId {
    pub(crate) fn new(device: u64, inode: u64, cookie: Option<u64>) -> Self {
        Self { device, inode, cookie }
    }

    /// The device number of the kernel's namespace file system.
    #[must_use]
    pub fn device(&self) -> u64 {
        self.device
    }

    /// The inode, as in the link `/proc/PID/ns/net`.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The cookie (`SO_NETNS_COOKIE`); `None` where the kernel (before 5.14) has none.
    #[must_use]
    pub fn cookie(&self) -> Option<u64> {
        self.cookie
    }
}

/// As the kernel writes it, `net:[4026531840]`, then the cookie.
impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)?;
        match self.cookie {
            Some(cookie) => write!(f, " (cookie {cookie})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_used_again_is_another_namespace() {
        assert_ne!(NamespaceId::new(4, 7, Some(1)), NamespaceId::new(4, 7, Some(2)));
        assert_ne!(NamespaceId::new(4, 7, Some(1)), NamespaceId::new(5, 7, Some(1)));
        assert_eq!(NamespaceId::new(4, 7, Some(1)), NamespaceId::new(4, 7, Some(1)));
    }

    #[test]
    fn reads_like_the_link_in_proc() {
        assert_eq!(NamespaceId::new(4, 4026531840, Some(4098)).to_string(), "net:[4026531840] (cookie 4098)");
        assert_eq!(NamespaceId::new(4, 4026531840, None).to_string(), "net:[4026531840]");
    }
}
