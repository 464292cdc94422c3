//! Ledger: which containers a runtime has brought, on a file, so that an agent that comes back knows them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cni_plugin::attachment::Attachment;
use cni_plugin::name::{PodName, PodNamespace};
use serde::{Deserialize, Serialize};

/// Longest file that is read, in bytes. 16 MiB: 10,000 pods take a quarter of it.
const MAX_FILE: u64 = 16 << 20;

/// A container that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Entry {
    /// By what the agent knows the pod.
    pub(crate) uid: String,
    pub(crate) namespace: PodNamespace,
    pub(crate) name: PodName,
    /// Where the runtime keeps its network namespace.
    pub(crate) path: PathBuf,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    attachment: Attachment,
    pod: Entry,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    entries: Mutex<BTreeMap<Attachment, Entry>>,
}

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("it has more than {MAX_FILE} bytes")]
    TooLong,
    #[error("it is not a ledger")]
    Malformed(#[source] serde_json::Error),
}

impl Ledger {
    /// Reads what was written before; nothing, if there is no file.
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let lines: Vec<Line> = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(LedgerError::Read(error)),
            Ok(found) if found.len() > MAX_FILE => return Err(LedgerError::TooLong),
            Ok(_) => {
                let bytes = fs::read(path).map_err(LedgerError::Read)?;
                serde_json::from_slice(&bytes).map_err(LedgerError::Malformed)?
            }
        };
        let entries = lines.into_iter().map(|line| (line.attachment, line.pod)).collect();
        Ok(Self { path: path.into(), entries: Mutex::new(entries) })
    }

    /// Remembers a container. An error has changed nothing.
    pub(crate) fn insert(&self, attachment: Attachment, entry: Entry) -> io::Result<()> {
        let mut entries = self.lock();
        let mut changed = entries.clone();
        if changed.insert(attachment, entry.clone()) != Some(entry) {
            self.write(&changed)?;
        }
        *entries = changed;
        Ok(())
    }

    /// Forgets a container: its pod, if it has no other.
    pub(crate) fn remove(&self, attachment: &Attachment) -> Option<String> {
        let mut entries = self.lock();
        let Entry { uid, .. } = entries.remove(attachment)?;
        if let Err(error) = self.write(&entries) {
            // What is too much in it is found to be gone when it is read.
            tracing::warn!(ledger = %self.path.display(), %error, "a container that has left is still written down");
        }
        (!entries.values().any(|entry| entry.uid == uid)).then_some(uid)
    }

    pub(crate) fn uid(&self, attachment: &Attachment) -> Option<String> {
        self.lock().get(attachment).map(|entry| entry.uid.clone())
    }

    pub(crate) fn entries(&self) -> Vec<(Attachment, Entry)> {
        self.lock().iter().map(|(attachment, entry)| (attachment.clone(), entry.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Attachment, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whole or not at all: another name first, and then this one. Not made durable: what it tells of ends with the machine's memory.
    fn write(&self, entries: &BTreeMap<Attachment, Entry>) -> io::Result<()> {
        let line = |(attachment, pod): (&Attachment, &Entry)| Line {
            attachment: attachment.clone(),
            pod: pod.clone(),
        };
        let lines: Vec<Line> = entries.iter().map(line).collect();
        let bytes = serde_json::to_vec(&lines).map_err(io::Error::other)?;
        let draft = self.path.with_extension("draft");
        let mut file = File::create(&draft)?;
        file.write_all(&bytes)?;
        fs::rename(&draft, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(container: &str) -> Attachment {
        serde_json::from_str(&format!(r#"{{"container":"{container}","interface":"eth0"}}"#)).unwrap()
    }

    fn entry(uid: &str) -> Entry {
        let text =
            format!(r#"{{"uid":"{uid}","namespace":"shop","name":"cart-0","path":"/run/netns/{uid}"}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_is_brought_is_known_to_the_next_agent() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pods.json");
        let ledger = Ledger::open(&path).unwrap();
        ledger.insert(attachment("a"), entry("1")).unwrap();
        ledger.insert(attachment("b"), entry("1")).unwrap();
        ledger.insert(attachment("c"), entry("2")).unwrap();
        let next = Ledger::open(&path).unwrap();
        assert_eq!(next.entries(), ledger.entries());
        assert_eq!(next.uid(&attachment("c")), Some("2".into()));
        // The pod has left with the last of its containers.
        assert_eq!(next.remove(&attachment("a")), None);
        assert_eq!(next.remove(&attachment("b")), Some("1".into()));
        assert_eq!(next.remove(&attachment("b")), None);
        assert_eq!(Ledger::open(&path).unwrap().entries(), [(attachment("c"), entry("2"))]);
    }

    #[test]
    fn what_cannot_be_written_is_not_remembered() {
        let place = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&place.path().join("gone/pods.json")).unwrap();
        assert!(ledger.insert(attachment("a"), entry("1")).is_err());
        assert!(ledger.entries().is_empty());
    }

    #[test]
    fn what_is_no_ledger_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pods.json");
        fs::write(&path, "[{]").unwrap();
        assert!(matches!(Ledger::open(&path), Err(LedgerError::Malformed(_))));
        File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(matches!(Ledger::open(&path), Err(LedgerError::TooLong)));
    }
}
