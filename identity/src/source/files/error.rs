//! Why files give no SVID.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::error::{BundleError, SvidError};
use crate::source::error::MaterialError;

/// Why files give no SVID.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A file cannot be read.
    #[error("{} is unreadable", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A path leads to a folder, a pipe, a device.
    #[error("{} is not a file", path.display())]
    NotFile {
        /// Which one.
        path: PathBuf,
    },
    /// A file is larger than any certificates or key.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLarge {
        /// Which one.
        path: PathBuf,
        /// The most bytes that are read.
        limit: u64,
    },
    /// The folder's files were replaced while they were read, which is tried again.
    #[error("{} was replaced while it was read", folder.display())]
    Replaced {
        /// The folder.
        folder: PathBuf,
    },
    /// The chain and the key.
    #[error("chain and key are not an SVID")]
    Svid(#[from] SvidError),
    /// The roots.
    #[error("roots are not a bundle")]
    Bundle(#[from] BundleError),
    /// Each is right, and they do not belong together or are not usable now.
    #[error("SVID and roots are not usable")]
    Material(#[from] MaterialError),
}
