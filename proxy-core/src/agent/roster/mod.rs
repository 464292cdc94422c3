//! Roster: which pods are offered to proxies, which proxies there are, and what each has been told. No sockets, no clock.
//!
//! ```text
//!   offers: what is to be told     told, for each proxy: what was      work: the difference, as requests
//! ```
//!
//! A pod counts as served when the proxy that connected last says so: the others are on their way out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netns::Namespace;
use tokio::sync::Notify;

use super::backoff::Backoff;
use super::decide::Serving;
use super::held::Held;
use crate::workload::{PodName, Uid};

/// How often a proxy that has refused a pod is asked again: up to ztunnel's own pace (15 s).
const ASK_AGAIN: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(15) };

/// A pod, as proxies are told of it.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) name: PodName,
    pub(super) namespace: Namespace,
    /// What it listens on, if it can be given that.
    pub(super) held: Arc<Held>,
    /// Told when a proxy has answered, or has gone.
    pub(super) news: Arc<Notify>,
}

/// Which proxy: later ones have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProxyId(u64);

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One request to one proxy.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Add { uid: Uid, edition: u64, offer: Offer },
    Keep(Uid),
    Delete(Uid),
    SnapshotSent,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { uid, offer, .. } => write!(f, "add {} ({uid})", offer.name),
            Self::Keep(uid) => write!(f, "keep {uid}"),
            Self::Delete(uid) => write!(f, "delete {uid}"),
            Self::SnapshotSent => f.write_str("snapshot sent"),
        }
    }
}

/// What the newest proxy says of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// No proxy has been asked to serve it.
    NotOffered,
    /// No proxy is connected.
    NoProxy,
    /// It was asked, or will be, and has not answered.
    Asked,
    /// It listens in the pod.
    Listening,
    /// It does not, for this reason, and will be asked again.
    Refused(String),
    /// The pod was taken back, and not every proxy has left it.
    Leaving,
}

/// What goes on between an agent and its proxies.
#[derive(Debug, Default)]
pub(super) struct Roster {
    offers: BTreeMap<Uid, (u64, Offer)>,
    /// Pods that were taken back, and that a proxy has not left yet; who is told when all have.
    leaving: BTreeMap<Uid, Arc<Notify>>,
    /// Pods whose namespaces are not at hand: proxies that serve them go on.
    lost: BTreeSet<Uid>,
    /// Whether all pods are offered or lost that there are.
    complete: bool,
    proxies: BTreeMap<ProxyId, Proxy>,
    /// When the last proxy left that takes given sockets, and none has come.
    without_taker: Option<Instant>,
    editions: u64,
    connections: u64,
}

#[derive(Debug)]
struct Proxy {
    listening: Listening,
    synced: bool,
    told: BTreeMap<Uid, Told>,
}

/// Whose sockets a proxy listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listening {
    /// Those that the agent holds and gives it.
    Given,
    /// Its own.
    Own,
}

/// What a proxy was told of a pod, and has answered.
#[derive(Debug)]
struct Told {
    /// Of the offer; none for a pod that it was to keep.
    edition: Option<u64>,
    refusal: Option<Refusal>,
}

#[derive(Debug)]
struct Refusal {
    reason: String,
    times: u32,
    again: Instant,
}

impl Roster {
    /// Offers a pod, in place of an earlier offer of the same.
    pub(super) fn offer(&mut self, uid: Uid, offer: Offer) {
        self.editions += 1;
        self.lost.remove(&uid);
        self.leaving.remove(&uid);
        self.offers.insert(uid, (self.editions, offer));
    }

    /// Takes a pod back.
    pub(super) fn withdraw(&mut self, uid: &str) {
        self.lost.remove(uid);
        let Some((uid, (_, offer))) = self.offers.remove_entry(uid) else { return };
        self.leaving.insert(uid.clone(), offer.news);
        self.check_left(&uid);
    }

    /// Whether all proxies have left a pod that was taken back.
    fn check_left(&mut self, uid: &str) {
        if self.proxies.values().any(|proxy| proxy.told.contains_key(uid)) {
            return;
        }
        if let Some(news) = self.leaving.remove(uid) {
            news.notify_one();
        }
    }

    /// A pod whose namespace is not at hand.
    pub(super) fn lose(&mut self, uid: Uid) {
        if !self.offers.contains_key(&uid) {
            self.lost.insert(uid);
        }
    }

    /// All pods that there are have been named.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// A proxy has connected.
    pub(super) fn join(&mut self, listening: Listening) -> ProxyId {
        self.connections += 1;
        let id = ProxyId(self.connections);
        if listening == Listening::Given {
            self.without_taker = None;
        }
        self.proxies.insert(id, Proxy { listening, synced: false, told: BTreeMap::new() });
        id
    }

    /// A proxy is gone. What it has said counts no more.
    pub(super) fn leave(&mut self, id: ProxyId, now: Instant) {
        let Some(proxy) = self.proxies.remove(&id) else { return };
        if proxy.listening == Listening::Given && !self.has_taker() {
            self.without_taker = Some(now);
        }
        proxy.told.keys().for_each(|uid| self.check_left(uid));
        self.offers.values().for_each(|(_, offer)| offer.news.notify_one());
    }

    fn has_taker(&self) -> bool {
        self.proxies.values().any(|proxy| proxy.listening == Listening::Given)
    }

    /// Until when sockets are held that no proxy accepts from.
    pub(super) fn held_until(&self, hold: Duration) -> Option<Instant> {
        self.without_taker.map(|since| since + hold)
    }

    /// What is held for nobody. Connections that the kernel gives to those sockets would wait for nothing.
    pub(super) fn held_for_nobody(&self, hold: Duration, now: Instant) -> Vec<Arc<Held>> {
        let is_over = self.held_until(hold).is_some_and(|until| until <= now);
        let offers = self.offers.iter().filter(|(uid, _)| self.is_for_nobody(uid, is_over));
        offers.map(|(_, (_, offer))| Arc::clone(&offer.held)).collect()
    }

    /// Whether no proxy accepts from a pod's held sockets, or will: those that are to take them have refused, or none is there while
    /// one has its own in the pod, or for too long.
    fn is_for_nobody(&self, uid: &str, is_over: bool) -> bool {
        let (mut refused, mut served) = (false, false);
        for Proxy { listening, told, .. } in self.proxies.values() {
            let told = told.get(uid);
            match listening {
                Listening::Given if told.is_none_or(|told| told.refusal.is_none()) => return false,
                Listening::Given => refused = true,
                Listening::Own => served |= told.is_some(),
            }
        }
        refused || served || is_over
    }

    /// How many proxies are connected.
    pub(super) fn proxies(&self) -> usize {
        self.proxies.len()
    }

    /// What the newest proxy says of a pod.
    pub(super) fn heard(&self, uid: &str) -> Heard {
        let Some((edition, _)) = self.offers.get(uid) else {
            return if self.leaving.contains_key(uid) { Heard::Leaving } else { Heard::NotOffered };
        };
        let Some((_, proxy)) = self.proxies.last_key_value() else { return Heard::NoProxy };
        match proxy.told.get(uid) {
            Some(Told { edition: told, refusal }) if *told == Some(*edition) => {
                refusal.as_ref().map_or(Heard::Listening, |refusal| Heard::Refused(refusal.reason.clone()))
            }
            _ => Heard::Asked,
        }
    }

    /// [`heard`](Self::heard), as far as it decides anything.
    pub(super) fn serving(&self, uid: &str) -> Serving {
        match self.heard(uid) {
            Heard::NotOffered => Serving::NotOffered,
            Heard::Listening => Serving::Listening,
            Heard::Leaving => Serving::Leaving,
            Heard::NoProxy | Heard::Asked | Heard::Refused(_) => Serving::Offered,
        }
    }

    /// What a proxy is to be asked now, in this order, and when there is more if nothing changes.
    pub(super) fn work(&self, id: ProxyId, now: Instant) -> (Vec<Work>, Option<Instant>) {
        let Some(proxy) = self.proxies.get(&id) else { return (Vec::new(), None) };
        let mut later: Option<Instant> = None;
        let unwanted =
            proxy.told.keys().filter(|&uid| !self.offers.contains_key(uid) && !self.lost.contains(uid));
        let mut work: Vec<Work> = unwanted.cloned().map(Work::Delete).collect();
        for (uid, (edition, offer)) in &self.offers {
            match proxy.told.get(uid) {
                Some(Told { edition: told, refusal }) if *told == Some(*edition) => match refusal {
                    None => continue,
                    Some(refusal) if now < refusal.again => {
                        later = Some(later.map_or(refusal.again, |later| later.min(refusal.again)));
                        continue;
                    }
                    Some(_) => {}
                },
                _ => {}
            }
            work.push(Work::Add { uid: uid.clone(), edition: *edition, offer: offer.clone() });
        }
        if !proxy.synced {
            let untold = self.lost.iter().filter(|uid| !proxy.told.contains_key(*uid));
            work.extend(untold.cloned().map(Work::Keep));
            if self.complete && work.is_empty() {
                work.push(Work::SnapshotSent);
            }
        }
        (work, later)
    }

    /// A proxy has answered.
    pub(super) fn answered(
        &mut self,
        id: ProxyId,
        work: &Work,
        refusal: Option<String>,
        now: Instant,
        chance: f64,
    ) {
        let Some(proxy) = self.proxies.get_mut(&id) else { return };
        match work {
            Work::Add { uid, edition, offer } => {
                let before = proxy.told.get(uid).filter(|told| told.edition == Some(*edition));
                let times = before.and_then(|told| told.refusal.as_ref()).map_or(0, |refusal| refusal.times);
                let refusal = refusal.map(|reason| {
                    let times = times.saturating_add(1);
                    Refusal { reason, times, again: now + ASK_AGAIN.wait(times, chance) }
                });
                proxy.told.insert(uid.clone(), Told { edition: Some(*edition), refusal });
                offer.news.notify_one();
            }
            Work::Keep(uid) => {
                proxy.told.insert(uid.clone(), Told { edition: None, refusal: None });
            }
            // Who refuses to forget a pod does not know it.
            Work::Delete(uid) => {
                proxy.told.remove(uid);
                self.check_left(uid);
            }
            Work::SnapshotSent => proxy.synced = true,
        }
    }
}

#[cfg(test)]
mod tests;
