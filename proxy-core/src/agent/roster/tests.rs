use proptest::prelude::*;

use super::*;
use crate::agent::kernel::Kernel;

fn offer() -> Offer {
    let name = PodName { namespace: "n".into(), name: "p".into(), service_account: "s".into() };
    let (namespace, news) = (Namespace::current().unwrap(), Arc::new(Notify::new()));
    let kernel = Kernel::new(std::num::NonZeroU16::MIN);
    let held = Arc::new(Held::new(kernel, namespace.clone(), &redirect::Intent::ambient()));
    Offer { name, namespace, held, news }
}

/// Requests, as short words.
fn words(work: &[Work]) -> Vec<String> {
    let word = |work: &Work| match work {
        Work::Add { uid, .. } => format!("+{uid}"),
        Work::Keep(uid) => format!("={uid}"),
        Work::Delete(uid) => format!("-{uid}"),
        Work::SnapshotSent => ".".into(),
    };
    work.iter().map(word).collect()
}

/// Does all work of a proxy, which agrees.
fn settle(roster: &mut Roster, id: ProxyId, now: Instant) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let (work, _) = roster.work(id, now);
        if work.is_empty() {
            return said;
        }
        said.extend(words(&work));
        work.iter().for_each(|work| roster.answered(id, work, None, now, 0.5));
    }
}

#[test]
fn a_proxy_hears_a_snapshot_and_then_changes() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster.offer("a".into(), offer());
    roster.lose("lost".into());
    let id = roster.join(Listening::Own);
    assert_eq!(settle(&mut roster, id, now), ["+a", "=lost"]);
    assert_eq!(roster.heard("a"), Heard::Listening);
    // Before all pods are named, a proxy is not told that these are all.
    roster.offer("b".into(), offer());
    assert_eq!(settle(&mut roster, id, now), ["+b"]);
    roster.complete();
    assert_eq!(settle(&mut roster, id, now), ["."]);
    roster.withdraw("a");
    roster.offer("lost".into(), offer());
    assert_eq!(settle(&mut roster, id, now), ["-a", "+lost"]);
    roster.withdraw("nobody");
    assert_eq!(settle(&mut roster, id, now), Vec::<String>::new());
}

#[test]
fn the_newest_proxy_must_answer_and_all_are_told() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster.complete();
    assert_eq!(roster.heard("a"), Heard::NotOffered);
    roster.offer("a".into(), offer());
    assert_eq!(roster.heard("a"), Heard::NoProxy);
    let old = roster.join(Listening::Own);
    settle(&mut roster, old, now);
    assert_eq!(roster.heard("a"), Heard::Listening);
    let new = roster.join(Listening::Own);
    assert_eq!(roster.heard("a"), Heard::Asked);
    settle(&mut roster, new, now);
    assert_eq!(roster.heard("a"), Heard::Listening);
    roster.withdraw("a");
    assert_eq!(settle(&mut roster, old, now), ["-a"]);
    assert_eq!(roster.heard("a"), Heard::Leaving);
    assert_eq!(settle(&mut roster, new, now), ["-a"]);
    assert_eq!(roster.heard("a"), Heard::NotOffered);
    roster.offer("b".into(), offer());
    settle(&mut roster, old, now);
    assert_eq!(roster.heard("b"), Heard::Asked);
    roster.leave(new, now);
    assert_eq!(roster.heard("b"), Heard::Listening);
}

#[test]
fn who_refuses_is_asked_again_later() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster.complete();
    roster.offer("a".into(), offer());
    let id = roster.join(Listening::Own);
    let (work, _) = roster.work(id, now);
    work.iter().for_each(|work| roster.answered(id, work, Some("no".into()), now, 1.0));
    assert_eq!(roster.heard("a"), Heard::Refused("no".into()));
    let (work, later) = roster.work(id, now);
    // The snapshot is complete without it.
    assert_eq!(words(&work), ["."]);
    let later = later.unwrap();
    assert_eq!(later, now + ASK_AGAIN.first);
    assert_eq!(words(&roster.work(id, later).0), ["+a"]);
    let again = roster.work(id, later).0;
    again.iter().for_each(|work| roster.answered(id, work, Some("no".into()), later, 1.0));
    assert_eq!(roster.work(id, later).1, Some(later + 2 * ASK_AGAIN.first));
    // Another offer is another question.
    roster.offer("a".into(), offer());
    assert_eq!(words(&roster.work(id, later).0), ["+a"]);
    assert_eq!(roster.heard("a"), Heard::Asked);
    // Who has refused a pod may be trying by himself.
    roster.withdraw("a");
    assert_eq!(words(&roster.work(id, later).0), ["-a"]);
}

#[test]
fn an_answer_to_an_older_offer_is_none_to_the_newer() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster.offer("a".into(), offer());
    let id = roster.join(Listening::Own);
    let (work, _) = roster.work(id, now);
    roster.offer("a".into(), offer());
    work.iter().for_each(|work| roster.answered(id, work, None, now, 0.5));
    assert_eq!(roster.heard("a"), Heard::Asked);
    assert_eq!(settle(&mut roster, id, now), ["+a"]);
    assert_eq!(roster.heard("a"), Heard::Listening);
}

#[test]
fn sockets_are_held_for_those_who_take_them() {
    const HOLD: Duration = Duration::from_secs(30);
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster.offer("a".into(), offer());
    let held = |roster: &Roster| roster.held_for_nobody(HOLD, now).len();
    assert_eq!(held(&roster), 0, "for a proxy that comes");
    let given = roster.join(Listening::Given);
    settle(&mut roster, given, now);
    let own = roster.join(Listening::Own);
    settle(&mut roster, own, now);
    assert_eq!(held(&roster), 0, "one accepts");
    roster.leave(given, now);
    assert_eq!(held(&roster), 1, "the other has its own");
    roster.leave(own, now);
    assert_eq!(held(&roster), 0, "for the next");
    let own = roster.join(Listening::Own);
    assert_eq!(held(&roster), 0, "it does not listen yet");
    settle(&mut roster, own, now);
    assert_eq!(held(&roster), 1, "now it does");
    roster.leave(own, now);
    assert_eq!(roster.held_until(HOLD), Some(now + HOLD));
    assert_eq!(roster.held_for_nobody(HOLD, now + HOLD).len(), 1, "long enough");
    let given = roster.join(Listening::Given);
    assert_eq!((roster.held_until(HOLD), roster.held_for_nobody(HOLD, now + HOLD).len()), (None, 0));
    let refused = |roster: &mut Roster, reason: Option<&str>| {
        let (work, _) = roster.work(given, now + ASK_AGAIN.longest);
        work.iter().for_each(|work| roster.answered(given, work, reason.map(str::to_owned), now, 1.0));
    };
    refused(&mut roster, Some("another mark"));
    assert_eq!(held(&roster), 1, "it does not take them");
    refused(&mut roster, None);
    assert_eq!(held(&roster), 0, "now it does");
}

#[derive(Debug, Clone)]
enum Event {
    Offer(u8),
    Withdraw(u8),
    Join,
    Leave(usize),
    /// A proxy does its first few works, and refuses some.
    Answer(usize, usize, bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..6_u8).prop_map(Event::Offer),
        (0..6_u8).prop_map(Event::Withdraw),
        Just(Event::Join),
        (0..3_usize).prop_map(Event::Leave),
        (0..3_usize, 0..4_usize, any::<bool>()).prop_map(|(who, many, no)| Event::Answer(who, many, no)),
    ]
}

proptest! {
    #[test]
    fn whatever_happened_each_proxy_comes_to_serve_just_what_is_offered(
        events in prop::collection::vec(event(), 0..60)
    ) {
        let (mut roster, mut now) = (Roster::default(), Instant::now());
        roster.complete();
        let mut wanted = BTreeSet::new();
        // What each proxy would have done.
        let mut served: BTreeMap<ProxyId, BTreeSet<Uid>> = BTreeMap::new();
        let perform = |roster: &mut Roster, served: &mut BTreeMap<ProxyId, BTreeSet<Uid>>, id, work: &Work, no: bool, now| {
            let serves = served.entry(id).or_default();
            match work {
                Work::Add { uid, .. } if !no => { serves.insert(uid.clone()); }
                Work::Delete(uid) => { serves.remove(uid); }
                _ => {}
            }
            roster.answered(id, work, no.then(|| "no".to_owned()), now, 0.5);
        };
        for event in events {
            match event {
                Event::Offer(pod) => { wanted.insert(pod.to_string()); roster.offer(pod.to_string(), offer()); }
                Event::Withdraw(pod) => { wanted.remove(&pod.to_string()); roster.withdraw(&pod.to_string()); }
                Event::Join => { served.insert(roster.join(Listening::Own), BTreeSet::new()); }
                Event::Leave(who) => {
                    if let Some(id) = served.keys().nth(who).copied() {
                        served.remove(&id);
                        roster.leave(id, now);
                    }
                }
                Event::Answer(who, many, no) => {
                    if let Some(id) = served.keys().nth(who).copied() {
                        let (work, _) = roster.work(id, now);
                        for work in work.iter().take(many) {
                            let no = no && matches!(work, Work::Add { .. });
                            perform(&mut roster, &mut served, id, work, no, now);
                        }
                    }
                }
            }
        }
        now += ASK_AGAIN.longest;
        let ids: Vec<ProxyId> = served.keys().copied().collect();
        for id in ids {
            for _ in 0..3 {
                for work in roster.work(id, now).0 {
                    perform(&mut roster, &mut served, id, &work, false, now);
                }
            }
            prop_assert!(roster.work(id, now).0.is_empty());
            prop_assert_eq!(&served[&id], &wanted);
        }
    }
}
