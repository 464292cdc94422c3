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

#[cfg(test)]
#[cfg(feature = "yaml")]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::address::ClientAddr;
    use crate::workload::file::parse;

    /// The pod, and with `closed` a policy by which nobody may come.
    fn snapshot(closed: bool) -> Snapshot {
        let policy = "policies: [{name: closed, namespace: n, scope: Namespace, action: Allow, rules: []}]";
        let workload = "workloads: [{name: p, namespace: n, serviceAccount: s, workloadIps: [10.0.0.1]}]\n";
        let text = workload.to_owned() + if closed { policy } else { "" };
        parse(&text, &"cluster.local".parse().unwrap()).unwrap()
    }

    fn pod() -> Arc<PodName> {
        Arc::new(PodName { namespace: "n".into(), name: "p".into(), service_account: "s".into() })
    }

    fn question(port: u16) -> Question<'static> {
        let client = ClientAddr::new(([10, 0, 0, 9], port).into());
        Question { client, peer: None, destination: ([10, 0, 0, 1], 80).into() }
    }

    #[test]
    fn what_is_let_in_is_decided_on_again() {
        let (facts, pod, cut) = (Facts::new(snapshot(false)), pod(), CancellationToken::new());
        let (_, first) = facts.admit(&pod, &question(1), &cut).unwrap();
        let (_, second) = facts.admit(&pod, &question(2), &cut).unwrap();
        facts.replace(snapshot(false));
        assert!(!first.cut().is_cancelled() && first.denied().is_none());
        drop(second);
        facts.replace(snapshot(true));
        assert!(first.cut().is_cancelled());
        assert_eq!(first.denied(), Some(Denied::NoneAllows));
        assert!(!cut.is_cancelled(), "others of the same worker go on");
        let denied = facts.admit(&pod, &question(3), &cut).unwrap_err();
        assert_eq!(denied, NotAdmitted::Denied(Denied::NoneAllows));
        // Facts that do not know the pod say nothing about it.
        facts.replace(snapshot(false));
        let (_, third) = facts.admit(&pod, &question(4), &cut).unwrap();
        facts.replace(Snapshot::default());
        assert!(!third.cut().is_cancelled());
        assert_eq!(facts.admit(&pod, &question(5), &cut).unwrap_err(), NotAdmitted::UnknownPod);
        cut.cancel();
        assert!(third.cut().is_cancelled() && third.denied().is_none());
    }

    #[test]
    fn nobody_slips_in_while_facts_change() {
        const ROUNDS: usize = 5000;
        let (facts, pod, cut) = (Facts::new(snapshot(false)), pod(), CancellationToken::new());
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            let changing = scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let (closed, open) = (snapshot(true), snapshot(false));
                    barrier.wait();
                    facts.replace(closed);
                    barrier.wait();
                    facts.replace(open);
                }
            });
            let mut slipped = 0;
            for round in 0..ROUNDS {
                barrier.wait();
                // At another moment of the change each time.
                (0..round % 64).for_each(|_| std::hint::spin_loop());
                let admitted = facts.admit(&pod, &question(1), &cut);
                barrier.wait();
                slipped += usize::from(admitted.is_ok_and(|(_, admission)| !admission.cut().is_cancelled()));
            }
            changing.join().unwrap();
            assert_eq!(slipped, 0);
        });
    }
}
