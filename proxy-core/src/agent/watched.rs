//! Watched: the kernel's word that something in a pod's namespace has changed, so that it is looked at again at once.

use std::io::{self, ErrorKind};

use redirect::Watch;
use tokio::net::unix::pipe::Receiver;

/// Rules and routing of one namespace.
#[derive(Debug)]
pub(super) struct Watched {
    rules: Receiver,
    routing: Receiver,
}

impl Watched {
    /// To be called inside a tokio runtime.
    pub(super) fn new(rules: Watch, routing: Watch) -> io::Result<Self> {
        // No pipes, but all that is asked of them is when they become readable, and to be read.
        let receiver = |watch: Watch| Receiver::from_owned_fd_unchecked(watch.into());
        Ok(Self { rules: receiver(rules)?, routing: receiver(routing)? })
    }

    /// Waits until something has changed since it was asked last. Cancel safe.
    pub(super) async fn changed(&self) {
        tokio::select! {
            () = told(&self.rules) => {}
            () = told(&self.routing) => {}
        }
    }
}

/// Never ready if the watch is broken: rules are read now and then all the same.
async fn told(watch: &Receiver) {
    while watch.readable().await.is_ok() {
        match take(watch) {
            Ok(true) => return,
            Ok(false) => {}
            Err(_) => break,
        }
    }
    std::future::pending::<()>().await;
}

/// More than the kernel keeps for us.
const MOST: usize = 1024;

/// Takes all that was told; whether there was anything. As [`Watch::take`], but tokio is to know that nothing is left.
fn take(watch: &Receiver) -> io::Result<bool> {
    let mut something = false;
    for _ in 0..MOST {
        match watch.try_read(&mut [0]) {
            Ok(_) => something = true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(something),
            // Something was lost.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => something = true,
            Err(error) => return Err(error),
        }
    }
    Ok(something)
}
