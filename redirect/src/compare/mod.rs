//! Compare: a plan against what is in a namespace.

use std::fmt;

use crate::chain::{Attachment, Chain};
use crate::elements::Elements;
use crate::found::{
    Found, FoundChain, FoundElement, FoundObject, FoundPolicyRule, FoundRoute, FoundRouting, FoundRule,
    FoundSet, FoundTable,
};
use crate::piece::Piece;
use crate::plan::Plan;
use crate::rule::Rule;
use crate::set::Set;

/// Whether what is in a namespace is what a plan puts there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is. Comments and counters are not compared; everything that decides about a packet is.
    Same,
    /// It is not, in these points.
    Differs(Vec<Difference>),
}

/// One point in which a namespace differs from a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The plan has it, the namespace does not.
    Missing(Piece),
    /// The namespace has it where only a plan's pieces should be, and the plan does not.
    Extra(Piece),
    /// Both have the rule, but another that should come after it comes before.
    OutOfOrder(Piece),
    /// The table is there but switched off: no rule of it sees a packet.
    Dormant {
        /// The table's name.
        table: &'static str,
    },
    /// Packets meet the chain elsewhere than planned.
    Elsewhere {
        /// The chain.
        chain: String,
        /// Where they should.
        planned: Attachment,
        /// Where they do; none when it is nowhere, or where no plan puts a chain.
        found: Option<Attachment>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(piece) => write!(f, "missing: {piece}"),
            Self::Extra(piece) => write!(f, "extra: {piece}"),
            Self::OutOfOrder(piece) => write!(f, "out of order: {piece}"),
            Self::Dormant { table } => write!(f, "switched off: {}", Piece::Table(table)),
            Self::Elsewhere { chain, planned, found: Some(found) } => {
                write!(f, "chain {chain} is at \"{found}\", not at \"{planned}\"")
            }
            Self::Elsewhere { chain, planned, found: None } => {
                write!(f, "chain {chain} is not at \"{planned}\"")
            }
        }
    }
}

/// Compares a plan with all that was found.
pub(crate) fn compare(plan: &Plan, found: &Found) -> Verdict {
    let mut differences = compare_table(plan, found.table.as_ref());
    differences.extend(compare_routing(plan, &found.routing));
    if differences.is_empty() { Verdict::Same } else { Verdict::Differs(differences) }
}

/// Compares a plan's routing with what was found of it.
pub(crate) fn compare_routing(plan: &Plan, found: &FoundRouting) -> Vec<Difference> {
    let mut differences = Vec::new();
    compare_routes(plan, found, &mut differences);
    compare_policy_rules(plan, found, &mut differences);
    differences
}

fn compare_table(plan: &Plan, found: Option<&FoundTable>) -> Vec<Difference> {
    let mut differences = Vec::new();
    match found {
        Some(found) => {
            differences.extend(found.dormant.then_some(Difference::Dormant { table: plan.table() }));
        }
        None => differences.push(Difference::Missing(Piece::Table(plan.table()))),
    }
    compare_objects(plan, found.map(|table| table.objects.as_slice()).unwrap_or_default(), &mut differences);
    compare_sets(plan, found.map(|table| table.sets.as_slice()).unwrap_or_default(), &mut differences);
    let found = found.map(|table| table.chains.as_slice()).unwrap_or_default();
    for planned in plan.chains() {
        compare_chain(planned, found.iter().find(|chain| chain.name == planned.name), &mut differences);
    }
    let is_planned = |chain: &&FoundChain| plan.chains().iter().any(|planned| planned.name == chain.name);
    let extra = found.iter().filter(|chain| !is_planned(chain));
    differences.extend(extra.map(|chain| Difference::Extra(Piece::Chain(chain.name.clone()))));
    differences
}

fn compare_objects(plan: &Plan, found: &[FoundObject], differences: &mut Vec<Difference>) {
    let planned = plan.tcp_timeouts();
    let is_planned = |object: &FoundObject| planned.is_some_and(|timeouts| object.is(timeouts));
    let missing = planned.filter(|_| !found.iter().any(is_planned));
    differences.extend(missing.map(Piece::Timeouts).map(Difference::Missing));
    let extra = found.iter().filter(|object| !is_planned(object));
    differences.extend(extra.map(|object| Difference::Extra(Piece::ForeignObject(object.name.clone()))));
}

fn compare_sets(plan: &Plan, found: &[FoundSet], differences: &mut Vec<Difference>) {
    for planned in plan.sets() {
        let is_there = |set: &FoundSet| set.name == planned.name() && set.kind == Some(planned.kind());
        if !found.iter().any(is_there) {
            differences.push(Difference::Missing(Piece::Set(planned.clone())));
        }
    }
    for set in found {
        let is_planned = |planned: &Set| set.name == planned.name() && set.kind == Some(planned.kind());
        if plan.sets().iter().any(is_planned) {
            continue;
        }
        let ours = set.kind.and_then(|kind| Set::new(set.name.clone(), kind));
        let piece = ours.map_or_else(|| Piece::ForeignSet(set.name.clone()), Piece::Set);
        differences.push(Difference::Extra(piece));
    }
}

/// Compares what should be in a plan's sets with what was found in them.
pub(crate) fn compare_elements(plan: &Plan, elements: &Elements, found: &FoundTable) -> Vec<Difference> {
    let there = found.elements(plan.sets());
    let piece = |(set, element): (&Set, _)| Piece::Element { set: set.clone(), element };
    let missing = elements.within(plan.sets()).without(&there);
    let mut differences: Vec<Difference> = missing.iter().map(piece).map(Difference::Missing).collect();
    differences.extend(there.without(elements).iter().map(piece).map(Difference::Extra));
    for set in plan.sets() {
        let found = found.sets.iter().filter(|found| found.name == set.name());
        for element in found.flat_map(|found| &found.elements) {
            if let FoundElement::Foreign { key } = element {
                let piece = Piece::ForeignElement { set: set.clone(), key: key.clone() };
                differences.push(Difference::Extra(piece));
            }
        }
    }
    differences
}

fn compare_chain(planned: &Chain, found: Option<&FoundChain>, differences: &mut Vec<Difference>) {
    let name = &planned.name;
    let Some(found) = found else {
        differences.push(Difference::Missing(Piece::Chain(name.to_string())));
        compare_rules(name, &planned.rules, &[], differences);
        return;
    };
    if found.attachment != Some(planned.attachment) {
        differences.push(Difference::Elsewhere {
            chain: name.to_string(),
            planned: planned.attachment,
            found: found.attachment,
        });
    }
    compare_rules(name, &planned.rules, &found.rules, differences);
}

fn compare_rules(chain: &str, planned: &[Rule], found: &[FoundRule], differences: &mut Vec<Difference>) {
    let piece = |rule: &Rule| Piece::Rule { chain: chain.into(), rule: rule.clone() };
    let mut left: Vec<Option<&FoundRule>> = found.iter().map(Some).collect();
    let mut farthest = 0;
    for rule in planned {
        let place = left.iter().position(|candidate| match candidate {
            Some(FoundRule::Ours(candidate)) => candidate.does_the_same_as(rule),
            Some(FoundRule::Foreign { .. }) | None => false,
        });
        match place {
            None => differences.push(Difference::Missing(piece(rule))),
            Some(place) if place < farthest => differences.push(Difference::OutOfOrder(piece(rule))),
            Some(place) => farthest = place,
        }
        if let Some(taken) = place.and_then(|place| left.get_mut(place)) {
            *taken = None;
        }
    }
    for extra in left.into_iter().flatten() {
        differences.push(Difference::Extra(match extra {
            FoundRule::Ours(rule) => piece(rule),
            FoundRule::Foreign { why, expressions } => {
                Piece::ForeignRule { chain: chain.into(), why: why.clone(), expressions: expressions.clone() }
            }
        }));
    }
}

fn compare_policy_rules(plan: &Plan, found: &FoundRouting, differences: &mut Vec<Difference>) {
    for &rule in plan.policy_rules() {
        let there = found.policy_rules.contains(&FoundPolicyRule::Ours(rule));
        if found.ipv6.has_policy_rules(rule.family) && !there {
            differences.push(Difference::Missing(Piece::PolicyRule(rule)));
        }
    }
    for extra in &found.policy_rules {
        match *extra {
            FoundPolicyRule::Ours(rule) if plan.policy_rules().contains(&rule) => {}
            FoundPolicyRule::Ours(rule) => differences.push(Difference::Extra(Piece::PolicyRule(rule))),
            FoundPolicyRule::Foreign { priority, table } => {
                differences.push(Difference::Extra(Piece::ForeignPolicyRule { priority, table }));
            }
        }
    }
}

fn compare_routes(plan: &Plan, found: &FoundRouting, differences: &mut Vec<Difference>) {
    for route in plan.routes() {
        let there = found.routes.contains(&FoundRoute::Ours(route.clone()));
        if found.ipv6.has_route(route) && !there {
            differences.push(Difference::Missing(Piece::Route(route.clone())));
        }
    }
    for extra in &found.routes {
        match extra {
            FoundRoute::Ours(route) if plan.routes().contains(route) => {}
            FoundRoute::Ours(route) => differences.push(Difference::Extra(Piece::Route(route.clone()))),
            &FoundRoute::Foreign { table, prefix } => {
                differences.push(Difference::Extra(Piece::ForeignRoute { table, prefix }));
            }
        }
    }
}

#[cfg(test)]
mod tests;
