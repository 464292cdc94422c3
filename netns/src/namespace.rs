//! A network namespace that is kept alive by an open file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::{fmt, thread};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::entered::{Entered, THIS_THREAD};
use crate::{NamespaceId, OpenError, Origin, sys};

/// A network namespace. It exists at least as long as this handle or a clone of it.
///
/// Clones share one file descriptor, which is not inherited by programs that the process runs.
#[derive(Clone)]
pub struct Namespace {
    file: Arc<File>,
    id: NamespaceId,
}

impl Namespace {
    /// The namespace at a path, such as `/run/netns/NAME` or what a container runtime hands to a CNI plugin.
    ///
    /// # Errors
    ///
    /// [`OpenError`], naming the path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let origin = Origin::Path(path.to_owned());
        match open_file(path) {
            Ok(file) => Self::from_file(file, origin),
            Err(source) => Err(OpenError::Open { origin, source }),
        }
    }

    /// The namespace that the calling thread is in now.
    ///
    /// # Errors
    ///
    /// [`OpenError`], for example when the process has no file descriptor left, or no `/proc`.
    pub fn current() -> Result<Self, OpenError> {
        let origin = Origin::Thread;
        match File::open(THIS_THREAD) {
            Ok(file) => Self::from_file(file, origin),
            Err(source) => Err(OpenError::Open { origin, source }),
        }
    }

    /// A new namespace. Nothing is in it but a loopback interface, which is down: setting it up is the caller's.
    ///
    /// It is made on a short-lived thread of its own, so no existing thread moves.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; making a namespace needs `CAP_SYS_ADMIN`, and a user may only have so many
    /// (`/proc/sys/user/max_net_namespaces`).
    pub fn create() -> Result<Self, OpenError> {
        let open = |source| OpenError::Open { origin: Origin::New, source };
        let make = move || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| open(errno.into()))?;
            Self::current()
        };
        let thread = thread::Builder::new().name("netns-create".to_owned()).spawn(make).map_err(open)?;
        thread.join().unwrap_or_else(|_panic| Err(open(io::ErrorKind::Other.into())))
    }

    /// The namespace behind a file descriptor that was opened elsewhere, typically received over a Unix socket.
    ///
    /// Trusts nothing about it: it must be a file of the kernel's namespace file system and of the network kind. It
    /// is set to close on exec. On error it is closed.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; whoever sent the descriptor sent the wrong thing, or we may not enter the namespace.
    pub fn from_fd(descriptor: OwnedFd) -> Result<Self, OpenError> {
        let origin = Origin::Descriptor;
        match fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
            Ok(_) => Self::from_file(File::from(descriptor), origin),
            Err(errno) => Err(OpenError::Identify { origin, source: errno.into() }),
        }
    }

    /// The namespace that a socket belongs to, wherever it was made and however it came here.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; it needs `CAP_NET_ADMIN` in that namespace.
    pub fn of_socket(socket: impl AsFd) -> Result<Self, OpenError> {
        let (socket, origin) = (socket.as_fd(), Origin::Socket);
        let kind = fstat(socket).map(|status| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT);
        let open = |source| OpenError::Open { origin: Origin::Socket, source };
        if kind.map_err(|errno| open(errno.into()))? != SFlag::S_IFSOCK {
            return Err(open(io::Error::from_raw_os_error(libc::ENOTSOCK)));
        }
        match sys::socket_network_namespace(socket) {
            Ok(namespace) => Self::from_file(File::from(namespace), origin),
            Err(source) => Err(open(source)),
        }
    }

    /// Which namespace this is.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// The namespace behind an opened file. It is entered once, which shows that it can be, and tells its cookie.
    pub(crate) fn from_file(file: File, origin: Origin) -> Result<Self, OpenError> {
        check(&file, &origin)?;
        let identify = |source| OpenError::Identify { origin: origin.clone(), source };
        let metadata = file.metadata().map_err(identify)?;
        let without_cookie = NamespaceId::new(metadata.dev(), metadata.ino(), None);
        let cookie = {
            let _inside = Entered::enter(file.as_fd(), without_cookie)
                .map_err(|source| OpenError::Enter { origin: origin.clone(), source })?;
            sys::namespace_cookie().map_err(identify)?
        };
        let id = NamespaceId::new(metadata.dev(), metadata.ino(), cookie);
        Ok(Self { file: Arc::new(file), id })
    }
}

/// Whether an opened file is a network namespace. Nothing is entered for that, so it needs no rights.
pub(crate) fn check(file: &File, origin: &Origin) -> Result<(), OpenError> {
    let identify = |source| OpenError::Identify { origin: origin.clone(), source };
    let file_system = fstatfs(file).map_err(|errno| identify(errno.into()))?;
    if file_system.filesystem_type() != NSFS_MAGIC {
        return Err(OpenError::NotNamespace { origin: origin.clone() });
    }
    match sys::namespace_kind(file.as_fd()).map_err(identify)? {
        libc::CLONE_NEWNET => Ok(()),
        _ => Err(OpenError::NotNetwork { origin: origin.clone() }),
    }
}

/// Opens what is at a path, for reading. Whoever names the path may name a pipe or a terminal; neither must hold us up.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_namespace_needs_no_rights() {
        let (first, second) = (Namespace::current().unwrap(), Namespace::current().unwrap());
        assert_eq!(first.id(), second.id());
        assert_eq!(first.run(|| 7).unwrap(), 7);
    }
}
