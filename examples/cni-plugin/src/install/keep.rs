//! Keeps our plugin in a configuration that others write too.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::configurations::{InstallError, Installed, install};
use super::list::Entry;

/// How often is looked at the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// At least so often, whatever the kernel tells. 30 s: a watch can miss what happens on a network's file system, or overflow
    /// (inotify(7)); looking costs a few system calls.
    pub longest: Duration,
    /// At most so often. 200 ms: two programs that each want to be last write the file five times a second, and not all the time.
    pub shortest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { longest: Duration::from_secs(30), shortest: Duration::from_millis(200) }
    }
}

/// Installs our plugin, and again whenever the folder changes, until `stop`. Each time tells what came of it, [`Installed::Already`]
/// too. Between a change by others and ours a runtime may start a pod without us; the agent enrols it when it sees it running.
pub async fn keep(
    folder: &Path,
    entry: &Entry,
    pace: Pace,
    stop: &CancellationToken,
    mut told: impl FnMut(Result<Installed, InstallError>),
) {
    while !stop.is_cancelled() {
        // Watched before it is looked at, so that no change is missed; anew each time, because the folder may be another one by now.
        let watch = watch(folder);
        let (place, wanted) = (folder.to_owned(), entry.clone());
        if let Ok(installed) = tokio::task::spawn_blocking(move || install(&place, &wanted)).await {
            told(installed);
        }
        let next = async {
            sleep(pace.shortest).await;
            match &watch {
                Ok(watch) => drop(timeout(pace.longest, watch.readable()).await),
                Err(_) => sleep(pace.longest.min(UNWATCHED)).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = next => {}
        }
    }
}

/// The pace while the folder cannot be watched, mostly because it is not there yet: its first network is to be ours soon.
const UNWATCHED: Duration = Duration::from_secs(1);

/// Becomes readable once something has changed in the folder, or it is gone.
fn watch(folder: &Path) -> io::Result<Receiver> {
    let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let changes = WatchFlags::CLOSE_WRITE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::ATTRIB;
    let own = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
    add_watch(&watch, folder, changes | own)?;
    // No pipe, but all that is asked of it is when it becomes readable.
    Receiver::from_owned_fd_unchecked(watch)
}
