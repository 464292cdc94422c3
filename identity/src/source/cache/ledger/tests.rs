//! The ledger against a model of it that only counts, and its choices one by one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn id(number: u8) -> SpiffeId {
    format!("spiffe://td/{number}").parse().unwrap()
}

fn start() -> Now {
    Now { wall: SystemTime::UNIX_EPOCH + 1000 * HOUR, uptime: Duration::ZERO }
}

fn later(now: Now, by: Duration) -> Now {
    Now { wall: now.wall + by, uptime: now.uptime + by }
}

fn lasting(now: Now, time: Duration) -> Option<Lifetime> {
    Some(Lifetime { not_before: now.wall, not_after: now.wall + time })
}

#[test]
fn those_who_are_waited_for_go_first_and_renewals_last() {
    let (mut ledger, now) = (Ledger::new(9, 1, 1), start());
    for number in 0..4 {
        ledger.lease(&id(number), now).unwrap();
    }
    for (number, life) in [(0, 100 * SECOND), (1, 90 * SECOND)] {
        assert_eq!(ledger.next(now), Some(id(number)));
        assert!(ledger.finish(&id(number), now, lasting(now, life)));
    }
    let now = later(now, 60 * SECOND);
    // 0 and 1 are past the half of their lives, 2 and 3 have nothing.
    assert_eq!(ledger.wait(&id(3), now), Answer::Wait);
    assert_eq!(ledger.wait(&id(0), now), Answer::Ready);
    for number in [3, 2, 1, 0] {
        assert_eq!(ledger.next(now), Some(id(number)));
        assert_eq!(ledger.next(now), None, "one at a time");
        assert!(ledger.finish(&id(number), now, lasting(now, HOUR)));
    }
    assert_eq!(ledger.next(now), None);
}

#[test]
fn renewal_is_at_about_half_of_life() {
    let now = start();
    let times: BTreeSet<_> = (0..100)
        .map(|seed| {
            let mut ledger = Ledger::new(9, 1, seed);
            ledger.lease(&id(0), now).unwrap();
            assert_eq!(ledger.next(now), Some(id(0)));
            assert_eq!(ledger.idle(now), None);
            ledger.finish(&id(0), now, lasting(now, 2 * HOUR));
            ledger.idle(now).unwrap()
        })
        .collect();
    assert!(times.first().unwrap() >= &(54 * 60 * SECOND) && times.last().unwrap() <= &(66 * 60 * SECOND));
    assert!(times.len() > 90, "and not all at once");
}

#[test]
fn failures_slow_down_and_never_past_the_end_of_what_is_held() {
    let (mut ledger, mut now) = (Ledger::new(9, 1, 1), start());
    ledger.lease(&id(0), now).unwrap();
    assert_eq!(ledger.next(now), Some(id(0)));
    ledger.finish(&id(0), now, lasting(now, HOUR));
    let end = now.wall + HOUR;
    let mut waits = Vec::new();
    while now.wall < end + 60 * SECOND {
        let idle = ledger.idle(now).unwrap();
        waits.push(idle);
        now = later(now, idle);
        assert_eq!(ledger.next(now), Some(id(0)));
        ledger.finish(&id(0), now, None);
    }
    assert!(waits[1..].iter().all(|wait| *wait >= SECOND && *wait <= RELAXED.mul_f64(1.2)));
    assert!(waits[1] < 2 * SECOND && waits[9] > 100 * SECOND);
    assert!(waits.last().unwrap() <= &PRESSED.mul_f64(1.2), "without an SVID it is urgent");
    assert_eq!(ledger.wait(&id(0), now), Answer::Refused);
}

#[test]
fn who_comes_back_is_not_faster_than_who_stays() {
    let (mut ledger, now) = (Ledger::new(1, 1, 1), start());
    ledger.lease(&id(0), now).unwrap();
    assert_eq!(ledger.next(now), Some(id(0)));
    assert!(ledger.release(&id(0), now));
    assert_eq!(ledger.lease(&id(1), now), Err(Full { limit: 1 }), "its request is on its way");
    ledger.lease(&id(0), now).unwrap();
    assert_eq!(ledger.next(now), None, "it shares the request");
    assert!(ledger.finish(&id(0), now, None));
    assert!(ledger.release(&id(0), now));
    ledger.lease(&id(0), now).unwrap();
    assert_eq!((ledger.next(now), ledger.idle(now)), (None, Some(SECOND)));
    assert!(ledger.release(&id(0), now));
    ledger.lease(&id(1), later(now, SECOND)).unwrap();
    assert_eq!(ledger.entries.len(), 1);
}

#[test]
fn a_clock_that_is_set_back_makes_no_hot_loop() {
    let (mut ledger, now) = (Ledger::new(9, 1, 1), start());
    ledger.lease(&id(0), now).unwrap();
    assert_eq!(ledger.next(now), Some(id(0)));
    ledger.finish(&id(0), now, lasting(now, HOUR));
    let mut now = Now { wall: now.wall - 400 * 24 * HOUR, ..now };
    assert_eq!(ledger.wait(&id(0), now), Answer::Wait, "what is held is not valid yet");
    let mut requests = 0;
    for _ in 0..1000 {
        now = later(now, SECOND / 10);
        if let Some(id) = ledger.next(now) {
            requests += 1;
            ledger.finish(&id, now, None);
        }
    }
    assert!((7..=20).contains(&requests), "{requests}");
}

#[test]
fn who_waits_is_answered_also_when_the_clock_makes_the_old_svid_valid_again() {
    let (mut ledger, now) = (Ledger::new(9, 1, 1), start());
    ledger.lease(&id(0), now).unwrap();
    assert_eq!(ledger.next(now), Some(id(0)));
    ledger.finish(&id(0), now, lasting(now, HOUR));
    let expired = later(now, 2 * HOUR);
    assert_eq!(ledger.wait(&id(0), expired), Answer::Wait);
    let back = Now { wall: now.wall, ..expired };
    assert_eq!(ledger.next(back), Some(id(0)));
}

#[derive(Debug, Clone)]
enum Step {
    Lease(u8),
    Release(u8),
    Wait(u8),
    Next,
    Good(u8, Duration),
    Bad(u8),
    Pass(Duration),
    Set(i32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..6_u8;
    let time = prop_oneof![0..3_000_u64, 0..10_000_000_u64].prop_map(Duration::from_millis);
    let step = prop_oneof![
        3 => who.clone().prop_map(Step::Lease),
        2 => who.clone().prop_map(Step::Release),
        3 => who.clone().prop_map(Step::Wait),
        6 => Just(Step::Next),
        3 => (who.clone(), time.clone()).prop_map(|(who, time)| Step::Good(who, time)),
        2 => who.prop_map(Step::Bad),
        4 => time.prop_map(Step::Pass),
        1 => (-100_000..100_000_i32).prop_map(Step::Set),
    ];
    prop::collection::vec(step, 1..200)
}

/// What a reader of the documentation would count.
#[derive(Default)]
struct Model {
    leases: BTreeMap<u8, usize>,
    held: BTreeMap<u8, Lifetime>,
    asked: BTreeSet<u8>,
    waiting: BTreeSet<u8>,
    started: BTreeMap<u8, Duration>,
    failed: BTreeSet<u8>,
}

impl Model {
    fn holds(&self, who: u8, now: Now) -> bool {
        self.held.get(&who).is_some_and(|lifetime| lifetime.contains(now.wall))
    }

    fn started(&mut self, who: u8, now: Now, ledger: &Ledger) {
        assert!(self.leases.contains_key(&who), "asked for {who}, whom nobody has");
        assert!(self.asked.insert(who), "asked for {who} twice at once");
        assert!(self.asked.len() <= 2, "too many requests");
        if let Some(last) = self.started.insert(who, now.uptime) {
            assert!(now.uptime - last >= SECOND, "asked for {who} again too soon");
        }
        let overtaken = self.waiting.iter().find(|other| {
            **other != who
                && !self.asked.contains(other)
                && ledger.entries[&id(**other)].earliest <= now.uptime
        });
        assert!(overtaken.is_none() || self.waiting.contains(&who), "{who} overtook {overtaken:?}");
    }

    fn finished(&mut self, who: u8, outcome: Option<Lifetime>) {
        self.asked.remove(&who);
        self.waiting.remove(&who);
        if self.leases.contains_key(&who) {
            match outcome {
                Some(lifetime) => {
                    self.held.insert(who, lifetime);
                    self.failed.remove(&who);
                }
                None => drop(self.failed.insert(who)),
            }
        }
    }
}

proptest! {
    #[test]
    fn it_keeps_its_word_whatever_happens(steps in steps(), seed in any::<u64>()) {
        let (mut ledger, mut model, mut now) = (Ledger::new(4, 2, seed), Model::default(), start());
        for step in steps {
            match step {
                Step::Lease(who) => match ledger.lease(&id(who), now) {
                    Ok(()) => *model.leases.entry(who).or_default() += 1,
                    Err(Full { limit }) => {
                        prop_assert!(!model.leases.contains_key(&who));
                        let recent = |who: &u8| model.started.get(who).is_some_and(|at| now.uptime < *at + SECOND);
                        let kept = (0..6).filter(|who| {
                            model.leases.contains_key(who) || model.asked.contains(who) || recent(who)
                                || ledger.entries.get(&id(*who)).is_some_and(|entry| now.uptime < entry.earliest)
                        });
                        prop_assert!(kept.count() >= limit);
                    }
                },
                Step::Release(who) if model.leases.contains_key(&who) => {
                    let left = model.leases[&who] - 1;
                    prop_assert_eq!(ledger.release(&id(who), now), left == 0);
                    model.leases.insert(who, left);
                    if left == 0 {
                        model.leases.remove(&who);
                        model.held.remove(&who);
                        model.waiting.remove(&who);
                        model.failed.remove(&who);
                    }
                }
                Step::Wait(who) => {
                    let answer = ledger.wait(&id(who), now);
                    if !model.leases.contains_key(&who) {
                        prop_assert_eq!(answer, Answer::Refused);
                    } else if model.holds(who, now) {
                        prop_assert_eq!(answer, Answer::Ready);
                    } else if answer == Answer::Wait {
                        model.waiting.insert(who);
                    } else {
                        prop_assert_eq!(answer, Answer::Refused);
                        prop_assert!(model.failed.contains(&who) && !model.asked.contains(&who));
                    }
                }
                Step::Next => {
                    let idle = ledger.idle(now);
                    match ledger.next(now) {
                        Some(next) => {
                            let who = (0..6).find(|who| id(*who) == next).unwrap();
                            prop_assert_eq!(idle, Some(Duration::ZERO));
                            model.started(who, now, &ledger);
                        }
                        None => prop_assert_ne!(idle, Some(Duration::ZERO)),
                    }
                }
                Step::Good(who, time) if model.asked.contains(&who) => {
                    let wanted = ledger.finish(&id(who), now, lasting(now, time));
                    prop_assert_eq!(wanted, model.leases.contains_key(&who));
                    model.finished(who, lasting(now, time));
                }
                Step::Bad(who) if model.asked.contains(&who) => {
                    let wanted = ledger.finish(&id(who), now, None);
                    prop_assert_eq!(wanted, model.leases.contains_key(&who));
                    model.finished(who, None);
                }
                Step::Good(who, _) | Step::Bad(who) => {
                    prop_assert!(!ledger.finish(&id(who), now, lasting(now, HOUR)), "nothing was asked");
                }
                Step::Release(_) => {}
                Step::Pass(time) => now = later(now, time),
                Step::Set(seconds) if seconds < 0 => {
                    now.wall -= Duration::from_secs(seconds.unsigned_abs().into());
                }
                Step::Set(seconds) => now.wall += Duration::from_secs(seconds.unsigned_abs().into()),
            }
            prop_assert!(ledger.entries.len() <= 4);
            prop_assert_eq!(ledger.requests, model.asked.len());
            // What is needed and not there comes: the ledger knows when it will be asked for.
            if model.asked.is_empty() {
                let needed = |who: &&u8| !model.holds(**who, now) || model.waiting.contains(who);
                for who in model.leases.keys().filter(needed) {
                    let idle = ledger.idle(now);
                    prop_assert!(idle.is_some_and(|idle| idle <= RELAXED.mul_f64(1.2)), "{}", who);
                }
            }
        }
    }
}
