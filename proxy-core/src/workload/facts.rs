//! Facts: the current [`Snapshot`], replaced as a whole, and the connections that it has let in.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::admissions::{Admission, Admissions};
use super::{PodName, Snapshot};
use crate::policy::{Denied, Permit, Question};

/// The current snapshot. Readers take one for the whole of a connection and never wait; a source replaces it.
#[derive(Debug)]
pub struct Facts {
    current: ArcSwap<Snapshot>,
    admissions: Arc<Admissions>,
}

/// Why a connection is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// There are no facts about the pod that it is to.
    UnknownPod,
    /// Policy denies it.
    Denied(Denied),
}

impl Facts {
    /// Starts from `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(snapshot), admissions: Arc::default() }
    }

    /// The facts as they are now; a connection takes them once.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Replaces all facts at once, and has policy decide again on the connections that are there: by the time that this returns, what is
    /// no longer permitted is being cut. A connection to a pod that there are no facts about any more goes on.
    pub fn replace(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
        let snapshot = self.load();
        self.admissions.decide_again(|pod, question| match snapshot.workload_named(pod) {
            Some(workload) => snapshot.decide(workload, question).map(drop),
            None => Ok(()),
        });
    }

    /// Has policy decide on a connection to a pod, now and whenever facts are replaced while the admission is held; `cut` ends it too.
    pub(crate) fn admit(
        &self,
        pod: &Arc<PodName>,
        question: &Question<'_>,
        cut: &CancellationToken,
    ) -> Result<(Permit, Admission), NotAdmitted> {
        // Registered before the facts are looked at: whoever replaces them after that finds it.
        let admission = self.admissions.enter(pod, question, cut);
        let snapshot = self.load();
        let workload = snapshot.workload_named(pod).ok_or(NotAdmitted::UnknownPod)?;
        let permit = snapshot.decide(workload, question).map_err(NotAdmitted::Denied)?;
        Ok((permit, admission))
    }
}
