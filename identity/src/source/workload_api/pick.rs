//! [`Pick`]: which SVID, of those that a workload has.

use std::fmt;

use super::message::X509Svid;
use crate::spiffe_id::SpiffeId;

/// Which SVID to use, of those that a workload has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Pick {
    /// The first, which is the default identity (SPIFFE Workload API §5.3).
    #[default]
    First,
    /// The one of this id.
    Id(SpiffeId),
    /// The first one with this hint (SPIFFE Workload API §5.2.1).
    Hint(String),
}

impl Pick {
    pub(super) fn of(&self, svids: Vec<X509Svid>) -> Option<X509Svid> {
        svids.into_iter().find(|svid| match self {
            Self::First => true,
            Self::Id(id) => svid.spiffe_id == id.as_str(),
            Self::Hint(hint) => svid.hint == *hint,
        })
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("the first"),
            Self::Id(id) => write!(f, "that of {id}"),
            Self::Hint(hint) => write!(f, "that with hint '{}'", hint.escape_debug()),
        }
    }
}
