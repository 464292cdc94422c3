//! Namespaces that have a name, and exist as long as it does.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use crate::namespace::{check, open_file};
use crate::{Name, Namespace, OpenError, Origin};

/// A folder of named namespaces, as ip-netns(8) has one: each is a file on which the namespace is mounted, which keeps it
/// alive while no process is in it and no handle is open.
///
/// The default is `/run/netns`, whose names `ip netns` has as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    folder: PathBuf,
    sight: Sight,
}

/// Who sees what is mounted in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    AsItIs,
    Shared,
}

/// Why a named namespace was not made, opened, deleted or listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamedError {
    /// The namespace itself: it could not be made, or what has the name is none.
    #[error(transparent)]
    Namespace(#[from] OpenError),
    /// The folder could not be made or read.
    #[error("cannot use the folder {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The name is taken.
    #[error("{} exists already", path.display())]
    Exists {
        /// The name's file.
        path: PathBuf,
    },
    /// The file for the name could not be made, or not be removed.
    #[error("cannot make or remove {}", path.display())]
    File {
        /// The name's file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The namespace could not be mounted on its file, or not be unmounted.
    #[error("cannot mount or unmount {}", path.display())]
    Mount {
        /// The name's file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl NamedError {
    /// Whether a right is missing: `CAP_SYS_ADMIN` to make, mount and unmount; the right to write the folder.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Namespace(source) => source.is_permission(),
            Self::Folder { source, .. } | Self::File { source, .. } | Self::Mount { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            Self::Exists { .. } => false,
        }
    }
}

impl Default for Names {
    /// `/run/netns`, [shared](Self::shared), as ip-netns(8) has it.
    fn default() -> Self {
        Self::at("/run/netns").shared()
    }
}

impl Names {
    /// The names in a folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), sight: Sight::AsItIs }
    }

    /// Lets other mount namespaces see the names that are made from now on, and take them away: the folder is mounted on
    /// itself, and that mount is shared (mount_namespaces(7)). It stays so. Without this, they may find empty files,
    /// and a program that does it later (`ip netns`) makes the names that were there before hard to take away.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.sight = Sight::Shared;
        self
    }

    /// The file that stands for a name.
    #[must_use]
    pub fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(name.as_str())
    }

    /// Makes a new namespace and gives it a name. On error nothing has the name that did not have it before; a folder
    /// that was not there, and its parents, may be.
    ///
    /// # Errors
    ///
    /// [`NamedError`]; [`Exists`](NamedError::Exists) if the name is taken, whatever has it.
    pub fn make(&self, name: &Name) -> Result<Namespace, NamedError> {
        self.prepare().map_err(|source| NamedError::Folder { folder: self.folder.clone(), source })?;
        let namespace = Namespace::create()?;
        self.give(name, &namespace)?;
        Ok(namespace)
    }

    /// Gives a name to a namespace that exists already. On error nothing has the name that did not have it before.
    ///
    /// # Errors
    ///
    /// [`NamedError`]; [`Exists`](NamedError::Exists) if the name is taken, whatever has it. The folder must exist.
    pub fn give(&self, name: &Name, namespace: &Namespace) -> Result<(), NamedError> {
        let file = Placeholder::make(self.path(name))?;
        // The kernel follows this link to the very namespace that is held.
        let held = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
        mount(Some(held.as_str()), &file.path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|errno| NamedError::Mount { path: file.path.clone(), source: errno.into() })?;
        file.keep();
        Ok(())
    }

    /// The namespace that has a name.
    ///
    /// # Errors
    ///
    /// [`OpenError`], naming the file.
    pub fn open(&self, name: &Name) -> Result<Namespace, OpenError> {
        Namespace::open(self.path(name))
    }

    /// Takes a name away. The namespace ends with it, unless a process is in it or something holds it.
    ///
    /// An empty file, which a maker that was killed leaves behind, is removed as well; anything else stays.
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing has the name, or something else than a network namespace.
    pub fn delete(&self, name: &Name) -> Result<(), NamedError> {
        let path = self.path(name);
        if !is_empty_file(&path) {
            is_network(&path)?;
            unmount(&path).map_err(|source| NamedError::Mount { path: path.clone(), source })?;
        }
        fs::remove_file(&path).map_err(|source| NamedError::File { path, source })
    }

    /// The names that stand for network namespaces, in their order; none where there is no folder. Files that are no
    /// network namespaces are left out, and what is not a [`Name`] (not UTF-8).
    ///
    /// # Errors
    ///
    /// [`NamedError::Folder`] when the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Name>, NamedError> {
        let folder = |source| NamedError::Folder { folder: self.folder.clone(), source };
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(folder(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(folder)?.file_name();
            let Some(name) = name.to_str().and_then(|name| name.parse::<Name>().ok()) else { continue };
            if is_network(&self.path(&name)).is_ok() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let share = || {
            let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
            mount(None::<&str>, &self.folder, None::<&str>, flags, None::<&str>)
        };
        match self.sight {
            Sight::AsItIs => Ok(()),
            Sight::Shared => match share() {
                // mount(2): it is no mount point yet.
                Err(Errno::EINVAL) => {
                    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
                    mount(Some(&self.folder), &self.folder, None::<&str>, flags, None::<&str>)?;
                    Ok(share()?)
                }
                shared => Ok(shared?),
            },
        }
    }
}

/// The empty file that a namespace will be mounted on; removed again unless it is kept.
struct Placeholder {
    path: PathBuf,
    fate: Fate,
}

enum Fate {
    Removed,
    Kept,
}

impl Placeholder {
    fn make(path: PathBuf) -> Result<Self, NamedError> {
        // As ip-netns(8): nobody needs to read the file itself.
        match OpenOptions::new().write(true).create_new(true).mode(0o000).open(&path) {
            Ok(_) => Ok(Self { path, fate: Fate::Removed }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(NamedError::Exists { path }),
            Err(source) => Err(NamedError::File { path, source }),
        }
    }

    fn keep(mut self) {
        self.fate = Fate::Kept;
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        match self.fate {
            // There is already an error on its way to the caller.
            Fate::Removed => drop(fs::remove_file(&self.path)),
            Fate::Kept => {}
        }
    }
}

/// A namespace, too, is an empty file to stat(2); its file system tells them apart.
fn is_empty_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
        && statfs(path).is_ok_and(|file_system| file_system.filesystem_type() != NSFS_MAGIC)
}

fn is_network(path: &Path) -> Result<(), OpenError> {
    let origin = Origin::Path(path.to_owned());
    match open_file(path) {
        Ok(file) => check(&file, &origin),
        Err(source) => Err(OpenError::Open { origin, source }),
    }
}

/// Takes every mount off a file. Mounts that others share may have come to lie on top of each other.
fn unmount(path: &Path) -> io::Result<()> {
    let off = || umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    off()?;
    loop {
        match off() {
            Ok(()) => {}
            // umount(2): nothing is mounted there any more.
            Err(Errno::EINVAL) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}
