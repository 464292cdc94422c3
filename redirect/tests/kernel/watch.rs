//! A watch tells of what somebody else has changed, and of nothing else.

use std::os::fd::AsFd as _;

use inpod_redirect::{Intent, Plan, Watch, apply, remove};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use testkit::kernel::{Case, Outcome, test};

use crate::rules::fresh;

pub(crate) fn tests() -> Vec<Case> {
    vec![
        test("watch::rules_and_routes_that_change_are_told", rules_and_routes_that_change_are_told),
        test("watch::what_is_lost_is_told", what_is_lost_is_told),
        test("watch::another_namespace_is_not_told", another_namespace_is_not_told),
    ]
}

fn is_readable(watch: &Watch) -> Result<bool, Box<dyn std::error::Error>> {
    let mut polled = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut polled, PollTimeout::ZERO)? > 0)
}

fn rules_and_routes_that_change_are_told() -> Outcome {
    let plan = Plan::new(&Intent::ambient());
    fresh()?.run(|| {
        let watches = [Watch::nf_tables()?, Watch::routing()?];
        for watch in &watches {
            assert!(!is_readable(watch)? && !watch.take()?);
        }
        for change in [|plan: &Plan| apply(plan).map(drop).is_ok(), |plan: &Plan| remove(plan).is_ok()] {
            assert!(change(&plan));
            for watch in &watches {
                assert!(is_readable(watch)?);
                assert!(watch.take()?);
                assert!(!is_readable(watch)? && !watch.take()?);
            }
        }
        Ok(())
    })?
}

/// More than is kept is one thing that has changed.
fn what_is_lost_is_told() -> Outcome {
    let plan = Plan::new(&Intent::ambient());
    fresh()?.run(|| {
        let watch = Watch::nf_tables()?;
        for _ in 0..50 {
            apply(&plan)?;
            remove(&plan)?;
        }
        assert!(is_readable(&watch)? && watch.take()?);
        assert!(!watch.take()?);
        apply(&plan)?;
        assert!(watch.take()?, "it goes on");
        Ok(())
    })?
}

fn another_namespace_is_not_told() -> Outcome {
    let (one, other) = (fresh()?, fresh()?);
    let watch = one.run(Watch::nf_tables)??;
    other.run(|| apply(&Plan::new(&Intent::ambient())))??;
    assert!(!watch.take()?);
    one.run(|| apply(&Plan::new(&Intent::ambient())))??;
    assert!(watch.take()?);
    Ok(())
}
