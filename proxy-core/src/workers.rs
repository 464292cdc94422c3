//! Workers: the choice of runtime, in one file. One current-thread tokio runtime a core.
//!
//! A connection stays on the worker that it is given at accept: its sockets, its tunnels' pool and its tasks are touched
//! by one core, which measured a fifth cheaper a request than one runtime over all cores.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use netns::{Home, HomeError};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The node's worker threads. Dropping them ends the threads and every task on them.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    home: Home,
    next: AtomicUsize,
    stop: CancellationToken,
}

/// Why the workers could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkersError {
    /// No thread, or no epoll instance.
    #[error("starting a thread")]
    Thread(#[from] io::Error),
    /// The proxy's own namespace would not let threads back in.
    #[error("the proxy's own network namespace")]
    Home(#[from] HomeError),
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` workers. They live in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the system refuses a thread or an epoll instance, or would not let a thread back into the namespace.
    pub fn start(count: NonZeroUsize) -> Result<Self, WorkersError> {
        let home = Home::of_this_thread()?;
        let stop = CancellationToken::new();
        let workers =
            (0..count.get()).map(|index| Worker::start(index, stop.clone())).collect::<Result<_, _>>()?;
        Ok(Self { workers, home, next: AtomicUsize::new(0), stop })
    }

    /// The namespace that the workers live in, and come back to from pods.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// The index of the worker that takes the next connection, in turn.
    pub(crate) fn next(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len().max(1)
    }

    /// Runs `task` on the worker with this index (modulo their number).
    pub(crate) fn spawn(&self, index: usize, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(worker) = self.workers.get(index % self.workers.len().max(1)) {
            worker.handle.spawn(task);
        }
    }
}

impl Worker {
    fn start(index: usize, stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new()
            .name(format!("inpod-{index}"))
            .spawn(move || runtime.block_on(stop.cancelled()))?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        let here = std::thread::current().id();
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // The last owner may be a task on a worker; a thread cannot wait for itself.
            if thread.thread().id() != here {
                // A worker that panicked has said so; nothing is left to do for it.
                let _ = thread.join();
            }
        }
    }
}
