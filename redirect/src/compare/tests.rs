//! Comparing against a slow, obvious model: what is found is the plan, changed in one known way.

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use crate::found::{
    Found, FoundChain, FoundObject, FoundPolicyRule, FoundRoute, FoundRouting, FoundRule, FoundTable, Ipv6,
};
use crate::piece::Piece;
use crate::plan::tests::intents::all_intents;
use crate::{Family, Plan, Remembers, TcpTimeouts, Verdict};

use super::{Difference, compare};

/// A namespace that is as planned.
fn found(plan: &Plan) -> Found {
    let chains = plan.chains().iter().map(|chain| FoundChain {
        name: chain.name.to_string(),
        attachment: Some(chain.attachment),
        rules: chain.rules.iter().cloned().map(FoundRule::Ours).collect(),
    });
    let planned = plan.tcp_timeouts().map(|timeouts| FoundObject {
        name: crate::tcp_timeouts::NAME.into(),
        kind: 7,
        timeouts: Some(timeouts),
    });
    let objects = planned.into_iter().collect();
    Found {
        remembers: Remembers::AsPlanned,
        table: Some(FoundTable { dormant: false, objects, sets: Vec::new(), chains: chains.collect() }),
        routing: FoundRouting {
            policy_rules: plan.policy_rules().iter().copied().map(FoundPolicyRule::Ours).collect(),
            routes: plan.routes().iter().cloned().map(FoundRoute::Ours).collect(),
            ipv6: Ipv6::On,
        },
    }
}

fn differences(plan: &Plan, found: &Found) -> Vec<Difference> {
    match compare(plan, found) {
        Verdict::Same => Vec::new(),
        Verdict::Differs(differences) => differences,
    }
}

fn rules(found: &mut Found, chain: Index) -> (String, &mut Vec<FoundRule>) {
    let chains = &mut found.table.as_mut().unwrap().chains;
    let index = chain.index(chains.len());
    (chains[index].name.clone(), &mut chains[index].rules)
}

/// Rules that do the same are one as good as the other, so several missing may be told as any of them.
fn missing_rules(differences: &[Difference]) -> usize {
    differences
        .iter()
        .filter(|difference| matches!(difference, Difference::Missing(Piece::Rule { .. })))
        .count()
}

proptest! {
    #[test]
    fn as_planned_is_the_same(intent in all_intents()) {
        let plan = Plan::new(&intent);
        prop_assert_eq!(compare(&plan, &found(&plan)), Verdict::Same);
    }

    #[test]
    fn each_rule_missing_is_named(intent in all_intents(), chain: Index, rule: Index) {
        let plan = Plan::new(&intent);
        let mut found = found(&plan);
        let (name, rules) = rules(&mut found, chain);
        let FoundRule::Ours(rule) = rules.remove(rule.index(rules.len())) else { unreachable!() };
        prop_assert_eq!(differences(&plan, &found), [Difference::Missing(Piece::Rule { chain: name, rule })]);
    }

    #[test]
    fn any_rules_missing_are_counted(
        (plan, kept) in all_intents().prop_flat_map(|intent| {
            let plan = Plan::new(&intent);
            let rules = plan.chains().last().unwrap().rules.clone();
            let length = rules.len();
            (Just(plan), subsequence(rules, 0..=length))
        })
    ) {
        let mut found = found(&plan);
        let planned = plan.chains().last().unwrap().rules.len();
        let missing = planned - kept.len();
        found.table.as_mut().unwrap().chains.last_mut().unwrap().rules =
            kept.into_iter().map(FoundRule::Ours).collect();
        let differences = differences(&plan, &found);
        prop_assert_eq!((missing_rules(&differences), differences.len()), (missing, missing));
    }

    #[test]
    fn two_rules_exchanged_are_out_of_order(intent in all_intents(), one: Index, other: Index) {
        let plan = Plan::new(&intent);
        let mut found = found(&plan);
        let rules = &mut found.table.as_mut().unwrap().chains.last_mut().unwrap().rules;
        let (one, other) = (one.index(rules.len()), other.index(rules.len()));
        rules.swap(one, other);
        let differences = differences(&plan, &found);
        prop_assert_eq!(differences.is_empty(), one == other);
        prop_assert!(differences.iter().all(|difference| matches!(difference, Difference::OutOfOrder(_))));
    }

    #[test]
    fn an_extra_rule_is_found_wherever_it_stands(intent in all_intents(), chain: Index, place: Index) {
        let plan = Plan::new(&intent);
        let mut found = found(&plan);
        let (name, rules) = rules(&mut found, chain);
        let extra = FoundRule::Foreign { why: None, expressions: vec!["immediate".into()] };
        rules.insert(place.index(rules.len() + 1), extra);
        let piece = Piece::ForeignRule { chain: name, why: None, expressions: vec!["immediate".into()] };
        prop_assert_eq!(differences(&plan, &found), [Difference::Extra(piece)]);
    }

    #[test]
    fn a_rule_twice_is_extra(intent in all_intents(), chain: Index, rule: Index) {
        let plan = Plan::new(&intent);
        let mut found = found(&plan);
        let (_, rules) = rules(&mut found, chain);
        let twice = rules[rule.index(rules.len())].clone();
        rules.push(twice);
        let differences = differences(&plan, &found);
        prop_assert!(matches!(differences[..], [Difference::Extra(Piece::Rule { .. })]), "{:?}", differences);
    }
}

#[test]
fn a_table_that_is_not_there_lacks_everything() {
    let plan = Plan::new(&crate::Intent::ambient());
    let differences = differences(&plan, &Found::default());
    let rules: usize = plan.chains().iter().map(|chain| chain.rules.len()).sum();
    assert_eq!(differences.len(), 2 + plan.chains().len() + rules + 4);
    assert!(differences.iter().all(|difference| matches!(difference, Difference::Missing(_))));
}

#[test]
fn without_ipv6_its_routing_is_not_missed() {
    let plan = Plan::new(&crate::Intent::ambient());
    for (ipv6, policy_rules) in [(Ipv6::On, 2), (Ipv6::OffOnLoopback, 2), (Ipv6::Absent, 1)] {
        let mut found = found(&plan);
        found.routing.ipv6 = ipv6;
        if ipv6 != Ipv6::On {
            found.routing.routes.truncate(1);
        }
        found.routing.policy_rules.truncate(policy_rules);
        assert_eq!(compare(&plan, &found), Verdict::Same, "{ipv6:?}");
        found.routing.policy_rules.clear();
        assert_eq!(differences(&plan, &found).len(), policy_rules, "{ipv6:?}");
    }
    assert!(plan.routes().iter().any(|route| route.family == Family::V6));
}

#[test]
fn timeouts_that_are_not_there_are_missed_and_others_are_extra() {
    let plan = Plan::new(&crate::Intent::ambient());
    let mut found = found(&plan);
    let objects = &mut found.table.as_mut().unwrap().objects;
    objects[0].timeouts = Some(TcpTimeouts::of_numbers([1; 11]));
    let name = objects[0].name.clone();
    let missing = Difference::Missing(Piece::Timeouts(TcpTimeouts::CAPTURED));
    let extra = Difference::Extra(Piece::ForeignObject(name));
    assert_eq!(differences(&plan, &found), [missing, extra]);
}

#[test]
fn without_timeouts_a_plan_has_all_its_other_rules() {
    let plan = Plan::new(&crate::Intent::ambient());
    let without = plan.without_timeouts();
    let mut found = found(&plan);
    found.table.as_mut().unwrap().objects.clear();
    for chain in &mut found.table.as_mut().unwrap().chains {
        chain.rules.retain(
            |rule| !matches!(rule, FoundRule::Ours(rule) if rule.action() == crate::Action::SetTimeouts),
        );
    }
    assert_eq!(compare(&without, &found), Verdict::Same);
    // The timeouts, and the rules that set them.
    assert_eq!(differences(&plan, &found).len(), 3);
}

#[test]
fn a_chain_elsewhere_and_a_table_switched_off_are_told() {
    let plan = Plan::new(&crate::Intent::ambient());
    let mut found = found(&plan);
    let table = found.table.as_mut().unwrap();
    table.dormant = true;
    table.chains[0].attachment = None;
    let attachment = table.chains[1].attachment.as_mut().unwrap();
    attachment.priority += 1;
    let differences = differences(&plan, &found);
    assert!(matches!(
        &differences[..],
        [
            Difference::Dormant { .. },
            Difference::Elsewhere { found: None, .. },
            Difference::Elsewhere { found: Some(_), .. }
        ]
    ));
}
