//! Timeouts: where and how iptables says how long connections are remembered: in the table raw, by the name of an object that is
//! beside its tables.

use crate::chain::{Attachment, Chain, ChainKind, Hook, Policy};
use crate::compare::Difference;
use crate::error::KernelError;
use crate::family::Family;
use crate::netlink::{CtTimeouts, FoundTimeouts};
use crate::piece::Piece;
use crate::plan::{Plan, RAW};
use crate::rule::{Action, Rule};
use crate::tcp_timeouts::Remembers;

/// The name of the object: one is of one family only. No longer than what `iptables-save` (1.8.9) shows of it.
pub(super) const fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "inp4",
        Family::V6 => "inp6",
    }
}

/// The plan with its rules about timeouts where iptables takes them, or without them.
pub(super) fn placed(plan: &Plan, remembers: Remembers) -> Plan {
    let rest = plan.without_timeouts();
    if remembers == Remembers::BySysctl {
        return rest;
    }
    let mut chains: Vec<Chain> = rest.chains().to_vec();
    for chain in plan.chains() {
        let hook = chain.attachment.hook;
        let sets: Vec<Rule> =
            chain.rules.iter().filter(|rule| rule.action() == Action::SetTimeouts).cloned().collect();
        if !sets.is_empty() {
            let raw = Attachment { kind: ChainKind::Filter, hook, priority: RAW, policy: Policy::Accept };
            match chains.iter_mut().find(|chain| chain.attachment == raw) {
                Some(chain) => chain.rules.splice(0..0, sets).for_each(drop),
                None => {
                    chains.insert(0, Chain { name: chain_name(hook).into(), attachment: raw, rules: sets });
                }
            }
        }
    }
    rest.with_chains(chains)
}

/// As the plan itself names chains there.
fn chain_name(hook: Hook) -> &'static str {
    if hook == Hook::Output { "raw-output" } else { "raw-prerouting" }
}

/// Whether this kernel can remember connections for as long as a plan says.
pub(super) fn remembers(plan: &Plan, timeouts: &mut CtTimeouts) -> Result<Remembers, KernelError> {
    if plan.tcp_timeouts().is_none() {
        return Ok(Remembers::BySysctl);
    }
    Ok(match timeouts.find(name(Family::V4), Family::V4)? {
        FoundTimeouts::Unknown => Remembers::BySysctl,
        FoundTimeouts::Ours(_) | FoundTimeouts::Foreign | FoundTimeouts::Nothing => Remembers::AsPlanned,
    })
}

/// What is missing of the object of one family.
pub(super) fn missing(
    plan: &Plan,
    family: Family,
    timeouts: &mut CtTimeouts,
) -> Result<Option<Difference>, KernelError> {
    let Some(planned) = plan.tcp_timeouts().filter(|_| plan.captures(family)) else { return Ok(None) };
    let found = timeouts.find(name(family), family)?;
    let is_there = found == FoundTimeouts::Ours(planned) || found == FoundTimeouts::Unknown;
    Ok((!is_there).then_some(Difference::Missing(Piece::Timeouts(planned))))
}

/// Makes the object of one family what the plan says.
pub(super) fn put(plan: &Plan, family: Family, timeouts: &mut CtTimeouts) -> Result<(), KernelError> {
    match (plan.tcp_timeouts(), missing(plan, family, timeouts)?) {
        (Some(planned), Some(_)) => timeouts.put(name(family), family, planned),
        _ => Ok(()),
    }
}
