//! [`Snapshot`]: the contents of the files at one moment.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;

use super::error::FilesError;
use super::layout::Layout;
use crate::bundle::Bundle;
use crate::source::material::Material;
use crate::svid::Svid;

/// The most bytes of one file: a hundred times what a chain has, and room for the roots of many years.
const MAX_BYTES: u64 = 1024 * 1024;

/// The link that Kubernetes writes into a volume, and replaces at once when it changes the files
/// (pkg/volume/util/atomic_writer.go: the files are links that lead through it).
const DATA: &str = "..data";

/// What the three files contain.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    contents: [Vec<u8>; 3],
    /// Whoever wrote them replaced them all at once, so that they belong together.
    pub(super) atomic: bool,
}

impl Snapshot {
    /// Reads the files. They are small, and on a file system in memory where there is Kubernetes.
    pub(super) fn read(layout: &Layout) -> Result<Self, FilesError> {
        let folder = layout.folder();
        let link = folder.join(DATA);
        let before = fs::read_link(&link).ok();
        let base = before.as_ref().map_or_else(|| folder.to_owned(), |target| folder.join(target));
        let contents = layout.files().map(|file| read_file(&base.join(file)));
        // Before the errors: files that are gone because there are new ones are no error.
        if fs::read_link(&link).ok() != before {
            return Err(FilesError::Replaced { folder: folder.to_owned() });
        }
        let [chain, key, roots] = contents;
        Ok(Self { contents: [chain?, key?, roots?], atomic: before.is_some() })
    }

    /// What they mean, if peers would believe it at `now`.
    pub(super) fn material(
        &self,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<Material, FilesError> {
        let [chain, key, roots] = &self.contents;
        let svid = Svid::from_pem(chain, key)?;
        let bundle = Bundle::from_pem(svid.id().trust_domain(), roots)?;
        let material = Material::new(svid, bundle)?;
        material.check(provider, now)?;
        Ok(material)
    }

    #[cfg(test)]
    pub(super) fn of(text: &str, atomic: bool) -> Self {
        Self { contents: [(); 3].map(|()| text.into()), atomic }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("atomic", &self.atomic).finish_non_exhaustive()
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, FilesError> {
    let unreadable = |source: io::Error| FilesError::Read { path: path.to_owned(), source };
    // Asked before it is opened: to open a pipe is to wait for its other end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FilesError::NotFile { path: path.to_owned() });
    }
    let mut contents = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let read = file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut contents).map_err(unreadable)?;
    match u64::try_from(read) {
        Ok(read) if read <= MAX_BYTES => Ok(contents),
        _ => Err(FilesError::TooLarge { path: path.to_owned(), limit: MAX_BYTES }),
    }
}
