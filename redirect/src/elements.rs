//! Elements: what is in the sets that a plan declares.
//!
//! They are not part of the plan, because they change while it stays: a plan is the same before and after a pod has come or a
//! connection has ended, and its verdict too. So they are given beside it, and changed by difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::connection::Connection;
use crate::family::Family;
use crate::set::{Set, SetKind};

/// One thing that is in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Element {
    /// An address.
    Address(IpAddr),
    /// A connection.
    Connection(Connection),
}

/// What is in sets. Always valid: each element is of its set's kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elements(BTreeMap<Set, BTreeSet<Element>>);

/// An element cannot be in a set: it is of another kind or family.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{element} cannot be in set {}, which holds {}", .set.name(), .set.kind())]
#[non_exhaustive]
pub struct ElementError {
    /// The set.
    pub set: Set,
    /// The element.
    pub element: Element,
}

impl Elements {
    /// None, in any set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Addresses, each in the set of its family; one without such a set is left out.
    pub(crate) fn of_addresses(sets: &[Set], addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut elements = Self::new();
        for element in addresses.into_iter().map(Element::Address) {
            if let Some(set) = sets.iter().find(|set| set.admits(&element)) {
                elements.0.entry(set.clone()).or_default().insert(element);
            }
        }
        elements
    }

    /// Puts an element into a set. Tells whether it is new there.
    ///
    /// # Errors
    /// When the set is for others.
    pub fn insert(&mut self, set: &Set, element: Element) -> Result<bool, ElementError> {
        if !set.admits(&element) {
            return Err(ElementError { set: set.clone(), element });
        }
        Ok(self.0.entry(set.clone()).or_default().insert(element))
    }

    /// What is in a set.
    pub fn of(&self, set: &Set) -> impl ExactSizeIterator<Item = Element> {
        self.0.get(set).unwrap_or(const { &BTreeSet::new() }).iter().copied()
    }

    /// Whether this is in that set.
    pub fn contains(&self, set: &Set, element: &Element) -> bool {
        self.0.get(set).is_some_and(|elements| elements.contains(element))
    }

    /// The sets that something has been put into.
    pub fn sets(&self) -> impl Iterator<Item = &Set> {
        self.0.keys()
    }

    /// All, with the sets in which they are, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Set, Element)> {
        self.0.iter().flat_map(|(set, elements)| elements.iter().map(move |element| (set, *element)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeSet::is_empty)
    }

    /// Those that are not among the others.
    pub(crate) fn without(&self, others: &Self) -> Self {
        let left = |(set, elements): (&Set, &BTreeSet<Element>)| {
            let left: BTreeSet<Element> =
                elements.iter().filter(|element| !others.contains(set, element)).copied().collect();
            (!left.is_empty()).then(|| (set.clone(), left))
        };
        Self(self.0.iter().filter_map(left).collect())
    }

    /// Those that are in one of these sets.
    pub(crate) fn within(&self, sets: &[Set]) -> Self {
        let within = self.0.iter().filter(|(set, _)| sets.contains(set));
        Self(within.map(|(set, elements)| (set.clone(), elements.clone())).collect())
    }
}

impl Element {
    /// The kind of set in which it can be.
    pub const fn kind(&self) -> SetKind {
        match self {
            Self::Address(address) => SetKind::Addresses(Family::of(*address)),
            Self::Connection(connection) => SetKind::Connections(connection.family()),
        }
    }
}

impl From<IpAddr> for Element {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl From<Connection> for Element {
    fn from(connection: Connection) -> Self {
        Self::Connection(connection)
    }
}

impl fmt::Display for Element {
    /// As `nft` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Connection(connection) => write!(f, "{connection}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &'static str, kind: SetKind) -> Set {
        Set::new(name, kind).unwrap()
    }

    #[test]
    fn only_what_a_set_is_for_can_be_in_it() {
        let pods = set("pods4", SetKind::Addresses(Family::V4));
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        let v6: IpAddr = "fd00::1".parse().unwrap();
        let mut elements = Elements::new();
        assert_eq!(elements.insert(&pods, v4.into()), Ok(true));
        assert_eq!(elements.insert(&pods, v4.into()), Ok(false));
        let error = elements.insert(&pods, v6.into()).unwrap_err();
        assert_eq!(error.to_string(), "fd00::1 cannot be in set pods4, which holds ipv4_addr");
        assert_eq!(elements.iter().collect::<Vec<_>>(), [(&pods, Element::Address(v4))]);
    }

    #[test]
    fn what_is_left_is_in_the_one_and_not_in_the_other() {
        let pods = set("pods4", SetKind::Addresses(Family::V4));
        let other = set("other4", SetKind::Addresses(Family::V4));
        let elements = |numbers: &[u8]| {
            let mut elements = Elements::new();
            for number in numbers {
                elements.insert(&pods, IpAddr::from([10, 0, 0, *number]).into()).unwrap();
            }
            elements
        };
        assert_eq!(elements(&[1, 2, 3]).without(&elements(&[2, 4])), elements(&[1, 3]));
        assert!(elements(&[1]).without(&elements(&[1])).is_empty());
        assert_eq!(elements(&[1]).within(std::slice::from_ref(&pods)), elements(&[1]));
        assert!(elements(&[1]).within(&[other]).is_empty());
    }
}
