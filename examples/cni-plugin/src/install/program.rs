//! The plugin's program, in the folder where runtimes look for plugins (`/opt/cni/bin`).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::folder::{Content, FileError, Folder, Owner};
use super::list::TYPE;

/// Why the program could not be put into its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// What is to be copied cannot be read.
    #[error("cannot read {}", path.display())]
    Source {
        /// Where it should be.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It cannot be written; what was there is there still.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The longest program, in bytes: several times what this one is with all its symbols.
const MAX_PROGRAM: u64 = 256 << 20;

/// Root's, and anybody may run it, as plugins are installed.
const MODE: u32 = 0o755;

/// Copies the program `from` somewhere into a folder of plugins, as `inpod-cni`, atomically: a runtime finds the old one or the new
/// one. If it is there already, nothing is written. Install it before the configuration names it.
///
/// # Errors
/// [`ProgramError`].
pub fn install_program(from: &Path, folder: &Path) -> Result<PathBuf, ProgramError> {
    let bytes = read(from).map_err(|source| ProgramError::Source { path: from.to_owned(), source })?;
    let folder = Folder::open(folder)?;
    let name = OsStr::new(TYPE);
    let owner = Owner {
        user: rustix::process::geteuid().as_raw(),
        group: rustix::process::getegid().as_raw(),
        mode: MODE,
    };
    let content = Content { bytes, owner };
    let found = match folder.read(name, MAX_PROGRAM) {
        // What is too long is certainly not it.
        Err(FileError::TooLong { .. }) => None,
        found => found?,
    };
    if found.as_ref() != Some(&content) {
        folder.draft(name, &content)?;
        folder.publish(name)?;
    }
    Ok(folder.path(name))
}

/// Removes the program, if it is there. Take it out of the configuration before.
///
/// # Errors
/// [`FileError`].
pub fn uninstall_program(folder: &Path) -> Result<(), FileError> {
    Folder::open(folder)?.remove(OsStr::new(TYPE))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_PROGRAM).read_to_end(&mut bytes)?;
    Ok(bytes)
}
