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

fn peer() -> Principal {
    principal("spiffe://cluster.local/ns/shop/sa/client", &[])
}

/// Who has proved `id` to a pod of `cluster.local`, and goes by `other_names` too.
fn principal(id: &str, other_names: &[&str]) -> Principal {
    let other_names = other_names.iter().map(|name| name.parse().unwrap()).collect();
    Principal::new(id.parse().unwrap(), other_names, &"cluster.local".parse().unwrap())
}

fn ask(snapshot: &Snapshot, peer: Option<&Principal>) -> Result<Permit, Denied> {
    snapshot.decide(&workload(&[]), &question(peer))
}

fn question(peer: Option<&Principal>) -> Question<'_> {
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

fn exact(text: &str) -> Vec<StringMatch> {
    vec![StringMatch::Exact(text.into())]
}

#[test]
fn what_a_foreign_peer_says_of_itself_counts_only_against_it() {
    let shop = ServiceAccountName { namespace: "shop".into(), name: "client".into() };
    let by_namespace = Condition { namespaces: exact("shop"), ..Condition::default() };
    let by_account = Condition { service_accounts: vec![shop], ..Condition::default() };
    let by_principal =
        Condition { principals: exact("example.org/ns/shop/sa/client"), ..Condition::default() };
    let not_of_shop = Condition { not_namespaces: exact("shop"), ..Condition::default() };
    let foreign = principal("spiffe://example.org/ns/shop/sa/client", &[]);
    let not_the_account =
        Condition { not_service_accounts: by_account.service_accounts.clone(), ..Condition::default() };
    // Whom each allows and whom each denies: the peer from here, and the foreign one that claims to be the same.
    for (condition, allowed, denied) in [
        (&by_namespace, [true, false], [true, true]),
        (&by_account, [true, false], [true, true]),
        (&by_principal, [false, true], [false, true]),
        (&not_of_shop, [false, false], [false, true]),
        (&not_the_account, [false, false], [false, true]),
    ] {
        let peers = [&peer(), &foreign];
        let allow = snapshot(vec![policy("allow", Action::Allow, vec![condition.clone()])]);
        assert_eq!(peers.map(|peer| ask(&allow, Some(peer)).is_ok()), allowed, "{condition:?}");
        let deny = snapshot(vec![policy("deny", Action::Deny, vec![condition.clone()])]);
        assert_eq!(peers.map(|peer| ask(&deny, Some(peer)).is_err()), denied, "{condition:?}");
    }
    // In other namespaces than the ones that it says, it is not.
    let of_another = principal("spiffe://example.org/ns/other/sa/client", &[]);
    let allow = snapshot(vec![policy("allow", Action::Allow, vec![not_of_shop])]);
    assert!(ask(&allow, Some(&of_another)).is_ok());
    let deny = snapshot(vec![policy("deny", Action::Deny, vec![by_namespace])]);
    assert!(ask(&deny, Some(&of_another)).is_ok());
}

#[test]
fn a_peer_is_known_by_every_name_of_its_trust_domain() {
    let names = ["spiffe://cluster.local/ns/shop/sa/client", "spiffe://old.local/ns/shop/sa/client"];
    for (proved, other) in [(names[0], names[1]), (names[1], names[0])] {
        let peer = principal(proved, &[other]);
        for name in ["cluster.local/ns/shop/sa/client", "old.local/ns/shop/sa/client"] {
            let named = Condition { principals: exact(name), ..Condition::default() };
            let allow = snapshot(vec![policy("allow", Action::Allow, vec![named.clone()])]);
            assert!(ask(&allow, Some(&peer)).is_ok(), "{proved} {name}");
            let deny = snapshot(vec![policy("deny", Action::Deny, vec![named])]);
            assert!(ask(&deny, Some(&peer)).is_err(), "{proved} {name}");
            let others = Condition { not_principals: exact(name), ..Condition::default() };
            let deny_others = snapshot(vec![policy("deny", Action::Deny, vec![others])]);
            assert!(ask(&deny_others, Some(&peer)).is_ok(), "{proved} {name}");
        }
        let by_namespace = Condition { namespaces: exact("shop"), ..Condition::default() };
        let allow = snapshot(vec![policy("allow", Action::Allow, vec![by_namespace])]);
        assert!(ask(&allow, Some(&peer)).is_ok(), "{proved}");
    }
}
