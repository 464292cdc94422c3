//! Recognition: who a container is that a runtime starts, decided as for all pods.
//!
//! ```text
//!   excluded ──> not ours         known by uid: ours, or while the watch is current, not ours
//!   else: asked of the API server, and decided on what it says now; no answer in time: unknown, and it does not start
//! ```

use std::time::Duration;

use kube::Error;
use kube::api::Api;
use tokio::time::timeout;

use super::Kubernetes;
use super::enrolment::{Enrolment, enrolment, is_never};
use super::facts::{FactsError, PodFacts, namespace};
use super::reason::reason;
use super::shape::{NamespaceShape, PodShape};
use crate::agent::pod::Pod;
use crate::agent::source::{Recognised, Starting};

/// Longest time for an answer of the API server. 5 s: a runtime tries again, and holds up no others meanwhile.
const LIMIT: Duration = Duration::from_secs(5);

/// Why nobody knows who a container is.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("the API server does not answer within {}s", LIMIT.as_secs())]
    Late,
    #[error("the API server does not know the pod")]
    NoPod,
    #[error("the API server does not tell: {}", reason(.0))]
    Server(Error),
    #[error("the API server says of the pod: {0}")]
    Facts(FactsError),
    #[error("the API server has it with another uid: {actual}")]
    Uid { actual: String },
    #[error("the API server has it on another node")]
    Node,
    #[error("it has ended, says the API server")]
    Ended,
    #[error("it wants what cannot be captured: {0}")]
    Intent(redirect::IntentError),
}

impl Kubernetes {
    pub(super) async fn recognise_now(&self, starting: &Starting) -> Recognised {
        if is_never(&self.settings, &starting.namespace, &starting.name) {
            return Recognised::NotOurs;
        }
        let decided = match self.remembered(starting) {
            Some(decided) => Ok(decided),
            None => timeout(LIMIT, self.ask(starting)).await.unwrap_or(Err(AskError::Late)),
        };
        match decided {
            Ok((facts, Enrolment::Member(intent))) => {
                let mut pod = Pod::new(facts.uid.as_str(), facts.name.clone(), starting.network.clone());
                pod.intent = *intent;
                self.known().brought(facts, starting.network.clone());
                Recognised::Ours(Box::new(pod))
            }
            Ok((_, Enrolment::Outside(_))) => Recognised::NotOurs,
            Ok((_, Enrolment::Ended)) => self.unknown(starting, &AskError::Ended),
            Err(error) => self.unknown(starting, &error),
        }
    }

    fn unknown(&self, starting: &Starting, error: &AskError) -> Recognised {
        if let Some(uid) = &starting.uid {
            self.known().doubted(uid);
        }
        Recognised::Unknown(error.to_string())
    }

    /// What is known of it. Only its uid tells it from a pod that had its name before; and that it is not in the mesh may have changed
    /// since changes are not told.
    fn remembered(&self, starting: &Starting) -> Option<(PodFacts, Enrolment)> {
        let known = self.known();
        let name = (starting.namespace.as_str(), starting.name.as_str());
        let decided = known.decided(starting.uid.as_deref()?, name, &self.settings)?;
        match decided.1 {
            Enrolment::Member(_) => Some(decided),
            Enrolment::Outside(_) | Enrolment::Ended => known.is_current().then_some(decided),
        }
    }

    async fn ask(&self, starting: &Starting) -> Result<(PodFacts, Enrolment), AskError> {
        let pods: Api<PodShape> = Api::namespaced(self.client.clone(), &starting.namespace);
        let namespaces: Api<NamespaceShape> = Api::all(self.client.clone());
        let (pod, around) =
            tokio::join!(pods.get_opt(&starting.name), namespaces.get_opt(&starting.namespace));
        let pod = pod.map_err(AskError::Server)?.ok_or(AskError::NoPod)?;
        let around = around.map_err(AskError::Server)?.ok_or(AskError::NoPod)?;
        let facts = PodFacts::parse(pod).map_err(AskError::Facts)?;
        let mode = namespace(around).map(|(_, mode)| mode).unwrap_or_default();
        // A runtime knows a pod from a file on the node by the uid that it has there.
        let uids = [Some(facts.uid.as_str()), facts.mirror_of.as_deref()];
        if starting.uid.is_some() && !uids.contains(&starting.uid.as_deref()) {
            return Err(AskError::Uid { actual: facts.uid.as_str().to_owned() });
        }
        if facts.node.as_ref() != Some(&self.settings.node) {
            return Err(AskError::Node);
        }
        let (enrolment, _) = enrolment(&facts, &mode, &self.settings).map_err(AskError::Intent)?;
        Ok((facts, enrolment))
    }
}
