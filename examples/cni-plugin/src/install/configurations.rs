//! A folder of network configurations (`/etc/cni/net.d`), and our plugin in the one that runtimes use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

use super::folder::{Content, FileError, Folder, Swapped};
use super::list::{Entry, Kind, List, ListError, convert};

/// The network that runtimes use has our plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It had it already, in this file.
    Already(PathBuf),
    /// It has it now, in this file.
    Now(PathBuf),
    /// There is no network yet. No runtime can start a pod without one.
    NoNetwork,
}

/// Why our plugin is not in, or not out of, a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The folder or a file in it.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file that runtimes use, which we cannot be chained to.
    #[error("cannot be chained to {}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: ListError,
    },
    /// A file of one plugin cannot become a list, because there is another one of the list's name.
    #[error("{} is to be replaced by {}, which is there and is another network", single.display(), list.display())]
    Occupied {
        /// The file of one plugin.
        single: PathBuf,
        /// The list's name.
        list: PathBuf,
    },
    /// Others write the file again and again, each time before we have read what they wrote.
    #[error("others write {} faster than we can", path.display())]
    Restless {
        /// The file.
        path: PathBuf,
    },
}

/// The longest configuration, in bytes; real ones have some kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// How often a file is written again because somebody else wrote it meanwhile.
const ROUNDS: usize = 16;

/// How often it is tried to put something back while somebody else writes: each try is shorter than any write of a whole file.
const BACK: usize = 1000;

/// Puts our plugin at the end of the network that runtimes use: of the first valid file of the folder, by name. A file of one plugin
/// becomes a list. If it is there as it should be, nothing is written.
///
/// # Errors
/// [`InstallError`]; every file is then as it was, or as others made it.
pub fn install(folder: &Path, entry: &Entry) -> Result<Installed, InstallError> {
    let folder = Folder::open(folder)?;
    for name in folder.names()? {
        let Some(kind) = Kind::of(&name) else { continue };
        let file = Configuration { folder: &folder, name: name.into() };
        match file.install(kind, entry) {
            Ok(None) => {}
            Ok(Some(installed)) => return Ok(installed),
            Err(InstallError::List { source, .. }) if source.is_passed_over() => {}
            // A folder of that name is no configuration; any link might be, and is an error.
            Err(InstallError::File(FileError::NotFile { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Installed::NoNetwork)
}

/// Takes our plugin out of all files of the folder, and returns those that had it. What we put in goes, every other byte stays; a
/// file of one plugin that became a list stays a list.
///
/// # Errors
/// [`InstallError`] of the first file that could not be written.
pub fn uninstall(folder: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let folder = Folder::open(folder)?;
    let mut changed = Vec::new();
    for name in folder.names()? {
        if Kind::of(&name) != Some(Kind::List) {
            continue;
        }
        let file = Configuration { folder: &folder, name: name.into() };
        match file.rewrite(&|text| Ok(List::parse(text)?.without())) {
            Ok(Rewritten::Now) => changed.push(file.path()),
            Ok(Rewritten::Already | Rewritten::Gone) => {}
            // What is no list, or not ours to change, we have put nothing into.
            Err(
                InstallError::List { .. }
                | InstallError::File(FileError::NotFile { .. } | FileError::Link { .. }),
            ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(changed)
}

/// One file of the folder.
struct Configuration<'a> {
    folder: &'a Folder,
    name: OsString,
}

/// A text that becomes another one.
type Edit<'a> = &'a dyn Fn(&str) -> Result<String, ListError>;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rewritten {
    /// It was as it should be.
    Already,
    /// It is so now.
    Now,
    /// It is not there.
    Gone,
}

impl Configuration<'_> {
    fn path(&self) -> PathBuf {
        self.folder.path(&self.name)
    }

    /// `None` if the file is gone.
    fn install(&self, kind: Kind, entry: &Entry) -> Result<Option<Installed>, InstallError> {
        if kind == Kind::Single {
            return self.install_converted(entry);
        }
        Ok(match self.rewrite(&|text| List::parse(text)?.with(entry))? {
            Rewritten::Already => Some(Installed::Already(self.path())),
            Rewritten::Now => Some(Installed::Now(self.path())),
            Rewritten::Gone => None,
        })
    }

    /// The list is there before the single file goes. Runtimes prefer the single one, so nothing changes for them until then.
    fn install_converted(&self, entry: &Entry) -> Result<Option<Installed>, InstallError> {
        let name = Path::new(&self.name).with_extension("conflist");
        let list = Configuration { folder: self.folder, name: name.into_os_string() };
        for round in 0..ROUNDS {
            let Some(single) = self.read()? else {
                return if round == 0 { Ok(None) } else { Ok(Some(Installed::Now(list.path()))) };
            };
            let bytes = self.edit(&single, &|text| convert(text, entry))?;
            match list.read()? {
                // One of us was killed, or this is the second round.
                Some(found) if found.bytes == bytes || round > 0 => {}
                Some(_) => return Err(InstallError::Occupied { single: self.path(), list: list.path() }),
                None => {}
            }
            self.folder.draft(&list.name, &Content { bytes, owner: single.owner })?;
            self.folder.publish(&list.name)?;
            if self.read()?.is_none_or(|again| again == single) {
                self.folder.remove(&self.name)?;
                return Ok(Some(Installed::Now(list.path())));
            }
        }
        Err(InstallError::Restless { path: self.path() })
    }

    /// Replaces the file by what `edit` makes of it. The swap shows what was replaced: if that is newer than what was read, it is
    /// edited in its turn, so that what others write is not lost.
    fn rewrite(&self, edit: Edit<'_>) -> Result<Rewritten, InstallError> {
        let Some(mut read) = self.read()? else { return Ok(Rewritten::Gone) };
        let first = self.edit(&read, edit)?;
        if first == read.bytes {
            return Ok(Rewritten::Already);
        }
        let mut written = Content { bytes: first, owner: read.owner };
        for _ in 0..ROUNDS {
            self.folder.draft(&self.name, &written)?;
            let Some(replaced) = self.put(&read)? else {
                self.folder.discard()?;
                return Ok(Rewritten::Now);
            };
            // What somebody else wrote meanwhile, and we can make nothing of, is theirs: it goes back.
            let edited = match self.edit(&replaced, edit) {
                Ok(edited) => edited,
                Err(error) => return self.give_back(written).and(Err(error)),
            };
            // What is there now is what we wrote, so that is what the next swap is to show.
            read = std::mem::replace(&mut written, Content { bytes: edited, owner: replaced.owner });
        }
        self.give_back(read)?;
        Err(InstallError::Restless { path: self.path() })
    }

    /// Puts back what the last swap took from its place, where `ours` is now. If something else is there already, it is newer, and stays.
    fn give_back(&self, mut ours: Content) -> Result<(), InstallError> {
        for _ in 0..BACK {
            let Some(theirs) = self.folder.read_draft(MAX_FILE)? else { return Ok(()) };
            if self.put(&ours)?.is_none() {
                return Ok(self.folder.discard()?);
            }
            ours = theirs;
        }
        Err(InstallError::Restless { path: self.path() })
    }

    /// Puts the draft in the file's place. What was there, if it is not what was `read`.
    fn put(&self, read: &Content) -> Result<Option<Content>, InstallError> {
        match self.folder.swap(&self.name)? {
            Swapped::Both => Ok(self.folder.read_draft(MAX_FILE)?.filter(|replaced| replaced != read)),
            Swapped::Not => match self.read()? {
                Some(now) if now == *read => {
                    self.folder.publish(&self.name)?;
                    Ok(None)
                }
                _ => Err(InstallError::Restless { path: self.path() }),
            },
        }
    }

    fn read(&self) -> Result<Option<Content>, InstallError> {
        Ok(self.folder.read(&self.name, MAX_FILE)?)
    }

    fn edit(&self, content: &Content, edit: Edit<'_>) -> Result<Vec<u8>, InstallError> {
        let wrong = |source| InstallError::List { path: self.path(), source };
        let text = std::str::from_utf8(&content.bytes);
        let text = text.map_err(|error: Utf8Error| wrong(ListError::Text(error)))?;
        edit(text).map(String::into_bytes).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    /// Somebody writes the file anew whenever we have read it, `times` times. How that ends, and what is there then.
    fn rewritten_while_others_write(times: usize) -> (Result<Rewritten, InstallError>, String) {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a.conflist");
        fs::write(&file, "theirs 0").unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let written = Cell::new(0);
        let result = Configuration { folder: &folder, name: "a.conflist".into() }.rewrite(&|text| {
            if written.get() < times {
                written.set(written.get() + 1);
                let draft = place.path().join("theirs");
                fs::write(&draft, format!("theirs {}", written.get())).unwrap();
                fs::rename(draft, &file).unwrap();
            }
            Ok(format!("{text}, and ours"))
        });
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing else is left");
        (result, fs::read_to_string(&file).unwrap())
    }

    #[test]
    fn who_writes_last_is_not_overwritten() {
        for times in 0..ROUNDS {
            let (result, found) = rewritten_while_others_write(times);
            assert_eq!((result.unwrap(), found), (Rewritten::Now, format!("theirs {times}, and ours")));
        }
        for times in ROUNDS..ROUNDS + 3 {
            let (result, found) = rewritten_while_others_write(times);
            assert!(matches!(result, Err(InstallError::Restless { .. })), "{times}: {result:?}");
            // Beyond as many, we have stopped looking.
            assert_eq!(found, format!("theirs {}", times.min(ROUNDS + 1)));
        }
    }
}
