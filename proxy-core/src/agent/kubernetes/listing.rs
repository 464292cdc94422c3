//! Listing: what is in a list of the API server's, as far as it was told. No API server, no clock.
//!
//! ```text
//!   Begun, Listed.., Ended: the whole of it, in place of what was known, which counts until then
//!   Applied, Deleted:       what has changed since
//!   Broken:                 changes may be missed now; Opened: no longer
//! ```

use std::collections::{BTreeMap, BTreeSet};

/// What is told of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change<T> {
    /// Its whole content follows.
    Begun,
    /// One of the whole.
    Listed(String, T),
    /// That was the whole.
    Ended,
    /// Changes will be told from now on.
    Opened,
    /// One is new, or has changed.
    Applied(String, T),
    /// One is gone.
    Deleted(String),
    /// Changes are not told any more, for this reason, until it is opened again.
    Broken(String),
}

/// A list's content, by key.
#[derive(Debug)]
pub(super) struct Listing<T> {
    items: BTreeMap<String, T>,
    /// What is being listed.
    next: BTreeMap<String, T>,
    /// Items that were learned otherwise before they were listed, by how many lists had begun then.
    early: BTreeMap<String, u64>,
    begun: u64,
    listed: bool,
    broken: Option<String>,
    open: bool,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            next: BTreeMap::new(),
            early: BTreeMap::new(),
            begun: 0,
            listed: false,
            broken: None,
            open: false,
        }
    }
}

impl<T> Listing<T> {
    pub(super) fn apply(&mut self, change: Change<T>) {
        match change {
            Change::Begun => {
                self.begun += 1;
                self.next.clear();
            }
            Change::Listed(key, item) => {
                self.next.insert(key, item);
            }
            Change::Ended => self.replace(),
            Change::Opened => {
                self.open = true;
                self.broken = None;
            }
            Change::Applied(key, item) => {
                self.early.remove(&key);
                self.items.insert(key, item);
            }
            Change::Deleted(key) => {
                self.early.remove(&key);
                self.items.remove(&key);
            }
            Change::Broken(why) => {
                self.open = false;
                self.broken = Some(why);
            }
        }
    }

    /// Learns of an item otherwise, which may be newer than what is listed.
    pub(super) fn learn(&mut self, key: String, item: T) {
        if !self.items.contains_key(&key) {
            self.early.insert(key.clone(), self.begun);
        }
        self.items.insert(key, item);
    }

    /// What was listed takes the place of what was known, but for what was learned since that list had begun.
    fn replace(&mut self) {
        let mut whole = std::mem::take(&mut self.next);
        let listed: BTreeSet<&String> = whole.keys().collect();
        self.early.retain(|key, begun| *begun >= self.begun && !listed.contains(key));
        let early = self.early.keys().filter_map(|key| self.items.remove_entry(key));
        let early: Vec<(String, T)> = early.collect();
        whole.extend(early);
        self.items = whole;
        self.listed = true;
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.items.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.items.iter().map(|(key, item)| (key.as_str(), item))
    }

    /// Whether its whole content was told, once.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether changes are told as they come.
    pub(super) fn is_current(&self) -> bool {
        self.listed && self.open
    }

    /// Why changes may be missed.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(listing: &Listing<u8>) -> String {
        listing.iter().map(|(key, _)| key).collect()
    }

    fn told(changes: impl IntoIterator<Item = Change<u8>>) -> Listing<u8> {
        let mut listing = Listing::default();
        changes.into_iter().for_each(|change| listing.apply(change));
        listing
    }

    fn listed(keys: &str) -> Vec<Change<u8>> {
        let items = keys.chars().map(|key| Change::Listed(key.into(), 0));
        [Change::Begun].into_iter().chain(items).chain([Change::Ended, Change::Opened]).collect()
    }

    #[test]
    fn what_was_known_counts_until_the_whole_is_told() {
        let mut listing = told(listed("ab"));
        assert_eq!((keys(&listing).as_str(), listing.is_current()), ("ab", true));
        listing.apply(Change::Broken("away".into()));
        listing.apply(Change::Begun);
        listing.apply(Change::Listed("c".into(), 0));
        assert_eq!(
            (keys(&listing).as_str(), listing.is_current(), listing.broken()),
            ("ab", false, Some("away"))
        );
        // The list itself has broken, and another one begins.
        listed("bd").into_iter().for_each(|change| listing.apply(change));
        assert_eq!((keys(&listing).as_str(), listing.is_current(), listing.broken()), ("bd", true, None));
    }

    #[test]
    fn what_was_learned_early_stays_until_a_later_list_says_otherwise() {
        let mut listing = told([Change::Begun]);
        listing.learn("x".into(), 1);
        assert!(!listing.is_listed());
        listing.apply(Change::Ended);
        assert_eq!(keys(&listing), "x");
        listed("").into_iter().for_each(|change| listing.apply(change));
        assert_eq!(keys(&listing), "");
        listing.learn("y".into(), 1);
        listing.apply(Change::Applied("y".into(), 2));
        listing.apply(Change::Deleted("y".into()));
        assert_eq!(keys(&listing), "");
        listing.learn("z".into(), 1);
        listed("z").into_iter().for_each(|change| listing.apply(change));
        assert_eq!(listing.get("z"), Some(&0));
    }

    fn change() -> impl Strategy<Value = Change<u8>> {
        let key = || "[a-d]";
        prop_oneof![
            Just(Change::Begun),
            (key(), any::<u8>()).prop_map(|(key, item)| Change::Listed(key, item)),
            Just(Change::Ended),
            (key(), any::<u8>()).prop_map(|(key, item)| Change::Applied(key, item)),
            key().prop_map(Change::Deleted),
            Just(Change::Broken(String::new())),
        ]
    }

    proptest! {
        /// However it was told before, a whole list is what is known after it.
        #[test]
        fn a_whole_list_is_all_that_is_known(before in proptest::collection::vec(change(), 0..20), keys_listed in "[a-d]{0,4}") {
            let mut listing = told(before);
            listed(&keys_listed).into_iter().for_each(|change| listing.apply(change));
            let wanted: BTreeSet<char> = keys_listed.chars().collect();
            prop_assert_eq!(keys(&listing), wanted.into_iter().collect::<String>());
        }
    }
}
