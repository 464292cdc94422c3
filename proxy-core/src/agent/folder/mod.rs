//! A folder of pod files, for machines without Kubernetes.
//!
//! One file, one pod: its shape is in `pod_file.rs`; its id is the file's name without `.yaml` or `.json`, unless it says another. A
//! file that is written enrols its pod, one that is deleted has it released if it is still there. Write another name, with a dot before
//! it, and rename: a file that is seen half written is bad, and a bad file changes nothing.

mod memory;
mod pod_file;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netns::{Namespace, OpenError};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::memory::MemoryError;
pub use self::pod_file::{MAX_FILE, PodFileError};
pub use self::reading::{FileError, FolderError};

use self::memory::{Memory, RememberError, Remembered};
use self::pod_file::PodFile;
use self::reading::Reading;
use super::handle::{Agent, PutError};
use super::pod::Pod;
use super::source::{Recognised, Source, Starting};
use crate::report::Causes;
use crate::workload::Uid;

/// The folder is read at least so often: a watch can overflow (inotify(7)), and namespaces come and go without a file that changes.
const LONGEST: Duration = Duration::from_secs(10);
/// After a change, so that a thousand files written together are read a few times and not a thousand.
const SHORTEST: Duration = Duration::from_millis(20);
/// The pace while something is wrong that may pass: a namespace that is not there yet.
const PENDING: Duration = Duration::from_millis(500);

/// A folder that is watched.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    reading: Reading,
    /// Namespaces that a container runtime has brought.
    brought: BTreeMap<Uid, Namespace>,
    /// What was put, and where its namespace was found.
    put: BTreeMap<Uid, Place>,
    memory: Memory,
    /// Whether what is remembered from before was compared with the files.
    recalled: bool,
    problems: BTreeMap<String, String>,
}

/// A pod that a file names, and where it is.
#[derive(Debug)]
struct Found {
    uid: Uid,
    file: String,
    pod: PodFile,
    place: Place,
}

#[derive(Debug, Clone)]
struct Place {
    path: Option<PathBuf>,
    namespace: Namespace,
}

/// Why a pod file could not be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum FollowError {
    #[error("another file is of the same pod {uid:?}")]
    Twice { uid: Uid },
    #[error("its network namespace")]
    Open(#[from] OpenError),
    #[error("it has no netns, and no container runtime has brought one")]
    NoNamespace,
    #[error(transparent)]
    Put(#[from] PutError),
}

impl Folder {
    /// Will follow the files in `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), known: Mutex::default() }
    }

    /// Remembers on `file` what it has had enrolled: a pod whose file is deleted while no agent runs is then released by the next. A
    /// file in memory of the machine, as namespaces are, and the folder's own.
    ///
    /// # Errors
    /// [`MemoryError`], when there is such a file and it cannot be read.
    pub fn remembering(self, file: &Path) -> Result<Self, MemoryError> {
        let memory = Memory::open(file)?;
        self.lock().memory = memory;
        Ok(self)
    }

    /// What is wrong now, by file.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<String, String> {
        self.lock().problems.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Each change of it is whole, or is made again by the next reading.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the folder and has `agent` follow; how soon it is to be done again.
    fn follow(&self, agent: &Agent) -> Duration {
        let mut known = self.lock();
        let read = known.reading.update(&self.path);
        let problems = match &read {
            Ok(()) => known.follow(agent),
            // Nothing is known, so nothing changes.
            Err(error) => BTreeMap::from([(String::new(), Causes(error).to_string())]),
        };
        for (file, problem) in
            problems.iter().filter(|&(file, problem)| known.problems.get(file) != Some(problem))
        {
            tracing::warn!(folder = %self.path.display(), file, problem, "a pod file");
        }
        known.problems = problems;
        if read.is_ok() {
            agent.complete();
        }
        if known.problems.is_empty() { LONGEST } else { PENDING }
    }

    /// Becomes readable once something has changed in the folder, or it is gone.
    fn watch(&self) -> io::Result<Receiver> {
        let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let changes = WatchFlags::CLOSE_WRITE | WatchFlags::MOVE | WatchFlags::DELETE;
        let own = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        add_watch(&watch, &self.path, changes | own)?;
        // No pipe, but all that is asked of it is when it becomes readable.
        Receiver::from_owned_fd_unchecked(watch)
    }
}

impl Known {
    /// Has `agent` follow the files; what could not be.
    fn follow(&mut self, agent: &Agent) -> BTreeMap<String, String> {
        let mut problems: BTreeMap<String, String> =
            self.reading.errors().map(|(file, error)| (file.to_owned(), Causes(error).to_string())).collect();
        let (found, unplaced) = self.find();
        let mut named: BTreeSet<Uid> = found.iter().map(|found| found.uid.clone()).collect();
        if let Err(error) = self.remember(agent, &found) {
            problems.insert(String::new(), Causes(&error).to_string());
        }
        let mut put = BTreeMap::new();
        let told = found.into_iter().map(|found| match tell(agent, &found) {
            Ok(()) => {
                put.insert(found.uid, found.place);
                None
            }
            Err(error) => Some((found.file, FollowError::Put(error))),
        });
        let failed: Vec<(String, FollowError)> = told.flatten().collect();
        for (uid, file, error) in unplaced {
            named.insert(uid);
            problems.insert(file, Causes(&error).to_string());
        }
        problems.extend(failed.into_iter().map(|(file, error)| (file, Causes(&error).to_string())));
        // A file that tells nothing may be of a pod that proxies serve.
        self.reading.mute().for_each(|file| agent.keep(file));
        named.extend(self.reading.mute().map(str::to_owned));
        self.recall(agent, &named);
        for (uid, place) in std::mem::take(&mut self.put) {
            if put.contains_key(&uid) {
                continue;
            }
            if place.is_there() && named.contains(&uid) {
                // Its file is there, and only something about it is wrong.
                put.insert(uid, place);
            } else if place.is_there() {
                agent.release(&uid);
            } else {
                agent.gone(&uid);
            }
        }
        self.brought.retain(|uid, _| named.contains(uid));
        self.put = put;
        problems
    }

    /// The pods that files name, with their places; and those without.
    fn find(&self) -> (Vec<Found>, Vec<(Uid, String, FollowError)>) {
        let (mut found, mut unplaced, mut named) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (file, pod) in self.reading.pods() {
            let (uid, file) = (uid(file, pod), file.to_owned());
            let place = if named.insert(uid.clone()) {
                self.place(&uid, pod)
            } else {
                Err(FollowError::Twice { uid: uid.clone() })
            };
            match place {
                Ok(place) => found.push(Found { uid, file, pod: pod.clone(), place }),
                Err(error) => unplaced.push((uid, file, error)),
            }
        }
        (found, unplaced)
    }

    /// Remembers these, and those of before that the agent is not done with. What a runtime has brought, others remember.
    fn remember(&mut self, agent: &Agent, found: &[Found]) -> Result<(), RememberError> {
        let before = self.memory.pods().filter(|(uid, _)| !self.recalled || agent.has(uid));
        let mut pods: BTreeMap<Uid, Remembered> =
            before.map(|(uid, pod)| (uid.clone(), pod.clone())).collect();
        for Found { uid, pod, place, .. } in found {
            if let Some(path) = &place.path {
                pods.insert(uid.clone(), Remembered::new(&pod.name, path, place.namespace.id()));
            }
        }
        self.memory.remember(pods)
    }

    /// Once: what an agent before this one had enrolled, and no file names any more, is released.
    fn recall(&mut self, agent: &Agent, named: &BTreeSet<Uid>) {
        if std::mem::replace(&mut self.recalled, true) {
            return;
        }
        for (uid, pod) in self.memory.pods().filter(|(uid, _)| !named.contains(*uid)) {
            let Some(namespace) = pod.namespace() else { continue };
            tracing::info!(uid, pod = %pod.pod_name(), "its file was deleted while no agent ran");
            if let Err(error) = agent.release_pod(Pod::new(uid.clone(), pod.pod_name(), namespace)) {
                tracing::warn!(uid, error = %Causes(&error), "a pod from before cannot be released");
            }
        }
    }

    /// Where a pod is now.
    fn place(&self, uid: &str, pod: &PodFile) -> Result<Place, FollowError> {
        let namespace = match &pod.netns {
            Some(path) => Namespace::open(path)?,
            None => self.brought.get(uid).cloned().ok_or(FollowError::NoNamespace)?,
        };
        Ok(Place { path: pod.netns.clone(), namespace })
    }
}

impl Place {
    /// Whether the namespace is still where it was found. One that a runtime has brought is, until the runtime says else.
    fn is_there(&self) -> bool {
        self.path.as_ref().is_none_or(|path| {
            Namespace::open(path).is_ok_and(|namespace| namespace.id() == self.namespace.id())
        })
    }
}

fn uid(file: &str, pod: &PodFile) -> Uid {
    pod.uid.clone().unwrap_or_else(|| file.to_owned())
}

fn tell(agent: &Agent, found: &Found) -> Result<(), PutError> {
    let Found { uid, pod, place, .. } = found;
    let mut wanted = Pod::new(uid.as_str(), pod.name.clone(), place.namespace.clone());
    wanted.existing = pod.existing;
    if pod.in_mesh { agent.put(wanted) } else { agent.release_pod(wanted) }
}

impl Source for Arc<Folder> {
    async fn run(&self, agent: &Agent, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // Watched before it is read, so that no change is missed; anew each time, because the folder may be another one by now.
            let watch = self.watch();
            let (folder, following) = (Self::clone(self), agent.clone());
            let longest =
                tokio::task::spawn_blocking(move || folder.follow(&following)).await.unwrap_or(PENDING);
            let next = async {
                match &watch {
                    Ok(watch) => {
                        drop(timeout(longest, watch.readable()).await);
                        sleep(SHORTEST).await;
                    }
                    Err(_) => sleep(PENDING).await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = next => {}
            }
        }
    }

    async fn recognise(&self, starting: &Starting) -> Recognised {
        let (folder, starting) = (Self::clone(self), starting.clone());
        let recognised = tokio::task::spawn_blocking(move || folder.recognise_now(&starting)).await;
        recognised.unwrap_or_else(|error| Recognised::Unknown(error.to_string()))
    }

    fn ended(&self, uid: &str) {
        let mut known = self.lock();
        known.brought.remove(uid);
        known.put.remove(uid);
    }
}

impl Folder {
    fn recognise_now(&self, starting: &Starting) -> Recognised {
        let mut known = self.lock();
        if let Err(error) = known.reading.update(&self.path) {
            return Recognised::Unknown(Causes(&error).to_string());
        }
        let is_it =
            |pod: &PodFile| pod.name.namespace == starting.namespace && pod.name.name == starting.name;
        let found = known.reading.pods().find(|(_, pod)| is_it(pod));
        if let Some((file, pod)) = found {
            if !pod.in_mesh {
                return Recognised::NotOurs;
            }
            let uid = uid(file, pod);
            let mut wanted = Pod::new(uid.clone(), pod.name.clone(), starting.network.clone());
            wanted.existing = pod.existing;
            let place = Place { path: None, namespace: starting.network.clone() };
            known.brought.insert(uid.clone(), starting.network.clone());
            known.put.insert(uid, place);
            return Recognised::Ours(Box::new(wanted));
        }
        match known.reading.mute().next() {
            Some(file) => {
                Recognised::Unknown(format!("the pod file {file} may be this pod's, and cannot be read"))
            }
            None => Recognised::NotOurs,
        }
    }
}
