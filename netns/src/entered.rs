//! The guard: inside from its making, back outside at its end.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::abort;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::unistd::write;

use crate::{EnterError, NamespaceId};

/// The calling thread's namespace; see proc_pid_ns(5). Not `/proc/self`, which is the main thread's.
pub(crate) const THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// While this lives, its thread is in another namespace. Dropping it comes back, or ends the process.
///
/// It belongs to its thread, so it is not `Send`; and it never leaves [`run`](crate::Namespace::run), so that no
/// `await` can come between entering and coming back.
pub(crate) struct Entered<'home> {
    /// `None` when the thread already was in the namespace.
    back: Option<Back<'home>>,
    of_this_thread: PhantomData<*const ()>,
}

/// Where the guard comes back to.
enum Back<'home> {
    /// Where the thread was.
    Where(File),
    /// Where the caller says that it lives.
    Home(BorrowedFd<'home>),
}

impl AsFd for Back<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Where(file) => file.as_fd(),
            Self::Home(descriptor) => *descriptor,
        }
    }
}

impl<'home> Entered<'home> {
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
        Ok(Self { back: Some(Back::Where(back)), of_this_thread: PhantomData })
    }

    /// Enters the namespace behind `descriptor`, to come back to `home`, which is known to let threads in.
    pub(crate) fn from_home(
        home: BorrowedFd<'home>,
        descriptor: BorrowedFd<'_>,
        target: NamespaceId,
    ) -> Result<Self, EnterError> {
        switch(descriptor).map_err(|source| EnterError::Enter { target, source })?;
        Ok(Self { back: Some(Back::Home(home)), of_this_thread: PhantomData })
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let Some(back) = &self.back else { return };
        if let Err(error) = switch(back.as_fd()) {
            last_words(&format!("a thread cannot leave a network namespace, aborting: {error}\n"));
            abort();
        }
    }
}

/// Writes to stderr if that can be done at once. std's own stderr is behind a lock, whose holder may wait for a reader
/// that never comes; nothing may keep the process from ending.
fn last_words(words: &str) {
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    // A pipe that is ready takes PIPE_BUF (4096) bytes at once; pipe(7).
    if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        // There is nobody left to tell.
        let _ = write(&stderr, words.as_bytes());
    }
}

/// setns(2); the kernel checks that the descriptor is a network namespace.
pub(crate) fn switch(to: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setns(to, CloneFlags::CLONE_NEWNET)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Implemented twice for what is `Send`, so that naming its item there is ambiguous.
    trait NotSend<Reason> {
        const PROVED: () = ();
    }
    struct BecauseSend;
    impl<T> NotSend<()> for T {}
    impl<T: Send> NotSend<BecauseSend> for T {}

    /// Compiles only as long as the guard cannot leave its thread: neither by itself nor in a future that holds it.
    #[test]
    fn the_guard_stays_on_its_thread() {
        let () = <Entered<'static> as NotSend<_>>::PROVED;
    }
}
