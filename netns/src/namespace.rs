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
        let origin = Origin::Path(path.as_ref().to_owned());
        // Whoever names the path may name a pipe or a terminal; neither must hold us up.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => Self::from_file(file, origin),
            Err(source) => Err(OpenError::Open { origin, source }),
        }
    }

    /// The namespace that a process is in now.
    ///
    /// The process is held by a pidfd meanwhile, so that a process that ends and another that gets its number are not
    /// confused. Needs Linux 5.3, and the right to look at the process (ptrace(2), `PTRACE_MODE_READ_FSCREDS`).
    ///
    /// # Errors
    ///
    /// [`OpenError`], naming the process.
    pub fn of_process(pid: u32) -> Result<Self, OpenError> {
        let origin = Origin::Process(pid);
        let open = |source| OpenError::Open { origin: origin.clone(), source };
        let process = sys::pidfd_open(pid).map_err(open)?;
        let file = match sys::pidfd_network_namespace(process.as_fd()) {
            Ok(descriptor) => File::from(descriptor),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(OpenError::Ended { pid }),
            // Before Linux 6.11: a request that pidfds do not know.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)) => {
                by_number(pid, process.as_fd())?
            }
            Err(error) => return Err(open(error)),
        };
        Self::from_file(file, origin)
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

    /// Which namespace this is.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    fn from_file(file: File, origin: Origin) -> Result<Self, OpenError> {
        let identify = |source| OpenError::Identify { origin: origin.clone(), source };
        let file_system = fstatfs(&file).map_err(|errno| identify(errno.into()))?;
        if file_system.filesystem_type() != NSFS_MAGIC {
            return Err(OpenError::NotNamespace { origin });
        }
        if sys::namespace_kind(file.as_fd()).map_err(identify)? != libc::CLONE_NEWNET {
            return Err(OpenError::NotNetwork { origin });
        }
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

/// Opens a process's namespace by its number, while its pidfd tells whether the number is still its own.
fn by_number(pid: u32, process: BorrowedFd<'_>) -> Result<File, OpenError> {
    let open = |source| OpenError::Open { origin: Origin::Process(pid), source };
    let opened = File::open(format!("/proc/{pid}/ns/net"));
    // In this order: a process that still exists now had the number when the path was opened.
    match sys::has_ended(process).map_err(open)? {
        true => Err(OpenError::Ended { pid }),
        false => opened.map_err(open),
    }
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
    use std::process::{Command, Stdio};

    use super::*;

    /// What kernels before 6.11 need, which newer ones would otherwise never run.
    #[test]
    fn by_number_finds_the_namespace_of_a_process() {
        let pid = std::process::id();
        let process = sys::pidfd_open(pid).unwrap();
        let found = by_number(pid, process.as_fd()).unwrap().metadata().unwrap();
        let expected = std::fs::metadata("/proc/self/ns/net").unwrap();
        assert_eq!((found.dev(), found.ino()), (expected.dev(), expected.ino()));
    }

    #[test]
    fn by_number_does_not_trust_the_number_of_a_process_that_ended() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = sys::pidfd_open(child.id()).unwrap();
        by_number(child.id(), process.as_fd()).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        // This process's number stands for one that was given away again.
        let reused = by_number(std::process::id(), process.as_fd());
        assert!(matches!(reused, Err(OpenError::Ended { .. })));
    }

    #[test]
    fn the_current_namespace_needs_no_rights() {
        let (first, second) = (Namespace::current().unwrap(), Namespace::current().unwrap());
        assert_eq!(first.id(), second.id());
        assert_eq!(first.run(|| 7).unwrap(), 7);
    }
}
