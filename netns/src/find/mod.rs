//! Finding the namespaces of containers by what `/proc` tells of their processes.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::{Namespace, OpenError};
use address::FibTrie;

mod address;
mod cgroup;
mod container;

pub use cgroup::CgroupError;
pub use container::{Container, ContainerId, IdentifierError, PodUid, Runtime};

/// Tells what container a process is of.
///
/// [`Cgroups`] knows containerd, CRI-O and Docker. For a runtime that names its cgroups otherwise, or tells it in another
/// way, implement this.
pub trait Recognise {
    /// The container of the process that this folder is of, such as `/proc/4711`; `None` if it is of none that is known, or
    /// has ended.
    fn recognise(&self, process: &Path) -> Option<Container>;
}

/// Recognises a process by its cgroups: see [`Container::from_cgroups`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cgroups;

impl Recognise for Cgroups {
    fn recognise(&self, process: &Path) -> Option<Container> {
        // What is contradictory is recognised as nothing: an unsure answer would enrol the wrong pod.
        Container::from_cgroups(&fs::read_to_string(process.join("cgroup")).ok()?).ok()?
    }
}

/// A container's namespace that was found, and held since, by a process in it.
#[derive(Debug)]
pub struct Found {
    /// The process by which it was found: the one with the lowest number.
    pub pid: u32,
    /// Its container.
    pub container: Container,
    /// The namespace that it is in.
    pub namespace: Namespace,
}

/// Why nothing was found, other than that it is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The processes could not be listed.
    #[error("cannot list the processes in {}", proc.display())]
    List {
        /// Where they should be.
        proc: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A container's namespace could not be opened for want of rights. One that is gone is passed over.
    #[error("process {pid} of a container")]
    Open {
        /// The process.
        pid: u32,
        /// Why not.
        source: OpenError,
    },
    /// What was asked for is in more than one namespace.
    #[error("processes {first} and {second} are both of it, in different namespaces")]
    Ambiguous {
        /// A process in one of them.
        first: u32,
        /// A process in another.
        second: u32,
    },
}

/// Looks through the processes of a machine. Each question is one walk, and nothing is entered.
///
/// The namespace is opened first and the process looked at again afterwards, so a process that ended meanwhile, and
/// another that got its number, do not lend their namespace to the container. A pod on its node's network is found in the
/// node's namespace: compare with [`Namespace::current`] before acting inside.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use inpod_netns::find::Finder;
///
/// let uid = "8e3e9e3a-7c1f-4a4c-9a55-0b5b0a3c9f11".parse()?;
/// if let Some(pod) = Finder::default().by_pod_uid(&uid)? {
///     println!("{} in {}", pod.container.id, pod.namespace.id());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Finder<R = Cgroups> {
    proc: PathBuf,
    recognise: R,
}

impl Default for Finder {
    /// In `/proc`, by [`Cgroups`].
    fn default() -> Self {
        Self::new("/proc", Cgroups)
    }
}

impl<R: Recognise> Finder<R> {
    /// Looks in this folder, a proc(5) file system: another than `/proc` where the host's is mounted elsewhere.
    pub fn new(proc: impl Into<PathBuf>, recognise: R) -> Self {
        Self { proc: proc.into(), recognise }
    }

    /// Each pair of a container and its namespace once.
    ///
    /// # Errors
    ///
    /// [`FindError`].
    pub fn all(&self) -> Result<Vec<Found>, FindError> {
        let mut all: Vec<Found> = Vec::new();
        for pid in self.pids()? {
            let Some(found) = self.look(pid)? else { continue };
            let is_known = |known: &Found| {
                known.container == found.container && known.namespace.id() == found.namespace.id()
            };
            if !all.iter().any(is_known) {
                all.push(found);
            }
        }
        Ok(all)
    }

    /// A process of this pod, and its namespace; `None` if none is found.
    ///
    /// # Errors
    ///
    /// [`FindError`], also when the pod's processes are in more than one namespace.
    pub fn by_pod_uid(&self, uid: &PodUid) -> Result<Option<Found>, FindError> {
        self.only(|found| found.container.pod.as_ref() == Some(uid))
    }

    /// A container in whose network this address is local; `None` if none is found.
    ///
    /// # Errors
    ///
    /// [`FindError`], also when the address is local in more than one namespace.
    pub fn by_address(&self, address: IpAddr) -> Result<Option<Found>, FindError> {
        self.only(|found| self.has_address(found, address.to_canonical()))
    }

    fn only(&self, is_meant: impl Fn(&Found) -> bool) -> Result<Option<Found>, FindError> {
        let mut meant = self.all()?.into_iter().filter(is_meant);
        let Some(first) = meant.next() else { return Ok(None) };
        match meant.find(|other| other.namespace.id() != first.namespace.id()) {
            Some(second) => Err(FindError::Ambiguous { first: first.pid, second: second.pid }),
            None => Ok(Some(first)),
        }
    }

    /// The numbers of the processes, lowest first.
    fn pids(&self) -> Result<Vec<u32>, FindError> {
        let list = |source| FindError::List { proc: self.proc.clone(), source };
        let mut pids = Vec::new();
        for entry in fs::read_dir(&self.proc).map_err(list)? {
            let name = entry.map_err(list)?.file_name();
            pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        pids.sort_unstable();
        Ok(pids)
    }

    fn look(&self, pid: u32) -> Result<Option<Found>, FindError> {
        let process = self.folder(pid);
        let Some(container) = self.recognise.recognise(&process) else { return Ok(None) };
        let namespace = match Namespace::open(process.join("ns/net")) {
            Ok(namespace) => namespace,
            Err(source) if source.is_permission() => return Err(FindError::Open { pid, source }),
            // It has ended.
            Err(_) => return Ok(None),
        };
        let is_still = self.recognise.recognise(&process).as_ref() == Some(&container);
        Ok(is_still.then_some(Found { pid, container, namespace }))
    }

    /// Whether the address is local in the namespace, as the files of its process tell.
    fn has_address(&self, found: &Found, address: IpAddr) -> bool {
        let has = match address {
            IpAddr::V4(address) => {
                let mut trie = FibTrie::default();
                self.lines(found.pid, "fib_trie").any(|line| trie.own_address(&line) == Some(address))
            }
            IpAddr::V6(address) => {
                self.lines(found.pid, "if_inet6").any(|line| address::own_v6_address(&line) == Some(address))
            }
        };
        // The files are of the process of that number, which may be another by now.
        let is_still = || matches!(self.look(found.pid), Ok(Some(again)) if again.namespace.id() == found.namespace.id());
        has && is_still()
    }

    /// The lines of a file in the network folder of a process; none when it is gone.
    fn lines(&self, pid: u32, file: &str) -> impl Iterator<Item = String> + use<R> {
        let file = fs::File::open(self.folder(pid).join("net").join(file)).ok();
        file.into_iter().flat_map(|file| BufReader::new(file).lines().map_while(Result::ok))
    }

    fn folder(&self, pid: u32) -> PathBuf {
        self.proc.join(pid.to_string())
    }
}

#[cfg(test)]
mod tests;
