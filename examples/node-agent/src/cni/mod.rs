//! What a container runtime says by CNI, put to a source and to the agent.

mod ledger;

use std::time::Duration;

use cni_plugin::attachment::{Attachment, Pod as Named};
use cni_plugin::message::{Answer, Leaving, Placed, Valid};
use cni_plugin::server::{Handler, Present};
use futures_util::StreamExt as _;
use netns::Namespace;
use proxy_core::agent::{Agent, Pod, Recognised, Source, Starting};
use proxy_core::workload::PodName;

use self::ledger::Entry;
pub(crate) use self::ledger::Ledger;

/// Longest wait for a pod to be enrolled. 20 s: less than what the server gives an answer, so that the reason is ours.
const ENROL_LIMIT: Duration = Duration::from_secs(20);

/// Pods from before that are asked for at once: a source may have to ask others, who may not answer.
const RECALLS: usize = 64;

/// Answers a runtime's plugin.
#[derive(Debug)]
pub(crate) struct Runtime<S> {
    agent: Agent,
    source: S,
    ledger: Ledger,
}

impl<S: Source> Runtime<S> {
    pub(crate) fn new(agent: Agent, source: S, ledger: Ledger) -> Self {
        Self { agent, source, ledger }
    }

    /// Takes up what was there when the agent ended. What is gone meanwhile is forgotten.
    pub(crate) async fn recall(&self) {
        let entries = self.ledger.entries().into_iter();
        let recalled = entries.map(|(attachment, entry)| self.recall_one(attachment, entry));
        futures_util::stream::iter(recalled).buffer_unordered(RECALLS).collect::<()>().await;
    }

    async fn recall_one(&self, attachment: Attachment, entry: Entry) {
        let Ok(network) = Namespace::open(&entry.path) else {
            self.left(&attachment);
            return;
        };
        let pod = Named { namespace: entry.namespace, name: entry.name, uid: None };
        let starting = starting(&pod, Some(entry.uid.clone()), network, Vec::new());
        let told = match self.source.recognise(&starting).await {
            Recognised::Ours(pod) => self.agent.put(*pod),
            // It was, and was taken out while no agent ran.
            Recognised::NotOurs => self.agent.release_pod(released(&entry.uid, &starting)),
            Recognised::Unknown(why) => {
                tracing::warn!(pod = %starting, why, "a pod from before is not known now");
                self.agent.keep(&entry.uid);
                Ok(())
            }
        };
        if let Err(error) = told {
            tracing::warn!(pod = %starting, %error, "a pod from before cannot be taken up again");
        }
    }

    /// A container has left its network.
    fn left(&self, attachment: &Attachment) {
        if let Some(uid) = self.ledger.remove(attachment) {
            self.source.ended(&uid);
            self.agent.gone(&uid);
        }
    }
}

/// A pod of which only the rules matter.
fn released(uid: &str, starting: &Starting) -> Pod {
    let (namespace, name) = (starting.namespace.clone(), starting.name.clone());
    let name = PodName { namespace, name, service_account: String::new() };
    Pod::new(uid, name, starting.network.clone())
}

fn starting(
    pod: &Named,
    uid: Option<String>,
    network: Namespace,
    addresses: Vec<std::net::IpAddr>,
) -> Starting {
    let (namespace, name) = (pod.namespace.as_str().to_owned(), pod.name.as_str().to_owned());
    Starting { namespace, name, uid, network, addresses }
}

impl<S: Source> Handler for Runtime<S> {
    async fn add(&self, present: Present) -> Answer {
        let Placed { attachment, pod, path, addresses } = present.placed;
        // A container in no pod has no identity to be given.
        let Some(pod) = pod else { return Answer::NotOurs };
        let uid = pod.uid.as_ref().map(|uid| uid.as_str().to_owned());
        let starting = starting(&pod, uid, present.namespace, addresses);
        let wanted = match self.source.recognise(&starting).await {
            Recognised::Ours(wanted) => *wanted,
            Recognised::NotOurs => return Answer::NotOurs,
            Recognised::Unknown(why) => return Answer::try_again(why),
        };
        let uid = wanted.uid.clone();
        let entry = Entry {
            uid: uid.clone(),
            namespace: pod.namespace,
            name: pod.name,
            path: path.as_path().to_owned(),
        };
        if let Err(error) = self.ledger.insert(attachment, entry) {
            return Answer::try_again(format_args!("cannot remember the pod: {error}"));
        }
        if let Err(error) = self.agent.put(wanted) {
            return Answer::refused(error);
        }
        match self.agent.enrolled(&uid, ENROL_LIMIT).await {
            Ok(()) => Answer::Done,
            Err(error) => Answer::try_again(error),
        }
    }

    async fn check(&self, present: Present) -> Answer {
        if present.placed.pod.is_none() {
            return Answer::NotOurs;
        }
        let Some(uid) = self.ledger.uid(&present.placed.attachment) else { return Answer::NotOurs };
        let status = self.agent.status();
        let is_it = |pod: &&proxy_core::agent::PodStatus| pod.uid == uid;
        match status.pods.iter().find(is_it) {
            Some(pod) if pod.namespace == present.namespace.id() && pod.is_enrolled() => Answer::Done,
            Some(pod) => Answer::try_again(format_args!("it is {:?}, proxy {:?}", pod.captured, pod.proxy)),
            None => Answer::NotOurs,
        }
    }

    async fn del(&self, leaving: Leaving) -> Answer {
        self.left(&leaving.attachment);
        Answer::Done
    }

    async fn gc(&self, valid: Valid) -> Answer {
        for (attachment, _) in self.ledger.entries() {
            if !valid.attachments.contains(&attachment) {
                self.left(&attachment);
            }
        }
        Answer::Done
    }

    async fn status(&self) -> Answer {
        if self.agent.status().proxies > 0 {
            Answer::Done
        } else {
            Answer::try_again("no proxy is connected")
        }
    }
}
