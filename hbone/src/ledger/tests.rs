//! The ledger by example, and against a model that recounts everything.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds =
    Bounds { permits_per_line: 2, lines_per_key: 3, lines: 4, waiting: 100, age: Some(AGE), spread: 1 };
const AGE: Duration = Duration::from_secs(100);

fn all(_: &u32) -> Room {
    Room::Permits(usize::MAX)
}

fn keep(_: &u32) -> bool {
    true
}

/// One moment, so that no line grows old by itself.
fn start() -> Instant {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *START
}

fn after(seconds: u64) -> Instant {
    start() + Duration::from_secs(seconds)
}

fn ledger() -> Ledger<&'static str, u32> {
    Ledger::new(BOUNDS)
}

#[test]
fn the_oldest_line_with_room_is_taken() {
    let mut ledger = ledger();
    let (first, _) = ledger.add(&"a", start(), |_| 1);
    assert_eq!(ledger.take(&"a", start(), all), Some((first, 1)));
    assert_eq!(ledger.take(&"a", start(), all), None, "two permits are out");
    let (second, _) = ledger.add(&"a", start(), |_| 2);
    assert_eq!(ledger.take(&"a", start(), all), Some((second, 2)));
    ledger.give_back(&"a", first, start(), keep);
    assert_eq!(ledger.take(&"a", start(), all), Some((first, 1)));
}

#[test]
fn the_peers_limit_counts_too() {
    let mut ledger = ledger();
    ledger.add(&"a", start(), |_| 1);
    assert_eq!(ledger.take(&"a", start(), |_| Room::Permits(1)), None);
    assert_eq!(ledger.take(&"a", start(), |_| Room::Passed(9)), None);
    assert!(ledger.take(&"a", start(), |_| Room::Permits(2)).is_some());
}

#[test]
fn the_dead_are_forgotten_on_sight_and_their_key_too() {
    let mut ledger = ledger();
    let (first, _) = ledger.add(&"a", start(), |_| 1);
    let (second, _) = ledger.add(&"a", start(), |_| 2);
    let second_lives = |carrier: &u32| if *carrier == 1 { Room::Dead } else { Room::Permits(9) };
    assert_eq!(ledger.take(&"a", start(), second_lives), Some((second, 2)));
    assert_eq!(ledger.lines(), 1);
    ledger.give_back(&"a", first, start(), keep);
    ledger.give_back(&"a", second, start(), keep);
    assert_eq!(ledger.take(&"a", start(), |_| Room::Dead), None);
    assert_eq!((ledger.lines(), ledger.keys()), (0, 0));
}

#[test]
fn the_lines_of_a_key_are_told_with_their_permits() {
    let mut ledger = ledger();
    let (first, _) = ledger.add(&"a", start(), |_| 1);
    ledger.add(&"a", start(), |_| 2);
    ledger.add(&"b", start(), |_| 3);
    assert_eq!(ledger.take(&"a", start(), all), Some((first, 1)));
    assert_eq!(ledger.of(&"a").collect::<Vec<_>>(), [(&1, 2), (&2, 1)]);
    assert_eq!(ledger.of(&"c").count(), 0);
}

#[test]
fn bounds_hold() {
    let mut ledger = ledger();
    for carrier in 0..3 {
        assert_eq!(ledger.admits(&"a"), Ok(()));
        ledger.add(&"a", start(), |_| carrier);
    }
    assert_eq!(ledger.admits(&"a"), Err(Full::Lines { limit: 3 }));
    ledger.add(&"b", start(), |_| 3);
    assert_eq!(ledger.admits(&"c"), Err(Full::Lines { limit: 4 }));
}

#[test]
fn only_the_idle_are_reaped_and_only_in_time() {
    let longest = Duration::from_secs(10);
    let mut ledger = ledger();
    let (used, _) = ledger.add(&"a", start(), |_| 1);
    let (idle, _) = ledger.add(&"b", start(), |_| 2);
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
    let (id, _) = ledger.add(&"a", start(), |_| 1);
    ledger.take(&"a", start(), all);
    assert_eq!(ledger.give_back(&"a", id, start(), |_| false), None);
    assert_eq!(ledger.give_back(&"a", id, start(), |_| false), Some(1));
    assert_eq!(ledger.keys(), 0);
}

#[test]
fn settling_a_line_that_is_gone_changes_nothing() {
    let mut ledger = ledger();
    let (id, _) = ledger.add(&"a", start(), |_| 1);
    assert_eq!(ledger.settle(&"a", id, 7), Some(1));
    assert_eq!(ledger.clear(), vec![7]);
    assert_eq!(ledger.settle(&"a", id, 8), None);
    assert_eq!((ledger.lines(), ledger.keys()), (0, 0));
}

#[test]
fn who_waits_is_counted_and_bounded() {
    let mut ledger = Ledger::new(Bounds { waiting: 3, ..BOUNDS });
    let unknown = |_: &u32| Room::Unknown;
    let (first, _) = ledger.add(&"a", start(), |_| 1);
    assert!(ledger.take(&"a", start(), unknown).is_some());
    ledger.add(&"b", start(), |_| 2);
    assert_eq!(ledger.waiting(), 3);
    assert_eq!(ledger.take(&"b", start(), unknown), None);
    assert_eq!(ledger.admits(&"c"), Err(Full::Waiting { limit: 3 }));
    ledger.settle(&"a", first, 1);
    assert_eq!((ledger.waiting(), ledger.admits(&"c")), (1, Ok(())));
    ledger.give_back(&"a", first, start(), keep);
    assert_eq!(ledger.waiting(), 1, "it no longer waited");
}

#[test]
fn a_line_that_is_dialled_is_thought_to_take_what_another_takes() {
    let mut ledger = Ledger::new(Bounds { permits_per_line: 9, ..BOUNDS });
    let room = |carrier: &u32| if *carrier == 0 { Room::Unknown } else { Room::Permits(2) };
    ledger.add(&"a", start(), |_| 1);
    assert!(ledger.take(&"a", start(), room).is_some());
    let (second, _) = ledger.add(&"a", start(), |_| 0);
    assert_eq!(ledger.take(&"a", start(), room).map(|it| it.0), Some(second));
    assert_eq!(ledger.take(&"a", start(), room), None, "a third would be refused");
}

#[test]
fn who_finds_only_peers_that_take_none_waits_there() {
    let mut ledger = ledger();
    let (first, _) = ledger.add(&"a", start(), |_| 1);
    assert_eq!(ledger.take(&"a", start(), |_| Room::Permits(0)).map(|it| it.0), Some(first));
    assert_eq!(ledger.take(&"a", start(), |_| Room::Permits(0)), None, "and not without bound");
}

#[test]
fn the_old_get_no_more_permits_and_go_with_their_last() {
    let mut ledger = ledger();
    let (first, _) = ledger.add(&"a", start(), |_| 1);
    assert!(ledger.take(&"a", after(99), all).is_some());
    ledger.give_back(&"a", first, after(99), keep);
    assert_eq!(ledger.take(&"a", after(100), all), None);
    assert_eq!(ledger.reap(after(100), AGE, |_| false), 0, "it is in use");
    assert_eq!(ledger.give_back(&"a", first, after(200), keep), Some(1));
    let (idle, _) = ledger.add(&"a", after(200), |_| 2);
    ledger.give_back(&"a", idle, after(299), keep);
    assert_eq!(ledger.reap(after(299), AGE, |_| false), 0);
    assert_eq!(ledger.reap(after(300), AGE, |_| false), 1);
}

#[test]
fn a_key_that_spreads_gets_lines_before_second_permits() {
    let mut ledger = Ledger::new(Bounds { spread: 2, permits_per_line: 9, ..BOUNDS });
    let (first, _) = ledger.add(&"a", start(), |_| 1);
    assert_eq!(ledger.take(&"a", start(), all), None, "there may be another line");
    let (second, _) = ledger.add(&"a", start(), |_| 2);
    assert_eq!(ledger.take(&"a", start(), all).map(|it| it.0), Some(first));
    assert_eq!(ledger.take(&"a", start(), all).map(|it| it.0), Some(second), "that with the fewest");
    ledger.give_back(&"a", second, start(), keep);
    ledger.give_back(&"a", second, start(), keep);
    assert_eq!(ledger.take(&"a", start(), all).map(|it| it.0), Some(second));
}

#[derive(Clone, Debug)]
enum Step {
    Take(u8),
    Add(u8),
    Settle(usize),
    GiveBack(usize),
    Remove(usize),
    /// Every peer takes as many from now on.
    Allow(usize),
    Wait(u64),
    Reap,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_u8).prop_map(Step::Take),
        2 => (0..3_u8).prop_map(Step::Add),
        2 => any::<usize>().prop_map(Step::Settle),
        3 => any::<usize>().prop_map(Step::GiveBack),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => (0..4_usize).prop_map(Step::Allow),
        1 => (0..60_u64).prop_map(Step::Wait),
        1 => Just(Step::Reap),
    ]
}

/// A line as the model knows it: all its permits are those given out and not given back.
#[derive(Clone, Copy, Debug)]
struct Known {
    key: u8,
    permits: usize,
    settled: bool,
    since: Instant,
}

/// What is known, from what was done and what came of it.
struct Model {
    bounds: Bounds,
    now: Instant,
    allowed: usize,
    lines: BTreeMap<u64, Known>,
}

impl Model {
    fn of(&self, key: u8) -> impl Iterator<Item = (&u64, &Known)> {
        self.lines.iter().filter(move |(_, line)| line.key == key)
    }

    fn is_young(&self, line: &Known) -> bool {
        self.now - line.since < AGE
    }

    fn waiting(&self) -> usize {
        self.lines.values().filter(|line| !line.settled).map(|line| line.permits).sum()
    }

    /// Whether an open line certainly has room.
    fn has_room(&self, line: &Known) -> bool {
        line.settled && self.is_young(line) && line.permits < self.allowed.min(self.bounds.permits_per_line)
    }

    fn may_spread(&self, key: u8) -> bool {
        self.of(key).count() < self.bounds.spread && self.lines.len() < self.bounds.lines
    }

    /// What a permit, or none, that was given out says about the ledger.
    fn check_taken(&self, key: u8, taken: Option<u64>) {
        let Some(id) = taken else {
            let open = self.of(key).find(|(_, line)| self.has_room(line));
            assert!(open.is_none() || self.may_spread(key), "{open:?} had room");
            return;
        };
        let line = self.lines[&id];
        assert_eq!(line.key, key);
        assert!(self.is_young(&line));
        assert!(line.permits < self.bounds.permits_per_line);
        if line.settled {
            assert!(line.permits < self.allowed || self.allowed == 0, "no more than the peer takes, now");
        } else {
            assert!(self.waiting() < self.bounds.waiting);
        }
        if self.bounds.spread == 1 {
            assert!(self.of(key).all(|(older, line)| *older >= id || !self.has_room(line)), "the oldest");
        } else if self.has_room(&line) {
            assert!(line.permits == 0 || !self.may_spread(key) || self.waiting() >= self.bounds.waiting);
        }
    }
}

const DIALLING: u32 = 0;
const OPEN: u32 = 1;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// The ledger and a model of it that recounts everything, through the same steps.
    #[test]
    fn counts_are_those_of_the_permits_out(
        spread in 1..4_usize,
        waiting in 1..6_usize,
        steps in prop::collection::vec(any_step(), 0..120),
    ) {
        let bounds = Bounds { spread, waiting, ..BOUNDS };
        let mut ledger: Ledger<u8, u32> = Ledger::new(bounds);
        let mut model = Model { bounds, now: start(), allowed: 2, lines: BTreeMap::new() };
        let mut out: Vec<(u8, LineId)> = Vec::new();
        for step in steps {
            let (now, allowed) = (model.now, model.allowed);
            match step {
                Step::Take(key) => {
                    let room = |carrier: &u32| if *carrier == DIALLING { Room::Unknown } else { Room::Permits(allowed) };
                    let taken = ledger.take(&key, now, room).map(|(id, _)| id);
                    model.check_taken(key, taken.map(|id| id.0));
                    if let Some(id) = taken {
                        model.lines.get_mut(&id.0).unwrap().permits += 1;
                        out.push((key, id));
                    }
                }
                Step::Add(key) => if ledger.admits(&key).is_ok() {
                    prop_assert!(model.of(key).count() < bounds.lines_per_key && model.waiting() < waiting);
                    let (id, _) = ledger.add(&key, now, |_| DIALLING);
                    model.lines.insert(id.0, Known { key, permits: 1, settled: false, since: now });
                    out.push((key, id));
                },
                Step::Settle(which) => if !out.is_empty() {
                    let (key, id) = out[which % out.len()];
                    prop_assert!(ledger.settle(&key, id, OPEN).is_some());
                    model.lines.get_mut(&id.0).unwrap().settled = true;
                },
                Step::GiveBack(which) => if !out.is_empty() {
                    let (key, id) = out.swap_remove(which % out.len());
                    ledger.give_back(&key, id, now, |carrier| *carrier == OPEN);
                    let line = model.lines.get_mut(&id.0).unwrap();
                    line.permits -= 1;
                    let line = *line;
                    if line.permits == 0 && (!line.settled || !model.is_young(&line)) {
                        model.lines.remove(&id.0);
                    }
                },
                Step::Remove(which) => if !out.is_empty() {
                    let (key, id) = out[which % out.len()];
                    prop_assert!(ledger.remove(&key, id).is_some());
                    model.lines.remove(&id.0);
                    out.retain(|(_, line)| *line != id);
                },
                Step::Allow(permits) => model.allowed = permits,
                Step::Wait(seconds) => model.now += Duration::from_secs(seconds),
                Step::Reap => {
                    ledger.reap(now, Duration::ZERO, |_| false);
                    model.lines.retain(|_, line| line.permits > 0);
                }
            }
            prop_assert_eq!(ledger.lines(), model.lines.len());
            prop_assert_eq!(ledger.waiting(), model.waiting());
            let keys: std::collections::BTreeSet<_> = model.lines.values().map(|line| line.key).collect();
            prop_assert_eq!(ledger.keys(), keys.len());
            prop_assert!(ledger.lines() <= bounds.lines && ledger.waiting() <= waiting);
        }
    }
}
