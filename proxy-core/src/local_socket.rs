//! Local socket: a Unix socket that nobody but its own user and root can come near.
//!
//! What a node agent listens at decides what becomes of pods, and hands out their namespaces. So the socket is 0600 in a folder that is
//! 0700, nothing of somebody else's is replaced or followed, and whoever connects is asked who it is ([`may_ask`]).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Why nobody can listen there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The path has no folder or no file name, or depends on where one is.
    #[error("{} is not an absolute path of a file", path.display())]
    NotFile {
        /// The path.
        path: PathBuf,
    },
    /// No client could say it: the kernel takes [`MAX_PATH`] bytes.
    #[error("{} has more than {MAX_PATH} bytes", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The folder can neither be made nor opened, or is a symbolic link.
    #[error("the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Others may enter the folder, and could put a socket of their own there.
    #[error("the folder {} is of user {owner} with mode {mode:o}, not ours alone (0700)", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// There is something else than a socket already: a file or a link of somebody's.
    #[error("{} is there and is no socket", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen at {}", path.display())]
    Listen {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// `sun_path` of unix(7), less the final zero.
pub const MAX_PATH: usize = 107;

/// Has `listen` make a socket, which is then to be found at `path`, in a folder that is made if it is not there (0700). The socket
/// (0600) appears ready: it is made under another name and then renamed, over one that somebody before us left or still has. From
/// then on clients come to us.
///
/// # Errors
/// [`BindError`].
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("inpod/agent.sock");
/// let listener = inpod_proxy_core::local_socket::bind(&path, |draft| std::os::unix::net::UnixListener::bind(draft))?;
/// # Ok(()) }
/// ```
pub fn bind<L>(path: &Path, listen: impl FnOnce(&Path) -> io::Result<L>) -> Result<L, BindError> {
    let (Some(folder), Some(name)) = (path.parent().filter(|_| path.is_absolute()), path.file_name()) else {
        return Err(BindError::NotFile { path: path.to_owned() });
    };
    if path.as_os_str().len() > MAX_PATH {
        return Err(BindError::TooLong { path: path.to_owned() });
    }
    let failed = |source: io::Error| BindError::Listen { path: path.to_owned(), source };
    let handle = open(folder)?;
    match rustix::fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Socket => {
            return Err(BindError::Occupied { path: path.to_owned() });
        }
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    bind_in(&handle, name, listen).map_err(failed)
}

/// The folder, held: whatever is renamed meanwhile, what is made in it is made in the one that was checked.
fn open(path: &Path) -> Result<OwnedFd, BindError> {
    let failed = |errno: Errno| BindError::Folder { path: path.to_owned(), source: errno.into() };
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let found = rustix::fs::fstat(&handle).map_err(failed)?;
    let mode = found.st_mode & 0o7777;
    if found.st_uid != rustix::process::geteuid().as_raw() || mode & 0o077 != 0 {
        return Err(BindError::Open { path: path.to_owned(), owner: found.st_uid, mode });
    }
    Ok(handle)
}

fn bind_in<L>(folder: &OwnedFd, name: &OsStr, listen: impl FnOnce(&Path) -> io::Result<L>) -> io::Result<L> {
    let mut draft = OsString::from(".");
    draft.push(std::process::id().to_string());
    match rustix::fs::unlinkat(folder, &draft, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    // bind(2) takes no handle of a folder, but a path through one.
    let through = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
    let listener = listen(&through.join(&draft))?;
    rustix::fs::chmodat(folder, &draft, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
    rustix::fs::renameat(folder, &draft, folder, name)?;
    Ok(listener)
}

/// Whether a user may ask at a socket of ours: root, or whoever we are, for where we are not root.
#[must_use]
pub fn may_ask(user: u32) -> bool {
    allowed(user, rustix::process::geteuid().as_raw())
}

fn allowed(user: u32, own: u32) -> bool {
    user == 0 || user == own
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn bind(path: &Path) -> Result<UnixListener, BindError> {
        super::bind(path, |draft| UnixListener::bind(draft))
    }

    #[test]
    fn root_and_our_own_user_may_ask() {
        assert!(allowed(0, 0) && allowed(0, 1000) && allowed(1000, 1000));
        assert!(!allowed(1000, 0) && !allowed(1001, 1000) && !allowed(u32::MAX, 0));
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn folder_and_socket_are_ours_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("cni/agent.sock");
        let first = bind(&path).unwrap();
        first.set_nonblocking(true).unwrap();
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
        // The next agent takes over while the first one still listens.
        let second = bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        assert!(second.accept().is_ok());
        assert_eq!(first.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn an_open_folder_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("cni");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let error = bind(&folder.join("a")).unwrap_err();
        assert!(matches!(error, BindError::Open { mode: 0o755, .. }), "{error}");
    }

    #[test]
    fn links_and_files_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let (folder, link) = (place.path().join("cni"), place.path().join("link"));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        symlink(&folder, &link).unwrap();
        assert!(matches!(bind(&link.join("a")), Err(BindError::Folder { .. })));
        symlink("/nowhere", folder.join("a")).unwrap();
        fs::write(folder.join("b"), "precious").unwrap();
        for name in ["a", "b"] {
            assert!(matches!(bind(&folder.join(name)), Err(BindError::Occupied { .. })));
        }
        assert_eq!(fs::read(folder.join("b")).unwrap(), b"precious");
    }

    #[test]
    fn a_path_that_no_client_could_say_is_refused() {
        assert!(matches!(bind(Path::new("a")), Err(BindError::NotFile { .. })));
        assert!(matches!(bind(Path::new("/")), Err(BindError::NotFile { .. })));
        let long = Path::new("/tmp").join("a".repeat(104));
        assert!(matches!(bind(&long), Err(BindError::TooLong { .. })));
    }
}
