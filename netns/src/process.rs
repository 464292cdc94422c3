//! The namespace of a process or of a thread.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use crate::{Namespace, OpenError, Origin, sys};

impl Namespace {
    /// The namespace that a process is in now.
    ///
    /// The process is held by a pidfd meanwhile, so that a process that ends and another that gets its number are not
    /// confused. Needs Linux 5.3, and the right to look at the process (ptrace(2), `PTRACE_MODE_READ_FSCREDS`).
    ///
    /// # Errors
    ///
    /// [`OpenError`], naming the process.
    pub fn of_process(pid: u32) -> Result<Self, OpenError> {
        let origin = Origin::Process(pid);
        let process =
            sys::pidfd_open(pid).map_err(|source| OpenError::Open { origin: origin.clone(), source })?;
        let file = of_held(process.as_fd(), Some(pid), &origin)?;
        Self::from_file(file, origin)
    }

    /// The namespace that the process behind a pidfd is in now: one from pidfd_open(2), clone(2), `SO_PEERPIDFD` or a
    /// Unix socket. The number of the process plays no part, so it cannot be mistaken for another.
    ///
    /// Before Linux 6.11 the process must be in a pid namespace that this process sees.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the descriptor may be of something else than a process, or the process may have ended.
    pub fn of_pidfd(process: impl AsFd) -> Result<Self, OpenError> {
        let process = process.as_fd();
        let pid = number_of(process)?;
        let file = of_held(process, pid, &Origin::Pidfd)?;
        Self::from_file(file, Origin::Pidfd)
    }

    /// The namespace that a thread is in now, of this process or of another (gettid(2)). Threads of one process may be
    /// in different namespaces; [`of_process`](Self::of_process) tells where its first thread is.
    ///
    /// # Errors
    ///
    /// [`OpenError`], naming the thread.
    pub fn of_thread(tid: u32) -> Result<Self, OpenError> {
        let origin = Origin::Task(tid);
        // Not listed, but there: proc_pid(5) has a folder for each thread. One open finds the thread and its namespace.
        match File::open(format!("/proc/{tid}/ns/net")) {
            Ok(file) => Self::from_file(file, origin),
            Err(source) => Err(OpenError::Open { origin, source }),
        }
    }
}

/// Opens the namespace of the process behind a pidfd; `pid` is its number, where it has one here.
fn of_held(process: BorrowedFd<'_>, pid: Option<u32>, origin: &Origin) -> Result<File, OpenError> {
    let open = |source| OpenError::Open { origin: origin.clone(), source };
    match (sys::pidfd_network_namespace(process), pid) {
        (Ok(descriptor), _) => Ok(File::from(descriptor)),
        (Err(error), Some(pid)) => match error.raw_os_error() {
            Some(libc::ESRCH) => Err(OpenError::Ended { pid }),
            // Before Linux 6.11: a request that pidfds do not know.
            Some(libc::ENOTTY | libc::EINVAL) => by_number(pid, process, origin),
            _ => Err(open(error)),
        },
        (Err(error), None) => Err(open(error)),
    }
}

/// Opens a process's namespace by its number, while its pidfd tells whether the number is still its own.
fn by_number(pid: u32, process: BorrowedFd<'_>, origin: &Origin) -> Result<File, OpenError> {
    let open = |source| OpenError::Open { origin: origin.clone(), source };
    let opened = File::open(format!("/proc/{pid}/ns/net"));
    // In this order: a process that still exists now had the number when the path was opened.
    match sys::has_ended(process).map_err(open)? {
        true => Err(OpenError::Ended { pid }),
        false => opened.map_err(open),
    }
}

/// The number of the process behind a pidfd. `None` when it has ended, or has no number in our pid namespace.
fn number_of(process: BorrowedFd<'_>) -> Result<Option<u32>, OpenError> {
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))
        .map_err(|source| OpenError::Open { origin: Origin::Pidfd, source })?;
    let number = number_in(&about).ok_or(OpenError::NotProcess)?;
    Ok(u32::try_from(number).ok().filter(|pid| *pid != 0))
}

/// The `Pid` line of a pidfd's proc_pid_fdinfo(5), which no other file has: -1 when the process has ended, 0 when it is in
/// another pid namespace.
fn number_in(about: &str) -> Option<i64> {
    about.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// What kernels before 6.11 need, which newer ones would otherwise never run.
    #[test]
    fn by_number_finds_the_namespace_of_a_process() {
        let pid = std::process::id();
        let process = sys::pidfd_open(pid).unwrap();
        let found = by_number(pid, process.as_fd(), &Origin::Process(pid)).unwrap().metadata().unwrap();
        let expected = fs::metadata("/proc/self/ns/net").unwrap();
        assert_eq!((found.dev(), found.ino()), (expected.dev(), expected.ino()));
    }

    #[test]
    fn by_number_does_not_trust_the_number_of_a_process_that_ended() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let origin = Origin::Process(child.id());
        let process = sys::pidfd_open(child.id()).unwrap();
        by_number(child.id(), process.as_fd(), &origin).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        // This process's number stands for one that was given away again.
        let reused = by_number(std::process::id(), process.as_fd(), &origin);
        assert!(matches!(reused, Err(OpenError::Ended { .. })));
    }

    #[test]
    fn a_pidfd_tells_its_number_until_the_process_is_gone() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = sys::pidfd_open(child.id()).unwrap();
        assert_eq!(number_of(process.as_fd()).unwrap(), Some(child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(number_of(process.as_fd()).unwrap(), None);
    }

    #[test]
    fn the_line_of_a_pidfd() {
        assert_eq!(number_in("pos:\t0\nflags:\t02000002\nPid:\t4711\nNSpid:\t4711\n"), Some(4711));
        assert_eq!(number_in("pos:\t0\nPid:\t-1\n"), Some(-1));
        assert_eq!(number_in("pos:\t0\nflags:\t02000002\n"), None);
        assert_eq!(number_in("pos:\t0\nPid:\tnone\n"), None);
    }

    #[test]
    fn a_thread_is_found_by_its_number() {
        let own = u32::try_from(nix::unistd::gettid().as_raw()).unwrap();
        assert_eq!(Namespace::of_thread(own).unwrap().id(), Namespace::current().unwrap().id());
    }

    #[test]
    fn something_else_than_a_process_is_refused() {
        let file = File::open("/proc/self/status").unwrap();
        assert!(matches!(Namespace::of_pidfd(&file), Err(OpenError::NotProcess)));
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(matches!(Namespace::of_pidfd(&socket), Err(OpenError::NotProcess)));
    }
}
