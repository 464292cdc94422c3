//! Known: what is known of the node's pods, and what the agent is to do about them. No API server, no kernel, no clock.

use std::collections::{BTreeMap, BTreeSet};

use netns::Namespace;
use redirect::IntentError;

use super::enrolment::{Enrolment, Outside, enrolment};
use super::facts::{FactsError, Mode, PodFacts};
use super::listing::{Change, Listing};
use super::overrides::Notice;
use super::scan::{PlaceError, Scan};
use super::settings::Settings;
use crate::agent::pod::Pod;
use crate::report::Causes;
use crate::workload::Uid;

/// A pod as it was read: by name, if it has one; what is wrong with it.
pub(super) type Read = Result<PodFacts, (String, FactsError)>;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) pods: Listing<Item>,
    /// What the labels of namespaces say.
    pub(super) namespaces: Listing<Mode>,
    /// Pods' own network namespaces, as a runtime has brought them or they were found.
    places: BTreeMap<Uid, Place>,
    /// Why others were not found, when it was looked last.
    lost: BTreeMap<Uid, PlaceError>,
    /// Counts what runtimes bring.
    edition: u64,
    /// What the agent was told last.
    told: BTreeMap<Uid, Told>,
    /// Pods that a runtime has named and nobody knew.
    doubtful: BTreeSet<Uid>,
}

/// A pod, as far as it can be read: what it told before counts until it tells something else.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) good: Option<PodFacts>,
    error: Option<(String, FactsError)>,
}

/// A pod's network namespace.
#[derive(Debug, Clone)]
struct Place {
    namespace: Namespace,
    /// A look at processes that had begun before this edition is older.
    edition: u64,
}

/// Whose processes are to be looked for.
#[derive(Debug, Default)]
pub(super) struct ToFind {
    /// Those that must be found,
    pub(super) must: BTreeSet<Uid>,
    /// and all that can be.
    pub(super) can: BTreeSet<Uid>,
    /// Up to what runtimes had brought then.
    pub(super) edition: u64,
}

/// What the agent was told of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// That proxies which serve it go on: it is not known enough of it to say more.
    Keep,
    Enrol,
    Release,
    /// Its containers have ended.
    Gone,
    /// Its network namespace is no more, says the runtime.
    Left,
}

/// What the agent is to be told.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Put(Pod),
    Release(Pod),
    Gone(Uid),
    Keep(Uid),
}

/// What follows from what is known.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) orders: Vec<Order>,
    pub(super) problems: BTreeMap<String, String>,
    /// Whether something is wrong that may pass without news from the API server.
    pub(super) pending: bool,
    /// Whether all pods that there are have been named.
    pub(super) complete: bool,
}

/// Why a pod that is to be in the mesh is not, or not as it wants to be.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error("its namespace is not known")]
    Namespace,
    #[error("it wants what cannot be captured")]
    Intent(#[from] IntentError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("its network namespace has ended, says the container runtime")]
    Left,
}

/// Most pods that are remembered because nobody knew them: more than a node runs.
const MOST_DOUBTFUL: usize = 10_000;

impl Known {
    /// Takes in what was told of pods.
    pub(super) fn pods_changed(&mut self, change: Change<Read>) {
        let change = match change {
            Change::Listed(key, read) => {
                let item = self.item(&key, read);
                Change::Listed(key, item)
            }
            Change::Applied(key, read) => {
                let item = self.item(&key, read);
                self.succeed(&key, &item);
                Change::Applied(key, item)
            }
            Change::Begun => Change::Begun,
            Change::Ended => Change::Ended,
            Change::Opened => Change::Opened,
            Change::Deleted(key) => Change::Deleted(key),
            Change::Broken(why) => Change::Broken(why),
        };
        self.pods.apply(change);
    }

    fn item(&self, key: &str, read: Read) -> Item {
        match read {
            Ok(facts) => Item { good: Some(facts), error: None },
            Err(error) => {
                let good = self.pods.get(key).and_then(|item| item.good.clone());
                Item { good, error: Some(error) }
            }
        }
    }

    /// A pod that comes under the name of another one takes its place: two of one name are never there.
    fn succeed(&mut self, key: &str, item: &Item) {
        let Some(facts) = &item.good else { return };
        let is_before =
            |other: &Item| other.good.as_ref().is_some_and(|other| other.name_pair() == facts.name_pair());
        let before = self.pods.iter().find(|(other, item)| *other != key && is_before(item));
        if let Some(before) = before.map(|(key, _)| key.to_owned()) {
            self.pods.apply(Change::Deleted(before));
        }
    }

    /// A runtime starts a pod of the mesh here, which is so, says the API server.
    pub(super) fn brought(&mut self, facts: PodFacts, network: Namespace) {
        let uid = facts.uid.as_str().to_owned();
        let item = Item { good: Some(facts), error: None };
        self.succeed(&uid, &item);
        self.pods.learn(uid.clone(), item);
        self.doubtful.remove(&uid);
        self.told.insert(uid.clone(), Told::Enrol);
        self.edition += 1;
        self.places.insert(uid, Place { namespace: network, edition: self.edition });
    }

    /// A runtime has named a pod that nobody knows.
    pub(super) fn doubted(&mut self, uid: &str) {
        if self.doubtful.len() < MOST_DOUBTFUL {
            self.doubtful.insert(uid.to_owned());
        }
    }

    /// A pod's network namespace is no more, says the runtime.
    pub(super) fn left(&mut self, uid: &str) {
        self.places.remove(uid);
        if self.told.contains_key(uid) || self.pods.get(uid).is_some() {
            self.told.insert(uid.to_owned(), Told::Left);
        }
    }

    /// The pod with this uid and name, and what is decided on it, if that can be.
    pub(super) fn decided(
        &self,
        uid: &str,
        name: (&str, &str),
        settings: &Settings,
    ) -> Option<(PodFacts, Enrolment)> {
        let facts = self.pods.get(uid)?.good.as_ref().filter(|facts| facts.name_pair() == name)?;
        let mode = self.namespaces.get(&facts.name.namespace)?;
        let (enrolment, _) = enrolment(facts, mode, settings).ok()?;
        Some((facts.clone(), enrolment))
    }

    /// Whether changes of pods and namespaces are told as they come.
    pub(super) fn is_current(&self) -> bool {
        self.pods.is_current() && self.namespaces.is_current()
    }

    /// The pods whose processes are to be looked for.
    pub(super) fn to_find(&self, settings: &Settings) -> ToFind {
        let mut found = ToFind { edition: self.edition, ..ToFind::default() };
        for (uid, facts) in self.pods.iter().filter_map(|(uid, item)| Some((uid, item.good.as_ref()?))) {
            let Some(mode) = self.namespaces.get(&facts.name.namespace) else { continue };
            let is_member = match enrolment(facts, mode, settings) {
                Ok((Enrolment::Member(_), _)) => true,
                Ok((Enrolment::Outside(outside), _)) if self.may_be_captured(uid, outside) => false,
                _ => continue,
            };
            found.can.insert(uid.to_owned());
            let was_found = self.places.contains_key(uid) || facts.addresses.is_empty();
            let was_told = self.told.get(uid).is_some_and(|told| *told != Told::Keep);
            if !was_found && (is_member || !was_told) {
                found.must.insert(uid.to_owned());
            }
        }
        found
    }

    /// Whether a pod that is out of the mesh may have been in it, and nobody has looked since.
    fn may_be_captured(&self, uid: &str, outside: Outside) -> bool {
        let settled = matches!(self.told.get(uid), Some(Told::Release | Told::Gone | Told::Left));
        outside != Outside::NodesNetwork && !settled
    }

    /// What the agent is to do now, if this was found; nothing, if it was not looked.
    pub(super) fn follow(&mut self, scan: Option<&Scan>, settings: &Settings) -> Followed {
        let mut followed = Followed {
            complete: self.pods.is_listed() && self.namespaces.is_listed(),
            ..Followed::default()
        };
        self.forget(&mut followed);
        let uids: Vec<Uid> = self.pods.iter().map(|(uid, _)| uid.to_owned()).collect();
        for uid in uids {
            let Some(item) = self.pods.get(&uid) else { continue };
            let mut problems: Vec<String> = Vec::new();
            let name = match (&item.good, &item.error) {
                (Some(facts), _) => facts.name.to_string(),
                (None, Some((name, _))) => name.clone(),
                (None, None) => uid.clone(),
            };
            problems.extend(
                item.error.iter().map(|(_, error)| Causes(&Problem::Facts(error.clone())).to_string()),
            );
            match item.good.clone() {
                Some(facts) => match self.decide(&facts, scan, settings, &mut followed) {
                    Ok(notices) => problems.extend(summary(&notices)),
                    Err(problem) => {
                        followed.pending |= matches!(problem, Problem::Place(_) | Problem::Left);
                        problems.push(Causes(&problem).to_string());
                    }
                },
                None => self.keep(&uid, &mut followed),
            }
            if !problems.is_empty() {
                followed.problems.insert(name, problems.join("; "));
            }
        }
        followed
    }

    /// Has forgotten who is no more.
    fn forget(&mut self, followed: &mut Followed) {
        if !self.pods.is_listed() {
            return;
        }
        let told: Vec<Uid> = self.told.keys().chain(&self.doubtful).cloned().collect();
        for uid in told.into_iter().filter(|uid| self.pods.get(uid).is_none()) {
            self.told.remove(&uid);
            self.places.remove(&uid);
            self.lost.remove(&uid);
            followed.orders.push(Order::Gone(uid));
        }
        self.doubtful.clear();
    }

    /// Decides on one pod; what of what it says is not honoured.
    fn decide(
        &mut self,
        facts: &PodFacts,
        scan: Option<&Scan>,
        settings: &Settings,
        followed: &mut Followed,
    ) -> Result<Vec<Notice>, Problem> {
        let uid = facts.uid.as_str();
        let decided = match self.namespaces.get(&facts.name.namespace) {
            Some(mode) => enrolment(facts, mode, settings).map_err(Problem::from),
            None => Err(Problem::Namespace),
        };
        let (enrolment, notices) = match decided {
            Ok(decided) => decided,
            Err(problem) => {
                self.keep(uid, followed);
                return Err(problem);
            }
        };
        let told = self.told.get(uid).copied();
        match enrolment {
            Enrolment::Ended if told == Some(Told::Gone) => {}
            Enrolment::Ended => {
                self.places.remove(uid);
                self.tell(uid, Told::Gone, Order::Gone(uid.to_owned()), followed);
            }
            Enrolment::Outside(outside) if !self.may_be_captured(uid, outside) => {}
            Enrolment::Outside(_) => {
                // One that is nowhere to be found is not captured, or will be found.
                if let Ok(place) = self.place(facts, scan) {
                    let pod = Pod::new(uid, facts.name.clone(), place);
                    self.tell(uid, Told::Release, Order::Release(pod), followed);
                }
            }
            Enrolment::Member(intent) => match self.place(facts, scan) {
                Ok(place) => {
                    let mut pod = Pod::new(uid, facts.name.clone(), place);
                    pod.intent = *intent;
                    self.tell(uid, Told::Enrol, Order::Put(pod), followed);
                }
                Err(_) if told == Some(Told::Left) && facts.terminating => {}
                Err(_) if told == Some(Told::Left) => return Err(Problem::Left),
                Err(error) => {
                    self.keep(uid, followed);
                    // One that has no address has not been started, or will tell it.
                    if !facts.terminating && error != PlaceError::NoAddress {
                        return Err(error.into());
                    }
                }
            },
        }
        Ok(notices)
    }

    /// Where a pod is.
    fn place(&mut self, facts: &PodFacts, scan: Option<&Scan>) -> Result<Namespace, PlaceError> {
        let uid = facts.uid.as_str();
        let known = self.places.get(uid);
        let placed = match (scan, known) {
            (Some(scan), None) => scan.place(facts, None),
            (Some(scan), Some(known)) if known.edition <= scan.edition => {
                scan.place(facts, Some(&known.namespace))
            }
            (_, Some(known)) => return Ok(known.namespace.clone()),
            (None, None) => return Err(self.lost.get(uid).copied().unwrap_or(PlaceError::NoProcess)),
        };
        match &placed {
            Ok(namespace) => {
                let place = Place { namespace: namespace.clone(), edition: self.edition };
                self.lost.remove(uid);
                self.places.insert(uid.to_owned(), place);
            }
            Err(error) => {
                self.lost.insert(uid.to_owned(), *error);
            }
        }
        placed
    }

    fn tell(&mut self, uid: &str, told: Told, order: Order, followed: &mut Followed) {
        self.told.insert(uid.to_owned(), told);
        followed.orders.push(order);
    }

    /// Has proxies that serve a pod go on, if it may be one of theirs.
    fn keep(&mut self, uid: &str, followed: &mut Followed) {
        if matches!(self.told.get(uid), None | Some(Told::Keep)) {
            self.tell(uid, Told::Keep, Order::Keep(uid.to_owned()), followed);
        }
    }

    /// What is to be said of a pod in its annotation: whether it is in the mesh; none where it is not to be said.
    pub(super) fn to_say(&self, uid: &str, facts: &PodFacts, settings: &Settings) -> Option<bool> {
        let mode = self.namespaces.get(&facts.name.namespace)?;
        match enrolment(facts, mode, settings).ok()?.0 {
            _ if facts.terminating => None,
            Enrolment::Ended => None,
            Enrolment::Member(_) => Some(true),
            Enrolment::Outside(outside) => (!self.may_be_captured(uid, outside)).then_some(false),
        }
    }
}

/// The first, for people, and how many more there are.
fn summary(notices: &[Notice]) -> Option<String> {
    match notices {
        [] => None,
        [only] => Some(only.to_string()),
        [first, rest @ ..] => Some(format!("{first}, and {} more", rest.len())),
    }
}

impl PodFacts {
    /// Its namespace and its name.
    pub(super) fn name_pair(&self) -> (&str, &str) {
        (&self.name.namespace, &self.name.name)
    }
}

#[cfg(test)]
mod tests;
