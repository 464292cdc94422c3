//! Workers: the choice of runtime, in one file. One current-thread tokio runtime a core.
//!
//! A connection stays on the worker that it is given at accept: its sockets, its tunnels' pool and its tasks are touched
//! by one core, which measured a fifth cheaper a request than one runtime over all cores. As far as the load allows, that
//! is the worker that accepted it: handing it over costs a wake-up of another core and registering the socket again.
//!
//! What would keep connections waiting, asking for SVIDs and judging connections again, has a thread of its own beside them.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use netns::{Home, HomeError};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::underway::Underway;

/// The node's worker threads. Dropping them ends the threads and every task on them.
#[derive(Debug)]
pub struct Workers {
    /// As many as `count`.
    workers: Vec<Worker>,
    count: NonZeroUsize,
    /// Serves no connections: for what may take a core for a while.
    aside: Worker,
    home: Home,
    next: AtomicUsize,
    underway: Underway,
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
    serving: Serving,
}

/// How many connections a worker serves.
#[derive(Debug, Clone, Default)]
struct Serving(Arc<AtomicUsize>);

/// Counts one connection of a worker for as long as it lives.
#[derive(Debug)]
pub(crate) struct Served(Serving);

impl Workers {
    /// Starts `count` workers. They live in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the system refuses a thread or an epoll instance, or would not let a thread back into the namespace.
    pub fn start(count: NonZeroUsize) -> Result<Self, WorkersError> {
        let home = Home::of_this_thread()?;
        let stop = CancellationToken::new();
        let start = |name| Worker::start(name, stop.clone());
        let workers =
            (0..count.get()).map(|index| start(format!("inpod-{index}"))).collect::<Result<_, _>>()?;
        let aside = start("inpod-aside".to_owned())?;
        Ok(Self {
            workers,
            count,
            aside,
            home,
            next: AtomicUsize::new(0),
            underway: Underway::default(),
            stop,
        })
    }

    /// The namespace that the workers live in, and come back to from pods.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The tunnels that they are dialling.
    pub(crate) fn underway(&self) -> &Underway {
        &self.underway
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> NonZeroUsize {
        self.count
    }

    /// The index of the worker that takes the next connection, in turn.
    pub(crate) fn next(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.count
    }

    /// The worker for a connection that worker `here` has accepted: that one, unless it has clearly more to do than another.
    pub(crate) fn near(&self, here: usize) -> usize {
        let serving = |worker: &Worker| worker.serving.now();
        let idlest = self.workers.iter().map(serving).enumerate().min_by_key(|(_, serving)| *serving);
        match (idlest, self.workers.get(here).map(serving)) {
            (Some((index, least)), Some(mine)) if mine > tolerable(least) => index,
            _ => here,
        }
    }

    /// Whether the calling thread is the worker with this index.
    pub(crate) fn is_here(&self, index: usize) -> bool {
        let current = Handle::try_current().map(|handle| handle.id());
        self.workers.get(index).is_some_and(|worker| current.is_ok_and(|id| id == worker.handle.id()))
    }

    /// Counts a connection as one that the worker with this index serves.
    pub(crate) fn served_by(&self, index: usize) -> Option<Served> {
        self.workers.get(index).map(|worker| worker.serving.one_more())
    }

    /// Runs `task` on the worker with this index (modulo their number).
    pub(crate) fn spawn(&self, index: usize, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(worker) = self.workers.get(index % self.count) {
            worker.handle.spawn(task);
        }
    }

    /// Runs `task` on the thread that serves no connections.
    pub(crate) fn spawn_aside(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.aside.handle.spawn(task);
    }
}

/// How many connections a worker may serve while another serves only `least`. A quarter more costs less than handing
/// over, and few connections are spread exactly: each of them may be a heavy one.
fn tolerable(least: usize) -> usize {
    least.saturating_add(least / 4)
}

impl Serving {
    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn one_more(&self) -> Served {
        self.0.fetch_add(1, Ordering::Relaxed);
        Served(self.clone())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    fn start(name: String, stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread =
            std::thread::Builder::new().name(name).spawn(move || runtime.block_on(stop.cancelled()))?;
        Ok(Self { handle, thread: Some(thread), serving: Serving::default() })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        let here = std::thread::current().id();
        let all = self.workers.iter_mut().chain([&mut self.aside]);
        for thread in all.filter_map(|worker| worker.thread.take()) {
            // The last owner may be a task on a worker; a thread cannot wait for itself.
            if thread.thread().id() != here {
                // A worker that panicked has said so; nothing is left to do for it.
                let _ = thread.join();
            }
        }
    }
}
