//! The guard: inside from its making, back outside at its end.

use std::fs::File;
use std::io::{self, Write as _};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::abort;

use nix::sched::{CloneFlags, setns};

use crate::{EnterError, NamespaceId};

/// The calling thread's namespace; see proc_pid_ns(5). Not `/proc/self`, which is the main thread's.
pub(crate) const THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// While this lives, its thread is in another namespace. Dropping it comes back, or ends the process.
///
/// It belongs to its thread, so it is not `Send`; and it never leaves [`run`](crate::Namespace::run), so that no
/// `await` can come between entering and coming back.
pub(crate) struct Entered {
    /// `None` when the thread already was in the namespace.
    back: Option<File>,
    of_this_thread: PhantomData<*const ()>,
}

impl Entered {
    /// Enters the namespace behind `descriptor`, which `target` names.
    ///
    /// The way back is opened anew each time. A descriptor kept per thread would have to be checked against
    /// `/proc/thread-self/ns/net` (other code may move the thread as well), which costs as much as opening it, and it
    /// would keep namespaces alive.
    pub(crate) fn enter(descriptor: BorrowedFd<'_>, target: NamespaceId) -> Result<Self, EnterError> {
        let back = File::open(THIS_THREAD).map_err(|source| EnterError::Hold { target, source })?;
        let here = back.metadata().map_err(|source| EnterError::Hold { target, source })?;
        // Both descriptors are held, so the inode alone is unambiguous.
        if (here.dev(), here.ino()) == (target.device(), target.inode()) {
            return Ok(Self { back: None, of_this_thread: PhantomData });
        }
        // Going to where the thread already is asks for the very rights that the return will need. Root of a user
        // namespace that has not made its own network namespace would get in, and not back.
        switch(back.as_fd()).map_err(|source| EnterError::Return { target, source })?;
        switch(descriptor).map_err(|source| EnterError::Enter { target, source })?;
        Ok(Self { back: Some(back), of_this_thread: PhantomData })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let Some(back) = &self.back else { return };
        if let Err(error) = switch(back.as_fd()) {
            // Not eprintln, which panics where stderr is closed.
            let _ = writeln!(io::stderr(), "a thread cannot leave a network namespace, aborting: {error}");
            abort();
        }
    }
}

/// setns(2); the kernel checks that the descriptor is a network namespace.
fn switch(to: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setns(to, CloneFlags::CLONE_NEWNET)?)
}
