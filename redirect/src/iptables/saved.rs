//! Saved: what `iptables-save` says of one family, as far as it is ours.

use crate::chain::Chain;
use crate::family::Family;
use crate::found::{FoundChain, FoundTable};
use crate::plan::Plan;

use super::decode;
use super::place::{PREFIX, Place, Table};

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    tables: Vec<(Table, Vec<SavedChain>)>,
}

/// Whose chains are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Those that this crate makes.
    Ours,
    /// Those that Istio's node agent makes in a pod.
    Istios,
}

impl Whose {
    pub(crate) fn has(self, chain: &str) -> bool {
        match self {
            Self::Ours => chain.starts_with(PREFIX),
            Self::Istios => matches!(chain, "ISTIO_PRERT" | "ISTIO_OUTPUT"),
        }
    }
}

/// A chain: its name and its rules, as words after its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SavedChain {
    name: String,
    rules: Vec<String>,
}

impl Saved {
    /// Reads the text. Tables that have nothing of ours, and lines that are none of a table's, are passed over.
    pub(crate) fn read(text: &str) -> Self {
        let mut tables: Vec<(Table, Vec<SavedChain>)> = Vec::new();
        let mut current: Option<(Table, Vec<SavedChain>)> = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                current = Table::named(name.trim()).map(|table| (table, Vec::new()));
            } else if line == "COMMIT" {
                tables.extend(current.take());
            } else if let Some((_, chains)) = &mut current {
                read_line(line, chains);
            }
        }
        Self { tables }
    }

    /// Whether there is any rule at all, of anybody's, in the tables that we know.
    pub(crate) fn has_rules(&self) -> bool {
        self.tables.iter().flat_map(|(_, chains)| chains).any(|chain| !chain.rules.is_empty())
    }

    fn chains(&self, table: Table) -> impl Iterator<Item = &SavedChain> {
        self.tables.iter().filter(move |(found, _)| *found == table).flat_map(|(_, chains)| chains)
    }

    fn chain(&self, table: Table, name: &str) -> Option<&SavedChain> {
        self.chains(table).find(|chain| chain.name == name)
    }

    /// The names of the chains that are somebody's.
    pub(crate) fn chains_of(&self, whose: Whose, table: Table) -> impl Iterator<Item = &str> {
        self.chains(table).map(|chain| chain.name.as_str()).filter(move |name| whose.has(name))
    }

    /// A chain of Istio's that its node agent does not make in a pod in ambient mode, with its table.
    pub(crate) fn stranger(&self) -> Option<(Table, &str)> {
        let is_strange = |name: &&str| name.starts_with("ISTIO_") && !Whose::Istios.has(name);
        let names = |table| self.chains(table).map(move |chain| (table, chain.name.as_str()));
        Table::ALL.into_iter().flat_map(names).find(|(_, name)| is_strange(name))
    }

    /// Whether a chain of ours gives packets to sockets.
    pub(crate) fn intercepts(&self) -> bool {
        let ours = self.chains(Table::Mangle).filter(|chain| Whose::Ours.has(&chain.name));
        ours.flat_map(|chain| &chain.rules).any(|rule| rule.contains(" -j TPROXY "))
    }

    /// The rules that do nothing but call a chain of somebody's, outside of such chains: the chain in which each is, and the chain
    /// that it calls.
    pub(crate) fn jumps(&self, whose: Whose, table: Table) -> impl Iterator<Item = (&str, &str)> {
        let others = self.chains(table).filter(move |chain| !whose.has(&chain.name));
        others.flat_map(move |chain| {
            let called = chain.rules.iter().filter_map(|rule| rule.strip_prefix("-j "));
            called.filter(move |name| whose.has(name)).map(|name| (chain.name.as_str(), name))
        })
    }

    /// Whether this chain of ours is called from this built-in one, once, and before anything else there.
    pub(crate) fn is_first_and_only(&self, table: Table, built_in: &str, name: &str) -> bool {
        let first = self.chain(table, built_in).and_then(|chain| chain.rules.first());
        let is_first = first.is_some_and(|rule| rule.strip_prefix("-j ") == Some(name));
        is_first && self.jumps(Whose::Ours, table).filter(|(_, called)| *called == name).count() == 1
    }

    /// What is there of ours, in the terms of a plan for this family; none if nothing is.
    pub(crate) fn found(&self, plan: &Plan, family: Family) -> Option<FoundTable> {
        let mut chains = Vec::new();
        for table in Table::ALL {
            for found in self.chains(table).filter(|chain| Whose::Ours.has(&chain.name)) {
                let planned = plan.chains().iter().find(|chain| is_at(chain, table, &found.name));
                let attachment = planned.map(|chain| chain.attachment).filter(|attachment| {
                    Place::of(*attachment)
                        .is_some_and(|place| self.is_first_and_only(table, place.built_in, &found.name))
                });
                let name = match planned {
                    Some(chain) => chain.name.to_string(),
                    None => format!("{} of table {table}", found.name),
                };
                let rules = found.rules.iter().map(|words| decode::rule(words, family)).collect();
                chains.push(FoundChain { name, attachment, rules });
            }
        }
        (!chains.is_empty()).then(|| FoundTable { chains, ..FoundTable::default() })
    }
}

fn is_at(chain: &Chain, table: Table, name: &str) -> bool {
    Place::of(chain.attachment).is_some_and(|place| place.table == table && place.chain() == name)
}

fn read_line(line: &str, chains: &mut Vec<SavedChain>) {
    if let Some(declared) = line.strip_prefix(':') {
        let name = declared.split(' ').next().unwrap_or_default().to_owned();
        chains.push(SavedChain { name, rules: Vec::new() });
    } else if let Some((name, rule)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
        match chains.iter_mut().find(|chain| chain.name == name) {
            Some(chain) => chain.rules.push(rule.to_owned()),
            None => chains.push(SavedChain { name: name.to_owned(), rules: vec![rule.to_owned()] }),
        }
    }
}
