//! Rules: what captures a pod for the proxy; put in place, proved, and taken away.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use proxy_core::{Config, capture};
use redirect::{Difference, Plan, Verdict};
use testkit::lab::Pod;

/// The rules for every pod of the mesh.
#[derive(Debug)]
pub(crate) struct Rules {
    plan: Plan,
}

impl Rules {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { plan: capture::plan(&Config::default())? })
    }

    /// Puts them into `pod`, in which the proxy must listen already.
    pub(crate) fn capture(&self, pod: &Pod) -> Result<()> {
        let captured = capture::capture(pod.namespace(), &self.plan);
        captured.with_context(|| format!("capturing pod {}", pod.name()))
    }

    /// Checks that the kernel has all of them, and no others, for `pod`.
    pub(crate) fn are_in(&self, pod: &Pod) -> Result<()> {
        match capture::verify(pod.namespace(), &self.plan)? {
            Verdict::Same => Ok(()),
            Verdict::Differs(points) => {
                bail!("the rules in pod {}: expected the plan's, got {}", pod.name(), Points(&points))
            }
        }
    }

    /// Takes them out of `pod`; checks that none is left, and tells how many pieces there were.
    pub(crate) fn release(&self, pod: &Pod) -> Result<usize> {
        let released = capture::release(pod.namespace(), &self.plan);
        released.with_context(|| format!("releasing pod {}", pod.name()))?;
        let is_missing = |point: &Difference| matches!(point, Difference::Missing(_));
        match capture::verify(pod.namespace(), &self.plan)? {
            Verdict::Differs(points) if points.iter().all(is_missing) => Ok(points.len()),
            Verdict::Differs(points) => {
                bail!("the rules in pod {}: expected none, got {}", pod.name(), Points(&points))
            }
            Verdict::Same => bail!("the rules in pod {}: expected none, got all", pod.name()),
        }
    }
}

/// How many there are.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: usize = self.plan.chains().iter().map(|chain| chain.rules.len()).sum();
        let routing = self.plan.policy_rules().len() + self.plan.routes().len();
        write!(f, "{rules} rules and {routing} routing entries")
    }
}

/// Points of difference: how many, and the first.
struct Points<'a>(&'a [Difference]);

impl fmt::Display for Points<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("none"),
            [only] => write!(f, "this: {only}"),
            [first, others @ ..] => write!(f, "this and {} more: {first}", others.len()),
        }
    }
}
