//! Memory: which pods the folder has had enrolled and where, on a file: one whose pod file is deleted while no agent runs is released by
//! the next.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use netns::{Namespace, NamespaceId};
use serde::{Deserialize, Serialize};

use crate::workload::{PodName, Uid};

/// Longest file that is read, in bytes. 16 MiB: 10,000 pods take a quarter of it.
const MAX_FILE: u64 = 16 << 20;

/// What was enrolled, by id.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// None: it ends with the process.
    path: Option<PathBuf>,
    pods: BTreeMap<Uid, Remembered>,
}

/// A pod, and which namespace it was captured in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    namespace: String,
    name: String,
    service_account: String,
    path: PathBuf,
    inode: u64,
    /// Inodes are used again, cookies are not (kernels before 5.14 have none).
    cookie: Option<u64>,
}

/// Why what was remembered cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// The file is longer than any is written.
    #[error("it has more than {MAX_FILE} bytes")]
    TooLong,
    /// The file is none of this kind.
    #[error("it is not a list of pods that were enrolled")]
    Malformed(#[source] yaml_serde::Error),
}

/// Why it cannot be remembered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum RememberError {
    #[error("writing which pods are enrolled")]
    Write(#[from] io::Error),
    #[error("writing which pods are enrolled")]
    Text(#[from] yaml_serde::Error),
}

impl Remembered {
    pub(super) fn new(name: &PodName, path: &Path, id: NamespaceId) -> Self {
        let PodName { namespace, name, service_account } = name.clone();
        Self { namespace, name, service_account, path: path.into(), inode: id.inode(), cookie: id.cookie() }
    }

    pub(super) fn pod_name(&self) -> PodName {
        let Self { namespace, name, service_account, .. } = self.clone();
        PodName { namespace, name, service_account }
    }

    /// The namespace, if it is still there and the same.
    pub(super) fn namespace(&self) -> Option<Namespace> {
        let namespace = Namespace::open(&self.path).ok()?;
        let id = namespace.id();
        ((id.inode(), id.cookie()) == (self.inode, self.cookie)).then_some(namespace)
    }
}

impl Memory {
    /// What was written before; nothing, if there is no file.
    pub(super) fn open(path: &Path) -> Result<Self, MemoryError> {
        let pods = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(MemoryError::Read(error)),
            Ok(found) if found.len() > MAX_FILE => return Err(MemoryError::TooLong),
            Ok(_) => {
                let text = fs::read_to_string(path).map_err(MemoryError::Read)?;
                yaml_serde::from_str(&text).map_err(MemoryError::Malformed)?
            }
        };
        Ok(Self { path: Some(path.into()), pods })
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = (&Uid, &Remembered)> {
        self.pods.iter()
    }

    /// Remembers just these, before anything is done to those that are new. What cannot be written is remembered by this process.
    pub(super) fn remember(&mut self, pods: BTreeMap<Uid, Remembered>) -> Result<(), RememberError> {
        if self.pods == pods {
            return Ok(());
        }
        self.pods = pods;
        let Some(path) = &self.path else { return Ok(()) };
        // Whole or not at all. Not made durable: what it tells of ends with the machine's memory.
        let written = yaml_serde::to_string(&self.pods).map_err(RememberError::from).and_then(|text| {
            let draft = path.with_extension("draft");
            fs::write(&draft, text)?;
            Ok(fs::rename(&draft, path)?)
        });
        if written.is_err() {
            // Tried again with the next reading.
            self.pods.clear();
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> BTreeMap<Uid, Remembered> {
        let name =
            PodName { namespace: "shop".into(), name: "cart-0".into(), service_account: "cart".into() };
        let here = Path::new("/proc/self/ns/net");
        BTreeMap::from([("1".to_owned(), Remembered::new(&name, here, Namespace::current().unwrap().id()))])
    }

    #[test]
    fn what_was_enrolled_is_known_to_the_next_agent() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pods.yaml");
        Memory::open(&path).unwrap().remember(pods()).unwrap();
        let next = Memory::open(&path).unwrap();
        let (uid, pod) = next.pods().next().unwrap();
        assert_eq!((uid.as_str(), pod.pod_name().name.as_str()), ("1", "cart-0"));
        assert!(pod.namespace().is_some());
        let other = Remembered { cookie: Some(1), ..pod.clone() };
        assert!(other.namespace().is_none(), "another namespace in its place");
    }

    #[test]
    fn what_cannot_be_written_is_written_later() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("later/pods.yaml");
        let mut memory = Memory::open(&path).unwrap();
        assert!(memory.remember(pods()).is_err());
        fs::create_dir(place.path().join("later")).unwrap();
        memory.remember(pods()).unwrap();
        assert_eq!(Memory::open(&path).unwrap().pods, pods());
    }

    #[test]
    fn what_is_no_memory_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pods.yaml");
        fs::write(&path, "[").unwrap();
        assert!(matches!(Memory::open(&path), Err(MemoryError::Malformed(_))));
        fs::File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(matches!(Memory::open(&path), Err(MemoryError::TooLong)));
    }
}
