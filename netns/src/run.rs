//! Running a closure inside a namespace.

use std::os::fd::AsFd as _;

use crate::entered::Entered;
use crate::{EnterError, Namespace};

impl Namespace {
    /// Enters the namespace, runs the closure on this thread, and comes back, also when the closure panics.
    ///
    /// Calls nest. Where the thread already is in this namespace, nothing is switched. The way there and back
    /// costs about as much as making a socket and a half.
    ///
    /// - A future made inside and awaited outside runs outside; make sockets inside and await on them outside.
    /// - A thread started inside stays inside for its whole life, and so does a program.
    /// - A closure must not move the thread itself; were it to, `run` still comes back to where it was called.
    ///
    /// # Errors
    ///
    /// [`EnterError`] when the namespace cannot be entered or would not be left again; the closure was not run.
    ///
    /// # Aborts
    ///
    /// When the thread cannot come back, which can only happen if the closure gave up rights that it had when it
    /// entered: the process ends (`abort`) after one line on stderr.
    pub fn run<R>(&self, closure: impl FnOnce() -> R) -> Result<R, EnterError> {
        let _inside = Entered::enter(self.as_fd(), self.id())?;
        Ok(closure())
    }
}
