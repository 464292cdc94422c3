//! Reading: what is in the folder now. Only regular files of its own are read, none that is too long, and not too many.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, fstat, open, openat};

use super::pod_file::{MAX_FILE, PodFile, PodFileError};

/// Most files. 10,000: many times the pods that any node is known to run.
const MOST: usize = 10_000;

/// Why a file tells nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be opened or read; a symbolic link cannot (`ELOOP`).
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// It is a folder, a socket, a device.
    #[error("is not a regular file")]
    NotRegular,
    /// It is longer than [`MAX_FILE`].
    #[error("has more than {MAX_FILE} bytes")]
    TooLong,
    /// It is not text.
    #[error("is not UTF-8")]
    NotText,
    /// It says nothing of a pod.
    #[error("says nothing of a pod")]
    Content(#[from] PodFileError),
}

/// Why the folder tells nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// It cannot be opened or read.
    #[error("the folder {}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There are more files in it than can be.
    #[error("the folder {} has more than {MOST} files", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
}

/// What is known of the folder's files, by their names without ending.
#[derive(Debug, Default)]
pub(super) struct Reading {
    files: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// By what a change is seen.
    version: Version,
    /// The last that could be used.
    good: Option<PodFile>,
    error: Option<FileError>,
}

/// Another file, or another content, has another one: what is written changes `ctime` (stat(3type)).
type Version = (u64, i64, i64, i64);

impl Reading {
    /// Reads what has changed. If the folder cannot be read, what is known stays.
    pub(super) fn update(&mut self, path: &Path) -> Result<(), FolderError> {
        let failed = |errno: rustix::io::Errno| FolderError::Read { path: path.into(), source: errno.into() };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let folder = open(path, flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for (count, entry) in Dir::read_from(&folder).map_err(failed)?.enumerate() {
            if count > MOST {
                return Err(FolderError::TooMany { path: path.into() });
            }
            // A name that is not text is no pod's.
            names.extend(entry.map_err(failed)?.file_name().to_str().ok().map(str::to_owned));
        }
        // From here on nothing fails: what is known goes only with its file.
        let mut before = std::mem::take(&mut self.files);
        for name in names {
            if let Some(stem) = stem(&name) {
                self.files.insert(stem.to_owned(), read(&folder, &name, before.remove(stem)));
            }
        }
        Ok(())
    }

    /// The files that tell something, or have: a file that is there but bad tells what it told before.
    pub(super) fn pods(&self) -> impl Iterator<Item = (&str, &PodFile)> {
        self.files.iter().filter_map(|(stem, entry)| Some((stem.as_str(), entry.good.as_ref()?)))
    }

    /// The files that have never told anything.
    pub(super) fn mute(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter(|(_, entry)| entry.good.is_none()).map(|(stem, _)| stem.as_str())
    }

    /// What is wrong, by file.
    pub(super) fn errors(&self) -> impl Iterator<Item = (&str, &FileError)> {
        self.files.iter().filter_map(|(stem, entry)| Some((stem.as_str(), entry.error.as_ref()?)))
    }
}

/// The name of a pod file without its ending. Hidden ones are drafts of who writes another name and renames.
fn stem(name: &str) -> Option<&str> {
    let stem = [".yaml", ".yml", ".json"].iter().find_map(|ending| name.strip_suffix(ending))?;
    (!stem.is_empty() && !stem.starts_with('.')).then_some(stem)
}

fn read(folder: &impl std::os::fd::AsFd, name: &str, before: Option<Entry>) -> Entry {
    let bad = |version, before: Option<Entry>, error| Entry {
        version,
        good: before.and_then(|entry| entry.good),
        error: Some(error),
    };
    // Nonblocking, so that a pipe does not hold us up before it is seen to be one.
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::RDONLY;
    let opened = openat(folder, name, flags, Mode::empty()).and_then(|file| Ok((fstat(&file)?, file)));
    let (stat, file) = match opened {
        Ok((stat, file)) => (stat, File::from(file)),
        Err(errno) => return bad((0, 0, 0, 0), before, FileError::Read(errno.into())),
    };
    let version = version(&stat);
    match before {
        Some(before) if before.version == version => before,
        before => match parse(file, &stat) {
            Ok(pod) => Entry { version, good: Some(pod), error: None },
            Err(error) => bad(version, before, error),
        },
    }
}

fn version(stat: &Stat) -> Version {
    // The types differ between architectures; all that counts is that different files differ.
    #[expect(clippy::useless_conversion, reason = "the types differ between architectures")]
    (
        stat.st_ino.into(),
        stat.st_ctime.into(),
        i64::try_from(stat.st_ctime_nsec).unwrap_or(0),
        stat.st_size.into(),
    )
}

fn parse(file: File, stat: &Stat) -> Result<PodFile, FileError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileError::NotRegular);
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(FileError::Read)?;
    if bytes.len() > MAX_FILE {
        return Err(FileError::TooLong);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| FileError::NotText)?;
    Ok(PodFile::parse(text)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const POD: &str = "{name: a, namespace: b}";

    fn said(reading: &Reading) -> (Vec<&str>, Vec<(&str, String)>) {
        let errors = reading.errors().map(|(stem, error)| (stem, error.to_string()));
        (reading.pods().map(|(stem, _)| stem).collect(), errors.collect())
    }

    #[test]
    fn files_come_change_and_go() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
        let mut reading = Reading::default();
        write("a.yaml", POD);
        write("b.json", "{\"name\": \"b\", \"namespace\": \"b\"}");
        write("notes.txt", "no pod");
        write(".draft.yaml", "[");
        reading.update(place.path()).unwrap();
        assert_eq!(said(&reading), (vec!["a", "b"], vec![]));
        write("a.yaml", "[");
        fs::remove_file(place.path().join("b.json")).unwrap();
        reading.update(place.path()).unwrap();
        // What it told before still counts.
        assert_eq!(said(&reading), (vec!["a"], vec![("a", "says nothing of a pod".into())]));
        write("a.yaml", POD);
        reading.update(place.path()).unwrap();
        assert_eq!(said(&reading), (vec!["a"], vec![]));
    }

    #[test]
    fn what_is_no_pod_file_is_refused_and_named() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::write(path("big.yaml"), "#".repeat(10 << 20)).unwrap();
        fs::write(path("binary.yaml"), [0xff, 0xfe]).unwrap();
        fs::write(path("zero.yaml"), [0; 100]).unwrap();
        fs::write(path("victim"), POD).unwrap();
        symlink(path("victim"), path("link.yaml")).unwrap();
        symlink("/dev/zero", path("device.yaml")).unwrap();
        fs::create_dir(path("folder.yaml")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe.yaml"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let mut reading = Reading::default();
        reading.update(place.path()).unwrap();
        assert_eq!(reading.pods().count(), 0);
        let errors: Vec<String> = reading.errors().map(|(stem, error)| format!("{stem} {error}")).collect();
        let wanted = [
            "big has more than 65536 bytes",
            "binary is not UTF-8",
            "device cannot be read",
            "folder is not a regular file",
            "link cannot be read",
            "pipe is not a regular file",
            "zero says nothing of a pod",
        ];
        assert_eq!(errors, wanted);
        assert_eq!(reading.mute().count(), wanted.len());
    }

    #[test]
    fn a_folder_that_is_gone_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a.yaml"), POD).unwrap();
        let mut reading = Reading::default();
        reading.update(place.path()).unwrap();
        assert!(matches!(reading.update(Path::new("/nowhere")), Err(FolderError::Read { .. })));
        assert_eq!(reading.pods().count(), 1);
    }

    #[test]
    fn a_folder_with_too_many_files_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a.yaml"), POD).unwrap();
        let mut reading = Reading::default();
        reading.update(place.path()).unwrap();
        (0..=MOST).for_each(|number| fs::write(place.path().join(number.to_string()), "").unwrap());
        assert!(matches!(reading.update(place.path()), Err(FolderError::TooMany { .. })));
        assert_eq!(said(&reading), (vec!["a"], vec![]));
    }
}
