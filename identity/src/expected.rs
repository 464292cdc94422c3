//! [`Expected`]: who may be at the other end.

use std::collections::BTreeSet;
use std::fmt;

use crate::error::Unexpected;
use crate::spiffe_id::SpiffeId;
use crate::trust_domain::TrustDomain;

/// Decides whether a peer, whose identity is proven, may be at the other end.
///
/// It is asked once per handshake, on the thread of the handshake, so it must not block.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Lets `peer` in, or says that it is not expected.
    fn authorize(&self, peer: &SpiffeId) -> Result<(), Unexpected>;
}

/// Who may be at the other end: one id, one of several, or anyone in a trust domain.
///
/// Ids are compared byte for byte; there are no patterns. There is deliberately no "anyone".
///
/// ```
/// use inpod_identity::{Authorizer, Expected, SpiffeId};
///
/// let cart: SpiffeId = "spiffe://cluster.local/ns/shop/sa/cart".parse()?;
/// let till: SpiffeId = "spiffe://cluster.local/ns/shop/sa/till".parse()?;
/// assert!(Expected::one(cart.clone()).authorize(&cart).is_ok());
/// assert!(Expected::one(cart).authorize(&till).is_err());
/// # Ok::<(), inpod_identity::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(Who);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    AnyOf(BTreeSet<SpiffeId>),
    InTrustDomain(TrustDomain),
}

impl Expected {
    /// Exactly this id.
    pub fn one(id: SpiffeId) -> Self {
        Self(Who::AnyOf(BTreeSet::from([id])))
    }

    /// Exactly one of these ids. If there are none, nobody is expected.
    pub fn any_of(ids: impl IntoIterator<Item = SpiffeId>) -> Self {
        Self(Who::AnyOf(ids.into_iter().collect()))
    }

    /// Anyone in this trust domain.
    pub fn in_trust_domain(trust_domain: TrustDomain) -> Self {
        Self(Who::InTrustDomain(trust_domain))
    }
}

impl Authorizer for Expected {
    fn authorize(&self, peer: &SpiffeId) -> Result<(), Unexpected> {
        let is_expected = match &self.0 {
            Who::AnyOf(ids) => ids.contains(peer),
            Who::InTrustDomain(trust_domain) => peer.trust_domain() == *trust_domain,
        };
        match is_expected {
            true => Ok(()),
            false => Err(Unexpected { peer: peer.clone(), expected: Some(self.clone()) }),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Enough to recognise a list by, short enough for a log line.
        const SHOWN: usize = 3;
        let ids = match &self.0 {
            Who::InTrustDomain(trust_domain) => return write!(f, "anyone in {trust_domain}"),
            Who::AnyOf(ids) if ids.is_empty() => return f.write_str("nobody"),
            Who::AnyOf(ids) => ids,
        };
        for (position, id) in ids.iter().take(SHOWN).enumerate() {
            let separator = if position == 0 { "" } else { " or " };
            write!(f, "{separator}{id}")?;
        }
        match ids.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(others) => write!(f, " or {others} others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SpiffeId {
        text.parse().unwrap()
    }

    #[test]
    fn ids_match_byte_for_byte() {
        let expected = Expected::one(id("spiffe://td/ns/a.b/sa/x"));
        assert_eq!(expected.authorize(&id("spiffe://td/ns/a.b/sa/x")), Ok(()));
        for other in [
            "spiffe://td/ns/a-b/sa/x",
            "spiffe://td/ns/aXb/sa/x",
            "spiffe://td/ns/A.b/sa/x",
            "spiffe://td/ns/a.b/sa/x/y",
            "spiffe://td/ns/a.b/sa",
            "spiffe://td2/ns/a.b/sa/x",
        ] {
            let refusal = expected.authorize(&id(other)).unwrap_err();
            assert_eq!((refusal.peer, refusal.expected), (id(other), Some(expected.clone())));
        }
    }

    #[test]
    fn no_ids_is_nobody() {
        let refusal = Expected::any_of([]).authorize(&id("spiffe://td/x")).unwrap_err();
        assert_eq!(refusal.to_string(), "peer is spiffe://td/x, expected was nobody");
    }

    #[test]
    fn a_trust_domain_is_not_a_prefix() {
        let expected = Expected::in_trust_domain("td".parse().unwrap());
        assert_eq!(expected.authorize(&id("spiffe://td/x")), Ok(()));
        for other in ["spiffe://td.evil/x", "spiffe://t/x", "spiffe://evil/td", "spiffe://tda/x"] {
            assert!(expected.authorize(&id(other)).is_err(), "{other}");
        }
    }

    #[test]
    fn a_long_list_is_printed_short() {
        let expected = Expected::any_of((0..9).map(|n| id(&format!("spiffe://td/{n}"))));
        assert_eq!(expected.to_string(), "spiffe://td/0 or spiffe://td/1 or spiffe://td/2 or 6 others");
        assert!(expected.authorize(&id("spiffe://td/8")).is_ok());
    }
}
