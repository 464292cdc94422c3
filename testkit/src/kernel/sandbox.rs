//! A network namespace for the whole process, so that no test can touch the machine's own network.

use std::fmt::{self, Display};
use std::{fs, io};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::rtnetlink::{LOOPBACK, Rtnetlink};

/// Moves this process into a new network namespace and a new mount namespace, and sets `lo` up there.
///
/// With root's rights over the network that is all; without them, a new user namespace in which this user is root
/// comes first (user_namespaces(7)), and a fresh `/run` for the programs that keep their locks there.
///
/// # Errors
///
/// [`Unavailable`] when the kernel or its administrator forbids it. The process must have one thread: a namespace is
/// a thread's, and the others would stay outside.
pub fn sandbox() -> Result<Sandbox, Unavailable> {
    let threads = fs::read_dir("/proc/self/task").map_err(Unavailable::CountThreads)?.count();
    if threads != 1 {
        return Err(Unavailable::Threads { threads });
    }
    let rights = if holds_network_rights()? { Rights::Root } else { Rights::Rootless };
    rights.enter()?;
    // Without this, mounts made inside would show outside.
    remount("/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    if rights == Rights::Rootless {
        remount("/run", Some("tmpfs"), MsFlags::empty())?;
    }
    Rtnetlink::open().and_then(|mut kernel| kernel.set_up(LOOPBACK)).map_err(Unavailable::Loopback)?;
    Ok(Sandbox { rights })
}

/// Proof that this process is in namespaces of its own. It stays there: there is no way back out.
#[derive(Debug)]
pub struct Sandbox {
    rights: Rights,
}

impl Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.rights {
            Rights::Root => "network and mount namespaces of its own, as root",
            Rights::Rootless => "user, network and mount namespaces of its own, rootless",
        })
    }
}

/// Why there can be no sandbox here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The process's threads could not be counted.
    #[error("cannot count this process's threads in /proc/self/task")]
    CountThreads(#[source] io::Error),
    /// The process has more than the one thread that would move.
    #[error("this process has {threads} threads, and only one of them would enter the sandbox")]
    Threads {
        /// How many there are.
        threads: usize,
    },
    /// The process's capabilities could not be read.
    #[error("cannot read this process's capabilities from /proc/self/status")]
    Capabilities(#[source] io::Error),
    /// New namespaces are not allowed: no right to, none left (`/proc/sys/user`), or switched off.
    #[error("cannot make new namespaces ({flags})")]
    Unshare {
        /// The flags of unshare(2).
        flags: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The user namespace was made, but not the mapping of this user to its root.
    #[error("cannot write {file}")]
    Map {
        /// The file in `/proc/self`.
        file: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The namespace's mounts could not be separated from the machine's.
    #[error("cannot change the mount of {target}")]
    Mount {
        /// Where.
        target: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The namespace's loopback interface could not be set up.
    #[error("cannot set lo up")]
    Loopback(#[source] io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    Root,
    Rootless,
}

impl Rights {
    fn enter(self) -> Result<(), Unavailable> {
        let (user, group) = (geteuid(), getegid());
        let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
        let flags = if self == Self::Root { own } else { own | CloneFlags::CLONE_NEWUSER };
        unshare(flags).map_err(|errno| Unavailable::Unshare {
            flags: flags.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" "),
            source: errno.into(),
        })?;
        if self == Self::Rootless {
            // The kernel wants setgroups denied before an unprivileged process maps its group.
            map("/proc/self/setgroups", "deny")?;
            map("/proc/self/uid_map", &format!("0 {user} 1"))?;
            map("/proc/self/gid_map", &format!("0 {group} 1"))?;
        }
        Ok(())
    }
}

fn map(file: &'static str, line: &str) -> Result<(), Unavailable> {
    fs::write(file, line).map_err(|source| Unavailable::Map { file, source })
}

fn remount(target: &'static str, kind: Option<&str>, flags: MsFlags) -> Result<(), Unavailable> {
    mount(kind, target, kind, flags, None::<&str>)
        .map_err(|errno| Unavailable::Mount { target, source: errno.into() })
}

/// Whether the effective capabilities hold all that the tests use.
fn holds_network_rights() -> Result<bool, Unavailable> {
    let status = fs::read_to_string("/proc/self/status").map_err(Unavailable::Capabilities)?;
    Ok(effective_capabilities(&status).is_some_and(|held| held & NETWORK_RIGHTS == NETWORK_RIGHTS))
}

/// `CAP_NET_ADMIN`, `CAP_NET_RAW` and `CAP_SYS_ADMIN`, by their bits in `linux/capability.h`.
const NETWORK_RIGHTS: u64 = 1 << 12 | 1 << 13 | 1 << 21;

/// The `CapEff` line of proc_pid_status(5).
fn effective_capabilities(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status_file() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000203000\nCapBnd:\tff\n";
        assert_eq!(effective_capabilities(status), Some(NETWORK_RIGHTS));
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn a_process_with_more_than_one_thread_gets_no_sandbox() {
        let second = std::thread::spawn(sandbox).join().unwrap();
        assert!(matches!(second, Err(Unavailable::Threads { threads: 2.. })));
    }
}
