//! Running a closure inside a namespace.

use std::os::fd::AsFd as _;

use crate::entered::Entered;
use crate::{EnterError, Namespace};

impl Namespace {
    /// Enters the namespace, runs the closure on this thread, and comes back, also when the closure panics.
    ///
    /// Calls nest. Where the thread already is in this namespace, nothing is switched. The way there and back
    /// costs about as much as making two sockets; [`Home::visit`](crate::Home::visit), which does not look up where it comes from,
    /// less than one.
    ///
    /// - A future made inside and awaited outside runs outside; make sockets inside and await on them outside.
    /// - A thread started inside stays inside for its whole life, and so does a program.
    /// - What awaits cannot be inside: the closure is no `async` one, and the guard behind `run` has no name outside of this crate.
    ///
    /// ```compile_fail,E0728
    /// # use inpod_netns::Namespace;
    /// async fn wrong(pod: Namespace) {
    ///     let _ = pod.run(|| std::future::ready(()).await); // `await` is only allowed inside `async` functions
    /// }
    /// ```
    ///
    /// ```compile_fail,E0603
    /// use inpod_netns::entered::Entered; // the module is private
    /// ```
    ///
    /// So a socket is made inside, and awaited outside:
    ///
    /// ```
    /// # use inpod_netns::Namespace;
    /// async fn right(pod: Namespace) -> Result<(), Box<dyn std::error::Error>> {
    ///     let socket = pod.run(|| std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)))??;
    ///     std::future::ready(()).await;
    ///     drop(socket);
    ///     Ok(())
    /// }
    /// fn send<T: Send>(_: T) {}
    /// fn is_send(pod: Namespace) {
    ///     send(right(pod)); // a runtime may move it from thread to thread: nothing of the inside is in it
    /// }
    /// ```
    ///
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
