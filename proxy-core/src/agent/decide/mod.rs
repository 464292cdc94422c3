//! Decide: the next step for one pod, from what is wanted and what is known. No kernel, no proxy, no clock.
//!
//! ```text
//!   wanted                    not known: Look      nothing there: AwaitProxy, then Enrol      in place: Rest, then Look
//!                             something else there: Enrol at once, whoever listens (fail closed)
//!   released (it lives on)    not known: Look      something there: Drain, Count until none go on, Withdraw, Remove    then Done
//!   gone (with its namespace)                                                                 Withdraw, Done
//! ```

use std::time::{Duration, Instant};

use redirect::Existing;

/// What is wanted of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Its traffic is captured.
    Enrolled {
        /// What becomes of connections that it has.
        existing: Existing,
    },
    /// It lives on outside of the mesh.
    Released,
    /// It is gone, or will be at once: nobody needs its rules taken away.
    Gone,
}

/// What is known of the rules in the pod's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// Nothing, or no longer.
    Unknown,
    /// None is there.
    Absent,
    /// All are there, as of this time.
    InPlace(Instant),
    /// Some are there, or others.
    Differ,
    /// New connections are captured no more, since this time.
    Draining {
        /// Since when.
        since: Instant,
        /// How many captured ones go on, when it was looked at last.
        connections: usize,
        /// When that was.
        seen: Instant,
    },
}

/// What the proxies know of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serving {
    /// It is not offered to them as it is wanted now.
    NotOffered,
    /// It is offered, but the newest proxy has not said that it listens there, or there is no proxy.
    Offered,
    /// The newest proxy listens there.
    Listening,
    /// It was taken back, and a proxy has not yet said that it has left.
    Leaving,
}

/// All that a decision is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) wish: Wish,
    pub(super) rules: Rules,
    pub(super) serving: Serving,
    /// Whether this agent has seen the rules in place: then connections past them are none that may go on.
    pub(super) was_in_place: bool,
    /// Whether something has changed in the namespace since the rules were read: perhaps they.
    pub(super) changed: bool,
    /// After a failure, no step is to be taken before this.
    pub(super) not_before: Option<Instant>,
}

/// How often, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Rules are read again so long after they were last seen in place.
    pub(super) resync: Duration,
    /// Captured connections of a released pod have so long to end.
    pub(super) patience: Duration,
    /// How often it is looked whether they have.
    pub(super) poll: Duration,
}

/// Rules that are in place are not read more often, however often something changes: what a pod can make the agent do is bounded. 1 s: a
/// thousandth of a core for each such pod.
const SETTLE: Duration = Duration::from_secs(1);

/// Proxies that have left a pod may still be ending its connections. 5 s: what ztunnel gives them.
const PARTING: Duration = Duration::from_secs(5);

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Offer the pod, as it is wanted now, to proxies.
    Offer,
    /// Read the rules.
    Look,
    /// Capture its traffic.
    Enrol(Existing),
    /// End the capture of new connections.
    Drain,
    /// Look how many captured connections go on.
    Count,
    /// Take the rules away.
    Remove,
    /// Have all proxies stop serving it.
    Withdraw,
    /// Nothing, until this time or news.
    Wait(Instant, Waiting),
    /// Nothing, until a proxy listens, or all have left.
    AwaitProxy,
    /// Nothing, ever: forget it.
    Done,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The pod is as it should be.
    Content,
    /// Captured connections end.
    Draining,
    /// A step has failed, and is tried again.
    Retry,
}

pub(super) fn decide(known: &Known, pace: &Pace, now: Instant) -> Step {
    let step = match known.wish {
        Wish::Enrolled { existing } => enrolled(known, existing, pace, now),
        Wish::Released => released(known, pace, now),
        Wish::Gone => leave(known, Step::Done),
    };
    match known.not_before {
        Some(then) if now < then && !matches!(step, Step::Wait(..) | Step::AwaitProxy | Step::Done) => {
            Step::Wait(then, Waiting::Retry)
        }
        _ => step,
    }
}

fn enrolled(known: &Known, existing: Existing, pace: &Pace, now: Instant) -> Step {
    if matches!(known.serving, Serving::NotOffered | Serving::Leaving) {
        return Step::Offer;
    }
    // Whoever took rules away has let connections out that are to be in.
    let mending = if known.was_in_place { Existing::Reset } else { existing };
    match known.rules {
        Rules::Unknown => Step::Look,
        Rules::InPlace(seen) => {
            let again = seen + if known.changed { SETTLE.min(pace.resync) } else { pace.resync };
            if now < again { Step::Wait(again, Waiting::Content) } else { Step::Look }
        }
        Rules::Absent if known.was_in_place || known.serving == Serving::Listening => Step::Enrol(mending),
        Rules::Absent => Step::AwaitProxy,
        Rules::Differ => Step::Enrol(mending),
        // Taken back in the middle of a release: what was opened meanwhile is past the proxy by intention.
        Rules::Draining { .. } => Step::Enrol(existing),
    }
}

fn released(known: &Known, pace: &Pace, now: Instant) -> Step {
    match known.rules {
        Rules::Unknown => Step::Look,
        Rules::InPlace(_) | Rules::Differ => Step::Drain,
        Rules::Draining { connections: 0, .. } => leave(known, Step::Remove),
        Rules::Draining { since, seen, .. } => {
            let over = since + pace.patience;
            if now < over {
                return watch(seen, over, pace, now);
            }
            // Proxies leave before the rules go: what they cut is told so through rules that still lead back.
            match known.serving {
                Serving::NotOffered if now < over + PARTING => watch(seen, over + PARTING, pace, now),
                _ => leave(known, Step::Remove),
            }
        }
        Rules::Absent => leave(known, Step::Done),
    }
}

/// Looks now and then whether captured connections have ended, until then.
fn watch(seen: Instant, until: Instant, pace: &Pace, now: Instant) -> Step {
    let next = seen + pace.poll;
    if now < next { Step::Wait(next.min(until), Waiting::Draining) } else { Step::Count }
}

/// Has proxies leave, and then takes this step.
fn leave(known: &Known, then: Step) -> Step {
    match known.serving {
        Serving::Offered | Serving::Listening => Step::Withdraw,
        Serving::Leaving => Step::AwaitProxy,
        Serving::NotOffered => then,
    }
}

#[cfg(test)]
mod tests;
