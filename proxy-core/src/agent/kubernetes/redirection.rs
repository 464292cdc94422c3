//! Redirection: the annotation that says that a pod is captured, by which Istio's control plane knows that others may reach it by
//! tunnel. It is written, and never believed: what is so is in the kernel.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::facts::REDIRECTION;
use super::reason::reason;
use super::shape::PodShape;
use crate::agent::backoff::Backoff;
use crate::workload::{PodName, Uid};

/// Istio's word for: its rules are in place, and a proxy serves it.
pub(super) const ENABLED: &str = "enabled";

/// Longest time for one.
const LIMIT: Duration = Duration::from_secs(10);
/// How often one pod's is written: also if somebody else writes something else.
const AGAIN: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Writing {
    pub(super) uid: Uid,
    pub(super) name: PodName,
    pub(super) enabled: bool,
}

/// How far the agent is with a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is captured, and a proxy listens.
    Enrolled,
    /// It is on its way there, or out.
    Between,
    /// The agent knows nothing of it.
    Unknown,
}

/// Whether something is to be written of a pod that is to be in the mesh, or out of it, that the agent is so far with, and whose
/// annotation says this.
pub(super) fn is_due(in_mesh: bool, stage: Stage, said: Option<&str>) -> bool {
    match (in_mesh, stage) {
        (true, Stage::Enrolled) => said != Some(ENABLED),
        (false, Stage::Unknown) => said.is_some(),
        (true, Stage::Between | Stage::Unknown) | (false, Stage::Enrolled | Stage::Between) => false,
    }
}

/// When which pod's may be written again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pods: BTreeMap<Uid, (u32, Instant)>,
}

impl Pace {
    /// Whether it may be now.
    pub(super) fn allows(&self, uid: &str, now: Instant) -> bool {
        self.pods.get(uid).is_none_or(|(_, again)| now >= *again)
    }

    /// It is tried now. `chance` is from 0 to 1.
    pub(super) fn tried(&mut self, uid: &str, now: Instant, chance: f64) {
        let (times, again) = self.pods.entry(uid.to_owned()).or_insert((0, now));
        // What was right for long starts afresh.
        *times = if now >= *again + AGAIN.longest { 1 } else { times.saturating_add(1) };
        *again = now + AGAIN.wait(*times, chance);
    }

    /// Forgets pods that are no more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.pods.retain(|uid, _| is_there(uid));
    }
}

/// Writes it. A pod of the same name with another uid is left alone.
///
/// # Errors
/// Why not, for people.
pub(super) async fn write(client: &Client, writing: &Writing) -> Result<(), String> {
    let api: Api<PodShape> = Api::namespaced(client.clone(), &writing.name.namespace);
    let patch = Patch::Merge(patch(writing));
    let parameters = PatchParams::default();
    let written = api.patch_status(&writing.name.name, &parameters, &patch);
    match timeout(LIMIT, written).await {
        Ok(Ok(_)) => Ok(()),
        // There is nothing left to say it of.
        Ok(Err(Error::Api(status))) if status.code == 404 => Ok(()),
        Ok(Err(error)) => Err(reason(&error)),
        Err(_) => Err("no answer in time".into()),
    }
}

/// As a merge patch (RFC 7396), with the uid, which cannot be changed: so that it changes nothing of another pod.
fn patch(writing: &Writing) -> Value {
    let value = if writing.enabled { json!(ENABLED) } else { Value::Null };
    json!({ "metadata": { "uid": writing.uid, "annotations": { REDIRECTION: value } } })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_written_once_and_taken_away_once() {
        let table = [
            (true, Stage::Enrolled, None, true),
            (true, Stage::Enrolled, Some("pending"), true),
            (true, Stage::Enrolled, Some("enabled"), false),
            (true, Stage::Between, None, false),
            // A proxy is away for a while, or the agent has just started: what was said stays.
            (true, Stage::Between, Some("enabled"), false),
            (true, Stage::Unknown, Some("enabled"), false),
            (false, Stage::Between, Some("enabled"), false),
            (false, Stage::Unknown, Some("enabled"), true),
            (false, Stage::Unknown, Some("pending"), true),
            (false, Stage::Unknown, None, false),
        ];
        for (in_mesh, stage, said, wanted) in table {
            assert_eq!(is_due(in_mesh, stage, said), wanted, "{in_mesh} {stage:?} {said:?}");
        }
    }

    #[test]
    fn a_patch_is_of_one_pod_and_one_annotation() {
        let name =
            PodName { namespace: "shop".into(), name: "cart-0".into(), service_account: "cart".into() };
        let writing = |enabled| Writing { uid: "0b6c".into(), name: name.clone(), enabled };
        let wanted = |value: Value| json!({"metadata": {"annotations": {"ambient.istio.io/redirection": value}, "uid": "0b6c"}});
        assert_eq!(patch(&writing(true)), wanted(json!("enabled")));
        assert_eq!(patch(&writing(false)), wanted(Value::Null));
    }

    proptest! {
        /// Whoever else writes, one pod's is written ever more seldom.
        #[test]
        fn it_is_never_written_in_a_hot_loop(chances in proptest::collection::vec(0.0..=1.0, 1..40)) {
            let (mut pace, start) = (Pace::default(), Instant::now());
            let mut now = start;
            for (times, chance) in chances.iter().enumerate() {
                prop_assert!(pace.allows("1", now));
                pace.tried("1", now, *chance);
                let least = AGAIN.first * (1 << times.min(6)) / 2;
                prop_assert!(!pace.allows("1", now + least.min(AGAIN.longest / 2) - Duration::from_millis(1)));
                now += AGAIN.longest;
            }
            pace.retain(|_| false);
            prop_assert!(pace.allows("1", start));
        }
    }
}
