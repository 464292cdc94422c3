//! Drain: the end of a pod's proxy, in two steps. First no new work is taken and peers are told; then, when the time is
//! over, what is left is cut.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The signals, and the count of what still runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain {
    closing: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// Ready once no new work is to be taken.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// A signal for one worker's connections to end at once. One for each worker, so that its connections do not share a
    /// lock with other cores'.
    pub(crate) fn cut_for_worker(&self) -> CancellationToken {
        self.cut.child_token()
    }

    /// Counts `task` among what must end.
    pub(crate) fn track<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        self.tasks.track_future(task)
    }

    /// Stops taking work, waits at most `grace` for what runs, cuts the rest and waits for that to end.
    pub(crate) async fn run(self, grace: Duration) {
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }

    /// Both steps at once, without waiting.
    pub(crate) fn abort(&self) {
        self.closing.cancel();
        self.cut.cancel();
        self.tasks.close();
    }
}
