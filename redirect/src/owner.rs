//! Owner: whose sockets send a packet.

use std::fmt;

use crate::id_range::IdRange;
use crate::rule::{Match, Test};

/// Whose sockets send a packet. Only packets of a socket that is still open have an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// These users.
    User(IdRange),
    /// These groups.
    Group(IdRange),
}

impl Owner {
    /// How a packet shows it.
    pub(crate) fn is(self) -> Match {
        self.shown(Test::Is)
    }

    /// How a packet shows that it is of somebody else.
    pub(crate) fn is_not(self) -> Match {
        self.shown(Test::IsNot)
    }

    fn shown(self, test: fn(IdRange) -> Test<IdRange>) -> Match {
        match self {
            Self::User(ids) => Match::User(test(ids)),
            Self::Group(ids) => Match::Group(test(ids)),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(ids) => write!(f, "user {ids}"),
            Self::Group(ids) => write!(f, "group {ids}"),
        }
    }
}
