//! What the agent is told, as a cluster changes.

use netns::find::Finder;
use serde_json::{Value, json};

use super::*;
use crate::agent::kubernetes::facts::MODE;
use crate::agent::kubernetes::shape::PodShape;

fn pod(uid: &str, mode: &str) -> Value {
    json!({
        "metadata": {"uid": uid, "namespace": "shop", "name": "cart-0", "labels": {MODE: mode}},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIP": "10.0.0.5"},
    })
}

fn shape(value: Value) -> PodShape {
    serde_json::from_value(value).unwrap()
}

fn read(value: Value) -> Read {
    PodFacts::parse(shape(value)).map_err(|error| ("shop/?".into(), error))
}

fn applied(uid: &str, mode: &str) -> Change<Read> {
    Change::Applied(uid.into(), read(pod(uid, mode)))
}

/// With these pods listed, in a namespace whose label says this.
fn known(pods: &[(&str, &str)], namespace: Mode) -> Known {
    let mut known = Known::default();
    let listed = pods.iter().map(|(uid, mode)| Change::Listed((*uid).into(), read(pod(uid, mode))));
    [Change::Begun]
        .into_iter()
        .chain(listed)
        .chain([Change::Ended, Change::Opened])
        .for_each(|change| known.pods_changed(change));
    let namespaces = [Change::Begun, Change::Listed("shop".into(), namespace), Change::Ended, Change::Opened];
    namespaces.into_iter().for_each(|change| known.namespaces.apply(change));
    known
}

fn bring(known: &mut Known, uid: &str, mode: &str) {
    known.brought(read(pod(uid, mode)).unwrap(), Namespace::current().unwrap());
}

/// A look at processes that has found none.
fn nothing(known: &Known) -> Scan {
    let none = ToFind { edition: known.edition, ..ToFind::default() };
    Scan::take(&Finder::default(), Namespace::current().unwrap().id(), &none).unwrap()
}

/// What the agent is told now, nothing being found, and what is shown.
fn follow(known: &mut Known) -> (Vec<String>, Vec<String>) {
    let followed = known.follow(Some(&nothing(known)), &Settings::new("n1"));
    let orders = followed.orders.iter().map(|order| match order {
        Order::Put(pod) => format!("put {}", pod.uid),
        Order::Release(pod) => format!("release {}", pod.uid),
        Order::Gone(uid) => format!("gone {uid}"),
        Order::Keep(uid) => format!("keep {uid}"),
    });
    (
        orders.collect(),
        followed.problems.into_iter().map(|(pod, problem)| format!("{pod} {problem}")).collect(),
    )
}

fn orders(known: &mut Known) -> Vec<String> {
    follow(known).0
}

#[test]
fn labels_enrol_and_release_a_pod_that_lives() {
    let mut known = known(&[("1", "ambient")], Mode::Unsaid);
    bring(&mut known, "1", "ambient");
    assert_eq!(orders(&mut known), ["put 1"]);
    known.pods_changed(applied("1", "none"));
    assert_eq!(orders(&mut known), ["release 1"]);
    assert_eq!(orders(&mut known), [""; 0]);
    known.pods_changed(applied("1", "other"));
    known.namespaces.apply(Change::Applied("shop".into(), Mode::Ambient));
    assert_eq!(orders(&mut known), ["put 1"]);
    known.namespaces.apply(Change::Applied("shop".into(), Mode::Unsaid));
    assert_eq!(orders(&mut known), ["release 1"]);
    known.pods_changed(Change::Deleted("1".into()));
    assert_eq!(orders(&mut known), ["gone 1"]);
    assert_eq!(orders(&mut known), [""; 0]);
}

#[test]
fn a_pod_that_is_not_found_is_kept_and_shown() {
    let mut known = known(&[("1", "ambient"), ("2", "none")], Mode::Unsaid);
    let (orders, problems) = follow(&mut known);
    assert_eq!(orders, ["keep 1"]);
    assert_eq!(problems, ["shop/cart-0 no process of it is found in a network namespace of its own"]);
    // Nor is it said otherwise because nobody has looked since.
    let again = known.follow(None, &Settings::new("n1"));
    assert_eq!(again.problems.len(), 1);
    let ToFind { must, can, .. } = known.to_find(&Settings::new("n1"));
    assert_eq!(must.into_iter().collect::<String>(), "12");
    assert_eq!(can.len(), 2);
    known.pods_changed(Change::Deleted("1".into()));
    assert_eq!(self::orders(&mut known), ["gone 1"]);
}

#[test]
fn a_pod_that_was_kept_is_gone_once_a_runtime_says_so() {
    let mut known = known(&[("1", "ambient")], Mode::Unsaid);
    assert_eq!(orders(&mut known), ["keep 1"]);
    known.left("1");
    assert_eq!(orders(&mut known), [""; 0]);
}

#[test]
fn nothing_is_complete_before_both_lists_are() {
    let followed = |known: &mut Known| known.follow(Some(&nothing(known)), &Settings::new("n1"));
    let mut known = Known::default();
    assert!(!followed(&mut known).complete);
    known.pods_changed(Change::Begun);
    known.pods_changed(Change::Listed("1".into(), read(pod("1", "ambient"))));
    known.pods_changed(Change::Ended);
    let half = followed(&mut known);
    assert!(!half.complete);
    assert!(matches!(half.orders.as_slice(), [Order::Keep(uid)] if uid == "1"));
    assert_eq!(half.problems.get("shop/cart-0").map(String::as_str), Some("its namespace is not known"));
    [Change::Begun, Change::Ended].into_iter().for_each(|change| known.namespaces.apply(change));
    assert!(followed(&mut known).complete);
}

#[test]
fn what_the_api_server_says_no_more_changes_nothing() {
    let mut known = known(&[("1", "ambient")], Mode::Ambient);
    bring(&mut known, "1", "ambient");
    assert_eq!(orders(&mut known), ["put 1"]);
    for change in [Change::Broken("away".into()), Change::Begun] {
        known.pods_changed(change);
        assert_eq!(orders(&mut known), ["put 1"]);
    }
    known.namespaces.apply(Change::Broken("away".into()));
    known.namespaces.apply(Change::Begun);
    assert_eq!(orders(&mut known), ["put 1"]);
    // A namespace that is gone before its pods are decides nothing, either.
    known.namespaces.apply(Change::Deleted("shop".into()));
    let (orders, problems) = follow(&mut known);
    assert_eq!((orders, problems), (vec![], vec!["shop/cart-0 its namespace is not known".into()]));
}

#[test]
fn a_pod_that_is_made_again_is_another_one() {
    let mut known = known(&[("1", "ambient")], Mode::Unsaid);
    bring(&mut known, "1", "ambient");
    assert_eq!(orders(&mut known), ["put 1"]);
    let settings = Settings::new("n1");
    assert!(known.decided("2", ("shop", "cart-0"), &settings).is_none());
    assert!(known.decided("1", ("shop", "cart-1"), &settings).is_none());
    known.pods_changed(applied("2", "none"));
    assert_eq!(orders(&mut known), ["gone 1"]);
    assert!(known.decided("1", ("shop", "cart-0"), &settings).is_none());
    assert!(matches!(known.decided("2", ("shop", "cart-0"), &settings), Some((_, Enrolment::Outside(_)))));
    // By a runtime, before it is told.
    bring(&mut known, "3", "ambient");
    assert_eq!(orders(&mut known), ["put 3"]);
}

#[test]
fn pods_that_end_are_gone_and_those_that_are_about_to_stay() {
    let mut known = known(&[("1", "ambient")], Mode::Unsaid);
    bring(&mut known, "1", "ambient");
    let mut changed = pod("1", "ambient");
    changed["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    known.pods_changed(Change::Applied("1".into(), read(changed.clone())));
    assert_eq!(orders(&mut known), ["put 1"]);
    changed["status"]["phase"] = json!("Succeeded");
    known.pods_changed(Change::Applied("1".into(), read(changed)));
    assert_eq!(orders(&mut known), ["gone 1"]);
    assert_eq!(orders(&mut known), [""; 0]);
}

#[test]
fn a_network_that_a_runtime_takes_away_is_not_used_any_more() {
    let mut known = known(&[("1", "ambient")], Mode::Unsaid);
    bring(&mut known, "1", "ambient");
    known.left("1");
    let (orders, problems) = follow(&mut known);
    assert_eq!(orders, [""; 0]);
    assert_eq!(problems, ["shop/cart-0 its network namespace has ended, says the container runtime"]);
    bring(&mut known, "1", "ambient");
    assert_eq!(follow(&mut known), (vec!["put 1".into()], vec![]));
}

#[test]
fn a_pod_that_cannot_be_read_is_as_it_was() {
    let mut known = known(&[("1", "ambient")], Mode::Unsaid);
    bring(&mut known, "1", "ambient");
    let mut bad = pod("1", "none");
    bad["metadata"]["name"] = json!("\u{1b}[2J");
    known.pods_changed(Change::Applied("1".into(), read(bad.clone())));
    let (orders, problems) = follow(&mut known);
    assert_eq!(orders, ["put 1"]);
    assert!(problems.concat().contains("is not a name"), "{problems:?}");
    bad["metadata"]["uid"] = json!("2");
    known.pods_changed(Change::Applied("2".into(), read(bad)));
    assert_eq!(follow(&mut known).0, ["put 1", "keep 2"]);
}

/// A runtime has named it, nobody knew it, and its proxies were told to go on.
#[test]
fn who_is_not_listed_after_all_is_gone() {
    let mut known = Known::default();
    known.doubted("9");
    assert_eq!(orders(&mut known), [""; 0]);
    [Change::Begun, Change::Ended].into_iter().for_each(|change| known.pods_changed(change));
    assert_eq!(orders(&mut known), ["gone 9"]);
}

#[test]
fn what_is_not_honoured_is_shown() {
    let mut known = known(&[], Mode::Ambient);
    let mut odd = pod("1", "on");
    odd["metadata"]["annotations"] = json!({"ambient.istio.io/dns-capture": "perhaps"});
    known.pods_changed(Change::Applied("1".into(), read(odd.clone())));
    known.brought(read(odd).unwrap(), Namespace::current().unwrap());
    let (orders, problems) = follow(&mut known);
    assert_eq!(orders, ["put 1"]);
    assert!(problems.concat().ends_with("it counts as not there, and 1 more"), "{problems:?}");
}
