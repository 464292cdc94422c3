//! Standings: the tunnel connections that are there because somebody is believed, so that they can be judged again.
//!
//! It is for trust what admissions are for policy, with a connection to a peer in the place of a tunnel in it. Each distinct
//! chain is kept once and judged once, however many connections rest on it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

use identity::{Proof, SharedTrust, SpiffeId, Trust, VerifyError};
use rustls::pki_types::SignatureVerificationAlgorithm;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::ConnectionError;

/// Signatures to believe.
type Algorithms = &'static [&'static dyn SignatureVerificationAlgorithm];

/// All of them.
#[derive(Debug)]
pub(crate) struct Standings {
    live: Mutex<HashMap<Arc<Proof>, Vec<Arc<Standing>>>>,
    changes: AtomicU64,
    trust: SharedTrust,
    algorithms: Algorithms,
}

/// How often trust had changed at some moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(u64);

/// One connection to a peer that is believed, or was.
#[derive(Debug)]
pub(crate) struct Standing {
    proof: Arc<Proof>,
    cut: CancellationToken,
    lost: OnceLock<Arc<VerifyError>>,
}

/// A connection's place, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Seat {
    standings: Arc<Standings>,
    standing: Arc<Standing>,
}

impl Standings {
    pub(crate) fn new(trust: SharedTrust, algorithms: Algorithms) -> Self {
        Self { live: Mutex::default(), changes: AtomicU64::new(0), trust, algorithms }
    }

    /// Now: to be asked before a handshake.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.changes.load(Ordering::SeqCst))
    }

    /// Enters a connection, which `cut` or a child of it ends. Its peer proved itself in a handshake that began after `since`.
    ///
    /// # Errors
    /// It is believed no more: trust has changed meanwhile.
    pub(crate) fn enter(
        self: &Arc<Self>,
        proof: Proof,
        since: Moment,
        cut: &CancellationToken,
    ) -> Result<Seat, VerifyError> {
        let seat = Seat { standing: self.place(proof, cut), standings: Arc::clone(self) };
        // It was entered before this is looked at: whoever is told of a change after that finds it.
        if self.changes.load(Ordering::SeqCst) != since.0 {
            self.judge(&seat.standing.proof, &self.trust.current())?;
        }
        Ok(seat)
    }

    /// Judges all whenever trust is replaced, until there is nothing left to judge.
    pub(crate) async fn follow(standings: Weak<Self>, mut trust: watch::Receiver<Trust>) {
        while trust.changed().await.is_ok() {
            let Some(standings) = standings.upgrade() else { return };
            let now = trust.borrow_and_update().clone();
            standings.judge_again(&now).await;
        }
    }

    /// Ends the connections whose peers are not believed any more. Nobody waits meanwhile who comes or goes.
    async fn judge_again(&self, trust: &Trust) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let proofs: Vec<Arc<Proof>> = self.lock().keys().cloned().collect();
        for proof in proofs {
            if let Err(error) = self.judge(&proof, trust) {
                self.end(&proof, error);
            }
            // There are other things to do on this thread.
            tokio::task::yield_now().await;
        }
    }

    fn judge(&self, proof: &Proof, trust: &Trust) -> Result<(), VerifyError> {
        proof.check(trust, self.algorithms, SystemTime::now())
    }

    fn place(&self, proof: Proof, cut: &CancellationToken) -> Arc<Standing> {
        let mut live = self.lock();
        let entry = live.entry(Arc::new(proof));
        let proof = Arc::clone(entry.key());
        let standing = Arc::new(Standing { proof, cut: cut.child_token(), lost: OnceLock::new() });
        entry.or_default().push(Arc::clone(&standing));
        standing
    }

    fn end(&self, proof: &Proof, error: VerifyError) {
        let ending = self.lock().get(proof).cloned().unwrap_or_default();
        tracing::info!(peer = %proof.id(), connections = ending.len(), %error, "peer is believed no more");
        let error = Arc::new(error);
        for standing in ending {
            standing.end(Arc::clone(&error));
        }
    }

    /// Every act leaves the map whole, so a panic elsewhere has spoilt nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<Proof>, Vec<Arc<Standing>>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Who the peer is.
    pub(crate) fn id(&self) -> &SpiffeId {
        self.proof.id()
    }

    /// Ends the connection and all tunnels in it.
    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// How a tunnel in it has ended, seen from inside as `outcome`.
    pub(crate) fn told(&self, outcome: Result<(), ConnectionError>) -> Result<(), ConnectionError> {
        outcome.map_err(|error| match self.lost.get() {
            Some(why) => ConnectionError::Distrusted(Arc::clone(why)),
            None => error,
        })
    }

    fn end(&self, why: Arc<VerifyError>) {
        // The reason is there before anybody can ask for it.
        let _ = self.lost.set(why);
        self.cut.cancel();
    }
}

impl Seat {
    /// The connection's.
    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut live = self.standings.lock();
        if let Entry::Occupied(mut entry) = live.entry(Arc::clone(&self.standing.proof)) {
            entry.get_mut().retain(|other| !Arc::ptr_eq(other, &self.standing));
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use std::time::Duration;

    use identity::{Ca, Role};

    use super::*;

    struct Scene {
        ours: Ca,
        theirs: Ca,
        standings: Arc<Standings>,
        cut: CancellationToken,
    }

    impl Scene {
        fn new() -> Self {
            let [ours, theirs] =
                ["ours", "theirs"].map(|domain| Ca::generate(domain.parse().unwrap()).unwrap());
            let trust = Trust::new([ours.bundle().clone(), theirs.bundle().clone()]).unwrap();
            let algorithms = identity::tls::aws_lc_rs().signature_verification_algorithms.all;
            let standings = Arc::new(Standings::new(trust.into(), algorithms));
            Self { ours, theirs, standings, cut: CancellationToken::new() }
        }

        fn proof(ca: &Ca, path: &str) -> Proof {
            let id = SpiffeId::new(ca.bundle().trust_domain(), path).unwrap();
            let svid = ca.issue(&id, Duration::from_secs(60), SystemTime::now()).unwrap();
            Proof::new(svid.chain(), Role::Client).unwrap()
        }

        fn enter(&self, proof: &Proof) -> Seat {
            self.standings.enter(proof.clone(), self.standings.moment(), &self.cut).unwrap()
        }

        /// As when trust is replaced while this is followed.
        async fn replace(&self, trust: Trust) {
            self.standings.trust.replace(trust.clone());
            self.standings.judge_again(&trust).await;
        }
    }

    fn is_lost(seat: &Seat) -> bool {
        let told = seat.standing.told(Err(ConnectionError::Cut));
        let lost = matches!(told, Err(ConnectionError::Distrusted(_)));
        assert_eq!(lost, seat.standing.cut.is_cancelled());
        lost
    }

    #[tokio::test]
    async fn who_is_believed_no_more_is_cut_and_others_are_not() {
        let scene = Scene::new();
        let (ours, theirs) = (Scene::proof(&scene.ours, "/a"), Scene::proof(&scene.theirs, "/a"));
        let kept = scene.enter(&ours);
        let lost = [scene.enter(&theirs), scene.enter(&theirs)];
        let gone = scene.enter(&theirs);
        drop(gone);
        let other_root = Ca::generate("theirs".parse().unwrap()).unwrap();
        let trust = scene.standings.trust.current();
        scene.replace(trust.clone()).await;
        assert!(!is_lost(&kept) && !lost.iter().any(is_lost), "nothing has changed for anybody");
        scene.replace(trust.with_bundle(other_root.bundle().clone()).unwrap()).await;
        assert!(!is_lost(&kept) && lost.iter().all(is_lost));
        assert!(!scene.cut.is_cancelled(), "others of the same worker go on");
        assert!(lost[0].standing.told(Ok(())).is_ok(), "what was over in order was so");
    }

    #[tokio::test]
    async fn a_change_during_the_handshake_is_not_missed() {
        let scene = Scene::new();
        let proof = Scene::proof(&scene.theirs, "/a");
        let before = scene.standings.moment();
        scene.replace(scene.standings.trust.current().without(&"theirs".parse().unwrap())).await;
        let refused = scene.standings.enter(proof, before, &scene.cut).unwrap_err();
        assert!(matches!(refused, VerifyError::TrustDomain { .. }), "{refused}");
        // One of ours began as early, and is as good as ever.
        let proof = Scene::proof(&scene.ours, "/a");
        assert!(scene.standings.enter(proof, before, &scene.cut).is_ok());
        assert!(scene.standings.lock().is_empty(), "who left or never came is forgotten");
    }

    #[test]
    fn one_chain_is_kept_once() {
        let scene = Scene::new();
        let (a, b) = (Scene::proof(&scene.ours, "/a"), Scene::proof(&scene.ours, "/b"));
        let seats = [scene.enter(&a), scene.enter(&b), scene.enter(&a)];
        assert!(Arc::ptr_eq(&seats[0].standing.proof, &seats[2].standing.proof));
        assert_eq!(scene.standings.lock().len(), 2);
        drop(seats);
        assert!(scene.standings.lock().is_empty());
    }
}
