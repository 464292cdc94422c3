//! Owner: whose sockets send a packet.

use std::fmt;

use crate::cgroup::Cgroup;
use crate::id_range::IdRange;
use crate::rule::{Match, Test};

/// Whose sockets send a packet. Only packets of a socket that is still open have an owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// These users.
    User(IdRange),
    /// These groups.
    Group(IdRange),
    /// The processes of this control group, and of those below it.
    Cgroup(Cgroup),
}

impl Owner {
    /// How a packet shows it.
    pub(crate) fn is(&self) -> Match {
        match self {
            Self::User(ids) => Match::User(Test::Is(*ids)),
            Self::Group(ids) => Match::Group(Test::Is(*ids)),
            Self::Cgroup(cgroup) => Match::Cgroup(Test::Is(cgroup.clone())),
        }
    }

    /// How a packet shows that it is of somebody else.
    pub(crate) fn is_not(&self) -> Match {
        match self {
            Self::User(ids) => Match::User(Test::IsNot(*ids)),
            Self::Group(ids) => Match::Group(Test::IsNot(*ids)),
            Self::Cgroup(cgroup) => Match::Cgroup(Test::IsNot(cgroup.clone())),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(ids) => write!(f, "user {ids}"),
            Self::Group(ids) => write!(f, "group {ids}"),
            Self::Cgroup(cgroup) => write!(f, "control group {cgroup}"),
        }
    }
}
