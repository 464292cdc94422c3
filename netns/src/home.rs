//! Home: the namespace that threads come back to, held once instead of looked up on each way.

use std::os::fd::AsFd as _;

use crate::entered::{Entered, switch};
use crate::{EnterError, Namespace, OpenError};

/// The namespace that a program's threads live in. [`Namespace::run`] finds out where its thread is each time; a program that
/// makes sockets all day, from threads that are never anywhere else, holds its home and saves most of that cost.
///
/// Clones share the descriptor.
#[derive(Clone, Debug)]
pub struct Home(Namespace);

/// Why a thread's namespace cannot be a [`Home`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It would not let its threads back in.
    #[error(transparent)]
    Enter(#[from] EnterError),
}

impl Home {
    /// The namespace that the calling thread is in, once it has been seen to let the thread in again.
    ///
    /// # Errors
    ///
    /// [`HomeError`] when it cannot be opened or not be entered: coming back would fail.
    pub fn of_this_thread() -> Result<Self, HomeError> {
        let here = Namespace::current()?;
        let target = here.id();
        switch(here.as_fd()).map_err(|source| EnterError::Return { target, source })?;
        Ok(Self(here))
    }

    /// Enters `namespace`, runs the closure on this thread, and goes home, also when the closure panics. As
    /// [`Namespace::run`], but **wherever the thread was before, it is at home afterwards**.
    ///
    /// # Errors
    ///
    /// [`EnterError::Enter`] when the namespace cannot be entered; the closure was not run, and the thread did not move.
    ///
    /// # Aborts
    ///
    /// When the thread cannot go home, which can only happen if rights were given up since the home was made.
    pub fn visit<R>(&self, namespace: &Namespace, closure: impl FnOnce() -> R) -> Result<R, EnterError> {
        let _inside = Entered::from_home(self.0.as_fd(), namespace.as_fd(), namespace.id())?;
        Ok(closure())
    }
}

impl PartialEq for Home {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for Home {}
