//! Undo: what a plan has put into a namespace, in the order in which to take it away.

use crate::plan::Plan;
use crate::routing::{PolicyRule, Route};

/// One step of taking a plan away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undo {
    Table(&'static str),
    PolicyRule(PolicyRule),
    Route(Route),
}

/// The steps. The table goes first, so that nothing is captured any more when replies are no longer routed.
pub(crate) fn steps(plan: &Plan) -> Vec<Undo> {
    [Undo::Table(plan.table())].into_iter().chain(routing(plan)).collect()
}

/// The steps that are about routing.
pub(crate) fn routing(plan: &Plan) -> Vec<Undo> {
    let policy_rules = plan.policy_rules().iter().copied().map(Undo::PolicyRule);
    let routes = plan.routes().iter().cloned().map(Undo::Route);
    policy_rules.chain(routes).collect()
}
