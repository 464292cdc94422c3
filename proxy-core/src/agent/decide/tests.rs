use proptest::prelude::*;

use super::*;

const PACE: Pace = Pace {
    resync: Duration::from_secs(60),
    patience: Duration::from_secs(30),
    poll: Duration::from_millis(200),
};

const ENROLLED: Wish = Wish::Enrolled { existing: Existing::Keep };

fn known(wish: Wish, rules: Rules, serving: Serving) -> Known {
    Known { wish, rules, serving, was_in_place: false, changed: false, not_before: None }
}

fn step(wish: Wish, rules: Rules, serving: Serving, now: Instant) -> Step {
    decide(&known(wish, rules, serving), &PACE, now)
}

#[test]
fn a_new_pod_is_captured_once_a_proxy_listens_in_it() {
    let now = Instant::now();
    let next = |rules, serving| step(ENROLLED, rules, serving, now);
    assert_eq!(next(Rules::Unknown, Serving::NotOffered), Step::Offer);
    assert_eq!(next(Rules::Unknown, Serving::Offered), Step::Look);
    assert_eq!(next(Rules::Absent, Serving::Offered), Step::AwaitProxy);
    assert_eq!(next(Rules::Absent, Serving::Listening), Step::Enrol(Existing::Keep));
    let rest = Step::Wait(now + PACE.resync, Waiting::Content);
    assert_eq!(next(Rules::InPlace(now), Serving::Listening), rest);
}

#[test]
fn what_is_captured_stays_so_without_a_proxy() {
    let now = Instant::now();
    let rest = Step::Wait(now + PACE.resync, Waiting::Content);
    assert_eq!(step(ENROLLED, Rules::InPlace(now), Serving::Offered, now), rest);
    assert_eq!(step(ENROLLED, Rules::Differ, Serving::Offered, now), Step::Enrol(Existing::Keep));
    let vanished = Known { was_in_place: true, ..known(ENROLLED, Rules::Absent, Serving::Offered) };
    assert_eq!(decide(&vanished, &PACE, now), Step::Enrol(Existing::Reset));
    let later = now + PACE.resync;
    assert_eq!(step(ENROLLED, Rules::InPlace(now), Serving::Offered, later), Step::Look);
}

#[test]
fn what_has_changed_is_looked_at_soon_but_not_all_the_time() {
    let now = Instant::now();
    let changed = Known { changed: true, ..known(ENROLLED, Rules::InPlace(now), Serving::Listening) };
    assert_eq!(decide(&changed, &PACE, now), Step::Wait(now + SETTLE, Waiting::Content));
    assert_eq!(decide(&changed, &PACE, now + SETTLE), Step::Look);
}

#[test]
fn a_released_pod_keeps_its_proxy_until_its_connections_have_ended() {
    let now = Instant::now();
    let next = |rules, now| step(Wish::Released, rules, Serving::Listening, now);
    assert_eq!(next(Rules::Unknown, now), Step::Look);
    assert_eq!(next(Rules::InPlace(now), now), Step::Drain);
    let draining = |connections| Rules::Draining { since: now, connections, seen: now };
    assert_eq!(next(draining(2), now), Step::Wait(now + PACE.poll, Waiting::Draining));
    assert_eq!(next(draining(2), now + PACE.poll), Step::Count);
    assert_eq!(next(draining(2), now + PACE.patience), Step::Withdraw);
    assert_eq!(next(draining(0), now), Step::Withdraw);
    // Having left, they may be ending connections yet.
    let left = |now| step(Wish::Released, draining(2), Serving::NotOffered, now);
    let over = now + PACE.patience;
    assert_eq!(left(over), Step::Count);
    let seen = Rules::Draining { since: now, connections: 2, seen: over };
    let wait = step(Wish::Released, seen, Serving::NotOffered, over);
    assert_eq!(wait, Step::Wait(over + PACE.poll, Waiting::Draining));
    assert_eq!(left(over + PARTING), Step::Remove);
    assert_eq!(step(Wish::Released, draining(0), Serving::Leaving, now), Step::AwaitProxy);
    assert_eq!(step(Wish::Released, draining(0), Serving::NotOffered, now), Step::Remove);
    assert_eq!(next(Rules::Absent, now), Step::Withdraw);
    assert_eq!(step(Wish::Released, Rules::Absent, Serving::NotOffered, now), Step::Done);
}

#[test]
fn a_pod_that_is_gone_keeps_its_rules() {
    let now = Instant::now();
    for rules in [Rules::Unknown, Rules::Absent, Rules::InPlace(now), Rules::Differ] {
        assert_eq!(step(Wish::Gone, rules, Serving::Listening, now), Step::Withdraw);
        assert_eq!(step(Wish::Gone, rules, Serving::NotOffered, now), Step::Done);
    }
}

#[test]
fn a_failure_delays_steps_and_nothing_else() {
    let now = Instant::now();
    let then = now + Duration::from_secs(1);
    let waiting = Known { not_before: Some(then), ..known(ENROLLED, Rules::Unknown, Serving::Offered) };
    assert_eq!(decide(&waiting, &PACE, now), Step::Wait(then, Waiting::Retry));
    assert_eq!(decide(&waiting, &PACE, then), Step::Look);
}

/// A kernel and a proxy that do what a step asks, or fail.
#[derive(Debug, Clone, Copy)]
struct World {
    in_place: bool,
    draining: bool,
    listening: bool,
    connections: usize,
}

fn perform(world: &mut World, known: &mut Known, step: Step, now: Instant) {
    match step {
        Step::Offer => {
            known.serving = if world.listening { Serving::Listening } else { Serving::Offered };
        }
        Step::Look => {
            known.rules = match (world.in_place, world.draining) {
                (true, false) => Rules::InPlace(now),
                (_, true) => Rules::Differ,
                (false, false) => Rules::Absent,
            };
            known.was_in_place |= world.in_place;
        }
        Step::Enrol(_) => {
            (world.in_place, world.draining) = (true, false);
            known.rules = Rules::InPlace(now);
            known.was_in_place = true;
        }
        Step::Drain => {
            (world.in_place, world.draining) = (false, true);
            known.rules = Rules::Draining { since: now, connections: world.connections, seen: now };
        }
        Step::Count => {
            world.connections = world.connections.saturating_sub(1);
            if let Rules::Draining { since, .. } = known.rules {
                known.rules = Rules::Draining { since, connections: world.connections, seen: now };
            }
        }
        Step::Remove => {
            (world.in_place, world.draining) = (false, false);
            known.rules = Rules::Absent;
            known.was_in_place = false;
        }
        Step::Withdraw => known.serving = Serving::Leaving,
        Step::Wait(..) | Step::AwaitProxy | Step::Done => {}
    }
}

fn any_rules(now: Instant) -> impl Strategy<Value = Rules> {
    prop_oneof![
        Just(Rules::Unknown),
        Just(Rules::Absent),
        Just(Rules::InPlace(now)),
        Just(Rules::Differ),
        (0..5_usize).prop_map(move |connections| Rules::Draining { since: now, connections, seen: now }),
    ]
}

proptest! {
    #[test]
    fn whatever_is_known_it_ends_as_wanted(
        wish in prop_oneof![Just(ENROLLED), Just(Wish::Released), Just(Wish::Gone)],
        (in_place, draining, connections) in (any::<bool>(), any::<bool>(), 0..5_usize),
        fails in prop::collection::vec(any::<bool>(), 0..12),
        serving in prop_oneof![Just(Serving::NotOffered), Just(Serving::Offered), Just(Serving::Listening)],
    ) {
        let mut now = Instant::now();
        let mut world = World { in_place: in_place && !draining, draining, listening: true, connections };
        let mut known = known(wish, Rules::Unknown, serving);
        let mut fails = fails.into_iter();
        for _ in 0..60 {
            let step = decide(&known, &PACE, now);
            match step {
                Step::Wait(_, Waiting::Content) | Step::Done => break,
                Step::Wait(then, _) => now = then,
                Step::AwaitProxy => {
                    let left = known.serving == Serving::Leaving;
                    known.serving = if left { Serving::NotOffered } else { Serving::Listening };
                }
                _ if fails.next() == Some(true) => {
                    known.rules = Rules::Unknown;
                    known.not_before = Some(now + Duration::from_secs(1));
                }
                _ => perform(&mut world, &mut known, step, now),
            }
        }
        match wish {
            Wish::Enrolled { .. } => {
                prop_assert!(world.in_place && !world.draining);
                prop_assert!(known.serving != Serving::NotOffered);
            }
            Wish::Released => prop_assert!(!world.in_place && !world.draining),
            Wish::Gone => prop_assert_eq!((world.in_place, world.draining), (in_place && !draining, draining)),
        }
        if !matches!(wish, Wish::Enrolled { .. }) {
            prop_assert_eq!(decide(&known, &PACE, now), Step::Done);
        }
    }

    #[test]
    fn nothing_but_a_release_ends_capture(
        rules in any_rules(Instant::now()),
        serving in prop_oneof![Just(Serving::NotOffered), Just(Serving::Offered), Just(Serving::Listening)],
        was_in_place in any::<bool>(),
        changed in any::<bool>(),
        wish in prop_oneof![Just(ENROLLED), Just(Wish::Gone)],
        later in 0..100_u64,
    ) {
        let known = Known { was_in_place, changed, ..known(wish, rules, serving) };
        let step = decide(&known, &PACE, Instant::now() + Duration::from_secs(later));
        prop_assert!(!matches!(step, Step::Drain | Step::Remove));
    }

    #[test]
    fn a_pod_without_rules_is_not_captured_before_a_proxy_listens(
        serving in prop_oneof![Just(Serving::NotOffered), Just(Serving::Offered)],
        rules in prop_oneof![Just(Rules::Unknown), Just(Rules::Absent)],
    ) {
        let known = known(ENROLLED, rules, serving);
        prop_assert!(!matches!(decide(&known, &PACE, Instant::now()), Step::Enrol(_)));
    }
}
