//! Decisions, one test a sentence of the module's documentation, and against a slow obvious model.

use std::collections::BTreeMap;

use identity::ServiceAccount;
use proptest::prelude::*;

use super::*;
use crate::workload::{Health, Labels, PodName, Protocol, Snapshot, Workload};

fn workload(policies: &[&str]) -> Workload {
    Workload {
        uid: "server".into(),
        name: PodName { namespace: "shop".into(), name: "server".into(), service_account: "server".into() },
        trust_domain: "cluster.local".parse().unwrap(),
        service_account: ServiceAccount::new("shop", "server").unwrap(),
        addresses: vec!["10.0.0.2".parse().unwrap()],
        network: String::new(),
        protocol: Protocol::Hbone,
        health: Health::Healthy,
        waypoint: None,
        network_gateway: None,
        application_tunnel: None,
        policies: policies.iter().map(|p| (*p).to_owned()).collect(),
        labels: Labels::default(),
        capacity: 1,
    }
}

fn snapshot(policies: Vec<Policy>) -> Snapshot {
    let mut builder = Snapshot::builder();
    builder.workload(workload(&[]), BTreeMap::new()).unwrap();
    for policy in policies {
        builder.policy(policy);
    }
    builder.build()
}

fn policy(name: &str, action: Action, conditions: Vec<Condition>) -> Policy {
    Policy {
        namespace: "shop".into(),
        name: name.into(),
        scope: Scope::Namespace,
        action,
        mode: Mode::Enforced,
        rules: vec![Rule { clauses: vec![Clause { conditions }] }],
    }
}

fn peer() -> SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/client".parse().unwrap()
}

fn ask(snapshot: &Snapshot, peer: Option<&SpiffeId>) -> Result<Permit, Denied> {
    snapshot.decide(&workload(&[]), &question(peer))
}

fn question(peer: Option<&SpiffeId>) -> Question<'_> {
    Question {
        client: ClientAddr::new("10.0.0.1:4000".parse().unwrap()),
        peer,
        destination: "10.0.0.2:80".parse().unwrap(),
    }
}

fn strict() -> Policy {
    policy(
        "strict",
        Action::Deny,
        vec![Condition { not_principals: vec![StringMatch::Presence], ..Condition::default() }],
    )
}

fn by_namespace(namespace: &str) -> Condition {
    Condition { namespaces: vec![StringMatch::Exact(namespace.into())], ..Condition::default() }
}

#[test]
fn nothing_said_is_permitted() {
    assert!(ask(&snapshot(vec![]), None).is_ok());
}

#[test]
fn strict_denies_plaintext_and_only_plaintext() {
    let snapshot = snapshot(vec![strict()]);
    assert_eq!(ask(&snapshot, None), Err(Denied::By { policy: "shop/strict".into() }));
    assert!(ask(&snapshot, Some(&peer())).is_ok());
}

#[test]
fn deny_comes_before_allow() {
    let allow = policy("allow", Action::Allow, vec![by_namespace("shop")]);
    let deny = policy("deny", Action::Deny, vec![by_namespace("shop")]);
    let snapshot = snapshot(vec![allow, deny]);
    assert_eq!(ask(&snapshot, Some(&peer())), Err(Denied::By { policy: "shop/deny".into() }));
}

#[test]
fn an_allow_that_does_not_match_denies() {
    let snapshot = snapshot(vec![policy("allow", Action::Allow, vec![by_namespace("other")])]);
    assert_eq!(ask(&snapshot, Some(&peer())), Err(Denied::NoneAllows));
}

#[test]
fn an_empty_condition_matches_nothing() {
    let deny = snapshot(vec![policy("deny", Action::Deny, vec![Condition::default()])]);
    assert!(ask(&deny, None).is_ok());
    let allow = snapshot(vec![policy("allow", Action::Allow, vec![Condition::default()])]);
    assert_eq!(ask(&allow, Some(&peer())), Err(Denied::NoneAllows));
}

#[test]
fn a_dry_run_decides_nothing() {
    let dry = Policy { mode: Mode::DryRun, ..strict() };
    assert!(ask(&snapshot(vec![dry]), None).is_ok());
}

#[test]
fn other_namespaces_policies_do_not_apply() {
    let other = Policy { namespace: "other".into(), ..strict() };
    assert!(ask(&snapshot(vec![other.clone()]), None).is_ok());
    let global = Policy { scope: Scope::Global, ..other };
    assert!(ask(&snapshot(vec![global]), None).is_err());
}

#[test]
fn a_named_but_unknown_policy_denies() {
    let denied = snapshot(vec![]).decide(&workload(&["shop/lost"]), &question(None));
    assert_eq!(denied, Err(Denied::Unknown { policy: "shop/lost".into() }));
}

#[test]
fn the_permit_leads_to_the_destination_asked_for() {
    let permit = ask(&snapshot(vec![]), None).unwrap();
    assert_eq!(permit.destination(), "10.0.0.2:80".parse().unwrap());
}

proptest! {
    /// Against the four lines of the module's documentation, over policies that match or not at will.
    #[test]
    fn decides_as_the_documentation_says(policies in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..6)) {
        let build = |(deny, matches, dry): (bool, bool, bool)| Policy {
            mode: if dry { Mode::DryRun } else { Mode::Enforced },
            ..policy(
                "p",
                if deny { Action::Deny } else { Action::Allow },
                vec![by_namespace(if matches { "shop" } else { "other" })],
            )
        };
        let live: Vec<_> = policies.iter().copied().filter(|(_, _, dry)| !dry).collect();
        let denied = live.iter().any(|(deny, matches, _)| *deny && *matches);
        let has_allow = live.iter().any(|(deny, ..)| !deny);
        let allowed = live.iter().any(|(deny, matches, _)| !deny && *matches);
        let expected = !denied && (!has_allow || allowed);
        let snapshot = snapshot(policies.into_iter().map(build).collect());
        prop_assert_eq!(ask(&snapshot, Some(&peer())).is_ok(), expected);
    }
}
