//! Scan: where the processes of pods are, found on the node, and which of that is a pod's own network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netns::find::{FindError, Finder};
use netns::{Namespace, NamespaceId};

use super::facts::PodFacts;
use super::known::ToFind;
use crate::agent::kernel::addresses;
use crate::workload::Uid;

/// What was found of some pods.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Up to what runtimes had brought when it began.
    pub(super) edition: u64,
    pods: BTreeMap<Uid, Vec<Candidate>>,
}

/// A namespace with processes of a pod.
#[derive(Debug, Clone)]
struct Candidate {
    namespace: Namespace,
    addresses: BTreeSet<IpAddr>,
}

/// Why it is not known which namespace is a pod's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// No process of it is found, other than in the node's namespace.
    #[error("no process of it is found in a network namespace of its own")]
    NoProcess,
    /// There are processes of it, but where its address is not: they may be guests of another pod.
    #[error("its processes are in no network namespace that has its address")]
    Elsewhere,
    /// There is more than one namespace with a process of it and its address.
    #[error("its processes are in {count} network namespaces that have its address")]
    Ambiguous {
        /// How many.
        count: usize,
    },
    /// The API server tells no address by which it could be known.
    #[error("it has no address yet")]
    NoAddress,
}

impl Scan {
    /// Looks where the processes of these pods are; not in the node's own namespace. May block.
    pub(super) fn take(finder: &Finder, own: NamespaceId, to_find: &ToFind) -> Result<Self, FindError> {
        let ToFind { can: pods, edition, .. } = to_find;
        let mut scan = Self { edition: *edition, ..Self::default() };
        if pods.is_empty() {
            return Ok(scan);
        }
        for found in finder.all()? {
            let uid = found.container.pod.as_ref().map_or("", |uid| uid.as_str());
            let id = found.namespace.id();
            if id == own || !pods.contains(uid) {
                continue;
            }
            let candidates = scan.pods.entry(uid.to_owned()).or_default();
            if candidates.iter().all(|candidate| candidate.namespace.id() != id) {
                // One that cannot be entered has gone meanwhile, or has no address that could be compared.
                let addresses = found.namespace.run(addresses).ok().and_then(Result::ok).unwrap_or_default();
                candidates.push(Candidate { namespace: found.namespace, addresses });
            }
        }
        Ok(scan)
    }

    /// A pod's own namespace, of which this one was known before: it stays as long as a process of the pod is there, or nothing tells
    /// otherwise.
    pub(super) fn place(&self, pod: &PodFacts, known: Option<&Namespace>) -> Result<Namespace, PlaceError> {
        let candidates = self.pods.get(pod.uid.as_str()).map_or(&[][..], Vec::as_slice);
        if let Some(known) = known
            && (candidates.is_empty() || candidates.iter().any(|found| found.namespace.id() == known.id()))
        {
            return Ok(known.clone());
        }
        match (Self::own(pod, candidates), known) {
            (Ok(found), _) => Ok(found),
            (Err(_), Some(known)) => Ok(known.clone()),
            (Err(error), None) => Err(error),
        }
    }

    fn own(pod: &PodFacts, candidates: &[Candidate]) -> Result<Namespace, PlaceError> {
        if pod.addresses.is_empty() {
            return Err(PlaceError::NoAddress);
        }
        let has_its = |found: &&Candidate| !found.addresses.is_disjoint(&pod.addresses);
        let with_address: Vec<&Candidate> = candidates.iter().filter(has_its).collect();
        match with_address.as_slice() {
            [only] => Ok(only.namespace.clone()),
            [] if candidates.is_empty() => Err(PlaceError::NoProcess),
            [] => Err(PlaceError::Elsewhere),
            several => Err(PlaceError::Ambiguous { count: several.len() }),
        }
    }
}
