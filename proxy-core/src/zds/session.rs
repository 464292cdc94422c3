//! Session: what one connection's requests mean, and where the protocol is broken. No socket, no clock.
//!
//! ```text
//!                 SnapshotSent: stop what was not named
//!   Snapshot ------------------------------------------> Steady
//!   Add, Keep, Del, Explain                               Add, Del, Explain
//! ```

use std::collections::BTreeSet;

use super::message::Request;
use crate::explain::Query;
use crate::workload::{PodName, Uid};

/// What is to be done for a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Serve a pod in the namespace that came with the request.
    Start(Uid, PodName),
    /// Say what would become of a connection.
    Explain(Query),
    /// Nothing; it was only said.
    Note,
    /// Stop serving a pod.
    Stop(Uid),
    /// Stop serving all pods but these. The snapshot is complete.
    Retain(BTreeSet<Uid>),
}

/// A request that the protocol does not allow here. The connection cannot go on: agent and proxy disagree on where
/// they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ProtocolError {
    /// An add must bring the pod's namespace.
    #[error("an add of {uid:?} without a descriptor")]
    NoDescriptor {
        /// The pod.
        uid: Uid,
    },
    /// Only an add brings a descriptor.
    #[error("a descriptor with a request that takes none")]
    StrayDescriptor,
    /// Keep belongs to the snapshot.
    #[error("a keep of {uid:?} after the snapshot")]
    LateKeep {
        /// The pod.
        uid: Uid,
    },
    /// The snapshot ends once.
    #[error("the snapshot was sent twice")]
    SecondSnapshot,
}

/// Whether a descriptor came with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Descriptor {
    Present,
    Absent,
}

/// Where one connection is.
#[derive(Debug)]
pub(super) enum Session {
    Snapshot { named: BTreeSet<Uid> },
    Steady,
}

impl Session {
    pub(super) fn new() -> Self {
        Self::Snapshot { named: BTreeSet::new() }
    }

    /// Whether the agent has named all its pods on this connection.
    pub(super) fn is_steady(&self) -> bool {
        matches!(self, Self::Steady)
    }

    /// Takes one request.
    pub(super) fn take(&mut self, request: Request, descriptor: Descriptor) -> Result<Step, ProtocolError> {
        match (request, descriptor) {
            (Request::Add { uid, name }, Descriptor::Present) => {
                self.name(&uid);
                Ok(Step::Start(uid, name))
            }
            (Request::Add { uid, .. }, Descriptor::Absent) => Err(ProtocolError::NoDescriptor { uid }),
            (_, Descriptor::Present) => Err(ProtocolError::StrayDescriptor),
            (Request::Keep { uid }, Descriptor::Absent) => {
                if self.is_steady() {
                    return Err(ProtocolError::LateKeep { uid });
                }
                self.name(&uid);
                Ok(Step::Note)
            }
            (Request::Del { uid }, Descriptor::Absent) => {
                if let Self::Snapshot { named } = self {
                    named.remove(&uid);
                    // It is stopped with the others that the snapshot does not name.
                    return Ok(Step::Note);
                }
                Ok(Step::Stop(uid))
            }
            (Request::Explain(query), Descriptor::Absent) => Ok(Step::Explain(query)),
            (Request::SnapshotSent, Descriptor::Absent) => match std::mem::replace(self, Self::Steady) {
                Self::Snapshot { named } => Ok(Step::Retain(named)),
                Self::Steady => Err(ProtocolError::SecondSnapshot),
            },
        }
    }

    fn name(&mut self, uid: &Uid) {
        if let Self::Snapshot { named } = self {
            named.insert(uid.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(uid: &str) -> Request {
        let name = PodName { namespace: "n".into(), name: uid.into(), service_account: "s".into() };
        Request::Add { uid: uid.into(), name }
    }

    fn keep(uid: &str) -> Request {
        Request::Keep { uid: uid.into() }
    }

    fn del(uid: &str) -> Request {
        Request::Del { uid: uid.into() }
    }

    #[test]
    fn a_snapshot_names_what_stays() {
        let mut session = Session::new();
        session.take(add("a"), Descriptor::Present).unwrap();
        session.take(keep("b"), Descriptor::Absent).unwrap();
        session.take(add("c"), Descriptor::Present).unwrap();
        assert_eq!(session.take(del("c"), Descriptor::Absent), Ok(Step::Note));
        let named = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert_eq!(session.take(Request::SnapshotSent, Descriptor::Absent), Ok(Step::Retain(named)));
        assert!(session.is_steady());
    }

    #[test]
    fn after_the_snapshot_a_del_stops() {
        let mut session = Session::Steady;
        assert_eq!(session.take(del("a"), Descriptor::Absent), Ok(Step::Stop("a".into())));
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        let mut session = Session::Steady;
        let take = Session::take;
        assert_eq!(
            take(&mut session, keep("a"), Descriptor::Absent),
            Err(ProtocolError::LateKeep { uid: "a".into() })
        );
        assert_eq!(
            take(&mut session, Request::SnapshotSent, Descriptor::Absent),
            Err(ProtocolError::SecondSnapshot)
        );
        assert_eq!(
            take(&mut session, add("a"), Descriptor::Absent),
            Err(ProtocolError::NoDescriptor { uid: "a".into() })
        );
        assert_eq!(take(&mut session, del("a"), Descriptor::Present), Err(ProtocolError::StrayDescriptor));
    }
}
