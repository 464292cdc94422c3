//! A folder in which files are replaced as a whole: whoever reads one, or loses power, finds the old or the new.
//!
//! One of us at a time: the folder is locked (flock(2)) while this exists.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

/// An opened folder.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    path: PathBuf,
}

/// A file's content, and what a new one in its place keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) owner: Owner,
}

/// Whose a file is, and what others may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
}

/// Why a folder or a file in it could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The folder is not there, or is a symbolic link.
    #[error("cannot open the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A symbolic link, whose other end is not ours to change.
    #[error("{} is a symbolic link", path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// Neither a file nor a link.
    #[error("{} is no file", path.display())]
    NotFile {
        /// What is there.
        path: PathBuf,
    },
    /// It is longer than such a file ever is.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// How long it may be, in bytes.
        limit: u64,
    },
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It cannot be written. What was there is there still.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The name under which a new file is written. No runtime reads files that end like this.
const DRAFT: &str = ".inpod-cni.tmp";

impl Folder {
    /// Opens a folder, waits until we are alone in it, and clears away what one of us left that was killed.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |errno: Errno| FileError::Folder { path: path.to_owned(), source: errno.into() };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        rustix::fs::flock(&handle, FlockOperation::LockExclusive).map_err(failed)?;
        let folder = Self { handle, path: path.to_owned() };
        folder.remove(OsStr::new(DRAFT))?;
        Ok(folder)
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// The names in it, sorted by their bytes, as runtimes sort them.
    pub(super) fn names(&self) -> Result<Vec<String>, FileError> {
        let failed = |errno: Errno| FileError::Folder { path: self.path.clone(), source: errno.into() };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.handle).map_err(failed)? {
            // A name that is not UTF-8 cannot end in what a runtime looks for, or else we could not say so.
            if let Ok(name) = entry.map_err(failed)?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// A file of at most `limit` bytes; `None` if it is not there.
    pub(super) fn read(&self, name: &OsStr, limit: u64) -> Result<Option<Content>, FileError> {
        let path = || self.path(name);
        // A pipe must not hold us up.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::RDONLY;
        let handle = match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(FileError::Link { path: path() }),
            Err(Errno::NXIO) => return Err(FileError::NotFile { path: path() }),
            Err(errno) => return Err(FileError::Read { path: path(), source: errno.into() }),
        };
        let read = |source| FileError::Read { path: path(), source };
        let found = rustix::fs::fstat(&handle).map_err(|errno| read(errno.into()))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(FileError::NotFile { path: path() });
        }
        let mut bytes = Vec::new();
        let most = limit.saturating_add(1);
        let length = File::from(handle).take(most).read_to_end(&mut bytes).map_err(read)?;
        if length as u64 > limit {
            return Err(FileError::TooLong { path: path(), limit });
        }
        let owner = Owner { user: found.st_uid, group: found.st_gid, mode: found.st_mode & 0o7777 };
        Ok(Some(Content { bytes, owner }))
    }

    /// Writes a file under another name, on the disk in full before [`publish`](Self::publish) or [`swap`](Self::swap) shows it.
    pub(super) fn draft(&self, for_name: &OsStr, content: &Content) -> Result<(), FileError> {
        self.remove(OsStr::new(DRAFT))?;
        self.write_draft(content).map_err(|source| {
            // The disk is full, say: what could be written only takes up room.
            let _ = rustix::fs::unlinkat(&self.handle, DRAFT, AtFlags::empty());
            FileError::Write { path: self.path(for_name), source }
        })
    }

    fn write_draft(&self, content: &Content) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        let handle = rustix::fs::openat(&self.handle, DRAFT, flags, Mode::RUSR | Mode::WUSR)?;
        let Owner { user, group, mode } = content.owner;
        let found = rustix::fs::fstat(&handle)?;
        if (found.st_uid, found.st_gid) != (user, group) {
            rustix::fs::fchown(&handle, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
        // After the owner, a change of which clears some of it (chown(2)).
        rustix::fs::fchmod(&handle, Mode::from_raw_mode(mode))?;
        let mut file = File::from(handle);
        file.write_all(&content.bytes)?;
        file.sync_all()
    }

    /// Gives the draft its name, in place of whatever has it.
    pub(super) fn publish(&self, name: &OsStr) -> Result<(), FileError> {
        let published = rustix::fs::renameat(&self.handle, DRAFT, &self.handle, name);
        published.and_then(|()| self.sync()).map_err(|errno| self.write_error(name, errno))
    }

    /// Gives the draft its name; what had it before becomes the draft, to be looked at: it may be newer than what was read. Where
    /// the file system cannot (rename(2): `EINVAL`), or nothing has the name, says [`Swapped::Not`].
    pub(super) fn swap(&self, name: &OsStr) -> Result<Swapped, FileError> {
        let flags = RenameFlags::EXCHANGE;
        match rustix::fs::renameat_with(&self.handle, DRAFT, &self.handle, name, flags) {
            Ok(()) => self.sync().map(|()| Swapped::Both).map_err(|errno| self.write_error(name, errno)),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOENT) => Ok(Swapped::Not),
            Err(errno) => Err(self.write_error(name, errno)),
        }
    }

    /// The draft, after a swap.
    pub(super) fn read_draft(&self, limit: u64) -> Result<Option<Content>, FileError> {
        self.read(OsStr::new(DRAFT), limit)
    }

    /// Throws the draft away.
    pub(super) fn discard(&self) -> Result<(), FileError> {
        self.remove(OsStr::new(DRAFT))
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: &OsStr) -> Result<(), FileError> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) => self.sync().map_err(|errno| self.write_error(name, errno)),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.write_error(name, errno)),
        }
    }

    /// A name is on the disk when its folder is (fsync(2)).
    fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.handle)
    }

    fn write_error(&self, name: &OsStr, errno: Errno) -> FileError {
        FileError::Write { path: self.path(name), source: errno.into() }
    }
}

/// What became of a [`swap`](Folder::swap).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    /// Each has the other's name.
    Both,
    /// Nothing happened.
    Not,
}
