//! The ledger by example, and against a model that recounts everything.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { permits_per_line: 2, lines_per_key: 3, lines: 4 };

fn all(_: &u32) -> Room {
    Room::Permits(usize::MAX)
}

fn keep(_: &u32) -> bool {
    true
}

fn ledger() -> Ledger<&'static str, u32> {
    Ledger::new(BOUNDS)
}

#[test]
fn the_oldest_line_with_room_is_taken() {
    let mut ledger = ledger();
    let (first, _) = ledger.add(&"a", |_| 1);
    assert_eq!(ledger.take(&"a", all), Some((first, 1)));
    assert_eq!(ledger.take(&"a", all), None, "two permits are out");
    let (second, _) = ledger.add(&"a", |_| 2);
    assert_eq!(ledger.take(&"a", all), Some((second, 2)));
    ledger.give_back(&"a", first, Instant::now(), keep);
    assert_eq!(ledger.take(&"a", all), Some((first, 1)));
}

#[test]
fn the_peers_limit_counts_too() {
    let mut ledger = ledger();
    ledger.add(&"a", |_| 1);
    assert_eq!(ledger.take(&"a", |_| Room::Permits(1)), None);
    assert_eq!(ledger.take(&"a", |_| Room::Passed), None);
    assert!(ledger.take(&"a", |_| Room::Permits(2)).is_some());
}

#[test]
fn the_dead_are_forgotten_on_sight_and_their_key_too() {
    let mut ledger = ledger();
    let (first, _) = ledger.add(&"a", |_| 1);
    let (second, _) = ledger.add(&"a", |_| 2);
    let second_lives = |carrier: &u32| if *carrier == 1 { Room::Dead } else { Room::Permits(9) };
    assert_eq!(ledger.take(&"a", second_lives), Some((second, 2)));
    assert_eq!(ledger.lines(), 1);
    ledger.give_back(&"a", first, Instant::now(), keep);
    ledger.give_back(&"a", second, Instant::now(), keep);
    assert_eq!(ledger.take(&"a", |_| Room::Dead), None);
    assert_eq!((ledger.lines(), ledger.keys()), (0, 0));
}

#[test]
fn the_lines_of_a_key_are_told_with_their_permits() {
    let mut ledger = ledger();
    let (first, _) = ledger.add(&"a", |_| 1);
    ledger.add(&"a", |_| 2);
    ledger.add(&"b", |_| 3);
    assert_eq!(ledger.take(&"a", all), Some((first, 1)));
    assert_eq!(ledger.of(&"a").collect::<Vec<_>>(), [(&1, 2), (&2, 1)]);
    assert_eq!(ledger.of(&"c").count(), 0);
}

#[test]
fn bounds_hold() {
    let mut ledger = ledger();
    for carrier in 0..3 {
        assert_eq!(ledger.admits(&"a"), Ok(()));
        ledger.add(&"a", |_| carrier);
    }
    assert_eq!(ledger.admits(&"a"), Err(Full { limit: 3 }));
    ledger.add(&"b", |_| 3);
    assert_eq!(ledger.admits(&"c"), Err(Full { limit: 4 }));
}

#[test]
fn only_the_idle_are_reaped_and_only_in_time() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let longest = Duration::from_secs(10);
    let mut ledger = ledger();
    let (used, _) = ledger.add(&"a", |_| 1);
    let (idle, _) = ledger.add(&"b", |_| 2);
    ledger.give_back(&"b", idle, after(5), keep);
    assert_eq!(ledger.reap(after(14), longest, |_| false), 0);
    assert_eq!(ledger.reap(after(15), longest, |_| false), 1);
    assert_eq!((ledger.lines(), ledger.keys()), (1, 1));
    assert_eq!(ledger.reap(after(1000), longest, |_| false), 0);
    assert_eq!(ledger.reap(after(1000), longest, |_| true), 1);
    assert_eq!(ledger.give_back(&"a", used, after(1001), keep), None, "a late permit finds nothing");
}

#[test]
fn a_line_not_worth_keeping_goes_with_its_last_permit() {
    let mut ledger = ledger();
    let (id, _) = ledger.add(&"a", |_| 1);
    ledger.take(&"a", all);
    assert_eq!(ledger.give_back(&"a", id, Instant::now(), |_| false), None);
    assert_eq!(ledger.give_back(&"a", id, Instant::now(), |_| false), Some(1));
    assert_eq!(ledger.keys(), 0);
}

#[test]
fn settling_a_line_that_is_gone_changes_nothing() {
    let mut ledger = ledger();
    let (id, _) = ledger.add(&"a", |_| 1);
    assert_eq!(ledger.settle(&"a", id, 7), Some(1));
    assert_eq!(ledger.clear(), vec![7]);
    assert_eq!(ledger.settle(&"a", id, 8), None);
    assert_eq!((ledger.lines(), ledger.keys()), (0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Take(u8),
    Add(u8),
    GiveBack(usize),
    Remove(usize),
    Reap,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_u8).prop_map(Step::Take),
        (0..3_u8).prop_map(Step::Add),
        any::<usize>().prop_map(Step::GiveBack),
        any::<usize>().prop_map(Step::Remove),
        Just(Step::Reap),
    ]
}

proptest! {
    /// The model is the list of permits that are out; a line without any is idle.
    #[test]
    fn counts_are_those_of_the_permits_out(steps in prop::collection::vec(any_step(), 0..80)) {
        let now = Instant::now();
        let mut ledger: Ledger<u8, u32> = Ledger::new(BOUNDS);
        let mut out: Vec<(u8, LineId)> = Vec::new();
        let mut lines: BTreeMap<u64, u8> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Take(key) => {
                    let permits = |id: u64| out.iter().filter(|(_, line)| line.0 == id).count();
                    let expected = lines.iter().find(|(id, of)| **of == key && permits(**id) < 2).map(|(id, _)| *id);
                    let taken = ledger.take(&key, all).map(|(id, _)| id);
                    prop_assert_eq!(taken.map(|id| id.0), expected);
                    out.extend(taken.map(|id| (key, id)));
                }
                Step::Add(key) => if ledger.admits(&key).is_ok() {
                    let (id, _) = ledger.add(&key, |_| 0);
                    lines.insert(id.0, key);
                    out.push((key, id));
                },
                Step::GiveBack(which) => if !out.is_empty() {
                    let (key, id) = out.swap_remove(which % out.len());
                    ledger.give_back(&key, id, now, keep);
                },
                Step::Remove(which) => if !out.is_empty() {
                    let (key, id) = out[which % out.len()];
                    ledger.remove(&key, id);
                    lines.remove(&id.0);
                    out.retain(|(_, line)| *line != id);
                },
                Step::Reap => {
                    ledger.reap(now, Duration::ZERO, |_| false);
                    lines.retain(|id, _| out.iter().any(|(_, line)| line.0 == *id));
                }
            }
            prop_assert_eq!(ledger.lines(), lines.len());
            let keys: std::collections::BTreeSet<_> = lines.values().collect();
            prop_assert_eq!(ledger.keys(), keys.len());
            prop_assert!(ledger.lines() <= BOUNDS.lines);
        }
    }
}
