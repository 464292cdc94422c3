//! What a process holds on to: open files by kind, and threads that are in other networks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What this process held at one moment. A test that takes one should be [`serial`](crate::kernel::Case::serial).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    held: Held,
}

impl Baseline {
    /// Looks at the process now.
    ///
    /// # Errors
    ///
    /// When `/proc/self` cannot be read.
    pub fn take() -> io::Result<Self> {
        Held::look().map(|held| Self { held })
    }

    /// Whether the process now holds anything more.
    ///
    /// # Errors
    ///
    /// [`LeakError::Leaked`] says what.
    pub fn compare(&self) -> Result<(), LeakError> {
        let leaks = self.held.more_in(&Held::look()?);
        if leaks.is_none() { Ok(()) } else { Err(LeakError::Leaked(leaks)) }
    }

    /// Waits until the process holds nothing more than it did, for what is released in the background.
    ///
    /// # Errors
    ///
    /// [`LeakError::Leaked`] says what is still held when the time is over.
    pub fn settled(&self, limit: Duration) -> Result<(), LeakError> {
        let end = Instant::now() + limit;
        loop {
            match self.compare() {
                // Nothing tells when a file of another thread is closed, so it is asked for again.
                Err(LeakError::Leaked(_)) if Instant::now() < end => sleep(LOOK_EVERY),
                settled => return settled,
            }
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Why the process is not known to hold nothing more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeakError {
    /// It could not be looked at.
    #[error("cannot look at what this process holds")]
    Look(#[from] io::Error),
    /// It holds more.
    #[error("{0}")]
    Leaked(Leaks),
}

/// What a process holds more than it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaks {
    files: BTreeMap<String, (usize, usize)>,
    threads: BTreeSet<(String, String)>,
}

impl Leaks {
    /// Kinds of open files (`socket`, `net`, `anon_inode:[eventfd]`, or a path) of which there are more: how many there
    /// were, and are.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, (usize, usize)> {
        &self.files
    }

    /// Threads that are in a network where none was: their names, and the network (`net:[4026532313]`).
    #[must_use]
    pub fn threads(&self) -> &BTreeSet<(String, String)> {
        &self.threads
    }

    fn is_none(&self) -> bool {
        self.files.is_empty() && self.threads.is_empty()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files =
            self.files.iter().map(|(kind, (were, are))| format!("{are} open {kind}, there were {were}"));
        let threads = self.threads.iter().map(|(thread, network)| format!("thread {thread} is in {network}"));
        f.write_str(&files.chain(threads).collect::<Vec<_>>().join("; "))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    /// How many of each kind.
    files: BTreeMap<String, usize>,
    /// Each thread's name and network.
    threads: BTreeSet<(String, String)>,
}

impl Held {
    fn look() -> io::Result<Self> {
        let mut held = Self::default();
        for descriptor in fs::read_dir("/proc/self/fd")? {
            // One that was closed meanwhile is not held.
            if let Ok(target) = fs::read_link(descriptor?.path()) {
                *held.files.entry(kind_of(&target)).or_default() += 1;
            }
        }
        for thread in fs::read_dir("/proc/self/task")? {
            let folder = thread?.path();
            let name = fs::read_to_string(folder.join("comm"));
            let network = fs::read_link(folder.join("ns/net"));
            // One that has ended meanwhile is nowhere.
            if let (Ok(name), Ok(network)) = (name, network) {
                held.threads.insert((name.trim_end().to_owned(), network.display().to_string()));
            }
        }
        Ok(held)
    }

    /// Threads come and go in a network that the process was in anyway; in a new one, each is a leak.
    fn more_in(&self, now: &Self) -> Leaks {
        let were = |kind: &String| self.files.get(kind).copied().unwrap_or(0);
        let known: BTreeSet<&String> = self.threads.iter().map(|(_, network)| network).collect();
        Leaks {
            files: now
                .files
                .iter()
                .filter(|(kind, are)| **are > were(kind))
                .map(|(kind, are)| (kind.clone(), (were(kind), *are)))
                .collect(),
            threads: now.threads.iter().filter(|(_, network)| !known.contains(network)).cloned().collect(),
        }
    }
}

/// `socket:[123]` is a `socket`, `net:[123]` a `net`; `anon_inode:[eventfd]` and paths say what they are.
fn kind_of(target: &Path) -> String {
    let target = target.display().to_string();
    match target.split_once(":[") {
        Some((kind, number)) if number.trim_end_matches(']').bytes().all(|byte| byte.is_ascii_digit()) => {
            kind.to_owned()
        }
        _ => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held<const F: usize, const T: usize>(files: [(&str, usize); F], threads: [(&str, &str); T]) -> Held {
        Held {
            files: files.map(|(kind, count)| (kind.to_owned(), count)).into(),
            threads: threads.map(|(name, network)| (name.to_owned(), network.to_owned())).into(),
        }
    }

    #[test]
    fn kinds_have_no_numbers() {
        assert_eq!(kind_of(Path::new("socket:[123]")), "socket");
        assert_eq!(kind_of(Path::new("net:[4026531840]")), "net");
        assert_eq!(kind_of(Path::new("anon_inode:[eventfd]")), "anon_inode:[eventfd]");
        assert_eq!(kind_of(Path::new("/dev/null")), "/dev/null");
    }

    #[test]
    fn more_of_a_kind_is_a_leak_and_less_is_not() {
        let before = held([("socket", 2), ("pipe", 1)], [("main", "net:[1]")]);
        let now = held([("socket", 3), ("net", 1)], [("main", "net:[1]"), ("worker", "net:[1]")]);
        let leaks = before.more_in(&now);
        assert_eq!(leaks.to_string(), "1 open net, there were 0; 3 open socket, there were 2");
        assert!(now.more_in(&before).files().contains_key("pipe"));
        assert!(before.more_in(&before).is_none());
    }

    #[test]
    fn a_thread_in_a_new_network_is_a_leak() {
        let leaks =
            held([], [("main", "net:[1]")]).more_in(&held([], [("main", "net:[1]"), ("worker", "net:[2]")]));
        assert_eq!(leaks.to_string(), "thread worker is in net:[2]");
    }
}
