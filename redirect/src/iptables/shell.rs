//! Apply, verify and remove by the programs of iptables, in the namespace of the calling thread. The twin of `crate::apply`.

use crate::apply::{Applied, Kernel};
use crate::compare::{Difference, Verdict, compare};
use crate::family::Family;
use crate::found::{Found, Ipv6};
use crate::netlink::CtTimeouts;
use crate::plan::Plan;

use super::error::{IptablesError, NoProgram};
use super::program::Programs;
use super::restore;
use super::saved::{Saved, Whose};
use super::timeouts;

/// Puts a plan into the network namespace that the calling thread is in, and proves that it is there. See
/// [`apply`](crate::apply); the difference is that each table of each family is a transaction of its own.
///
/// # Errors
/// See [`IptablesError`]. A failure on the way leaves what captures.
pub fn apply(plan: &Plan, programs: &Programs) -> Result<Applied, IptablesError> {
    let mut kernel = Kernel::open().map_err(IptablesError::Look)?;
    if !kernel.loopback.up {
        return Err(IptablesError::LoopbackDown);
    }
    let ipv6 = kernel.loopback.ipv6;
    let mut objects = CtTimeouts::open().map_err(IptablesError::Timeouts)?;
    let remembers = timeouts::remembers(plan, &mut objects).map_err(IptablesError::Timeouts)?;
    let placed = timeouts::placed(plan, remembers);
    // Whether the plan can be said at all, before anything is done.
    for family in planned_families(plan, programs, ipv6)? {
        restore::script(&placed, family, &Saved::default())?;
    }
    kernel.put_routing(plan).map_err(|error| IptablesError::Routing(Box::new(error)))?;
    for family in families(programs, ipv6) {
        timeouts::put(plan, family, &mut objects).map_err(IptablesError::Timeouts)?;
        let wrap = |source| IptablesError::Program { family, source };
        let there = programs.save(family).map_err(wrap)?;
        if is_there(&placed, family, &there) {
            continue;
        }
        let script = restore::script(&placed, family, &there)?;
        programs.restore(family, &script).map_err(wrap)?;
    }
    kernel.delete_foreign_routing(plan).map_err(IptablesError::Look)?;
    match check(plan, programs, &mut kernel)? {
        Verdict::Same => Ok(Applied { ipv6, remembers }),
        Verdict::Differs(differences) => Err(IptablesError::NotAsPlanned(differences)),
    }
}

/// Tells whether a plan is in place by these programs, in the network namespace that the calling thread is in.
///
/// # Errors
/// When the programs, or the kernel, cannot be asked.
pub fn verify(plan: &Plan, programs: &Programs) -> Result<Verdict, IptablesError> {
    check(plan, programs, &mut Kernel::open().map_err(IptablesError::Look)?)
}

/// Takes a plan, and whatever else is in chains of our names, out of the network namespace that the calling thread is in.
///
/// # Errors
/// When a program fails, or the kernel does not let go of something.
pub fn remove(plan: &Plan, programs: &Programs) -> Result<(), IptablesError> {
    remove_rules(programs)?;
    let mut kernel = Kernel::open().map_err(IptablesError::Look)?;
    kernel.remove_routing(plan).map_err(|error| IptablesError::RoutingStays(Box::new(error)))
}

/// The same, but routing stays: another backend has put the plan in place as well, and needs it. So a pod moves from this
/// backend to another without a moment in which it is not captured.
///
/// # Errors
/// When a program fails.
pub fn remove_rules(programs: &Programs) -> Result<(), IptablesError> {
    remove_chains(Whose::Ours, programs)
}

/// Takes somebody's chains away.
pub(crate) fn remove_chains(whose: Whose, programs: &Programs) -> Result<(), IptablesError> {
    for (family, there) in saved(programs)? {
        let outcome = programs.restore(family, &restore::removal(whose, &there));
        outcome.map_err(|source| IptablesError::Program { family, source })?;
        if whose == Whose::Ours {
            let delete = |mut objects: CtTimeouts| objects.delete(timeouts::name(family));
            CtTimeouts::open().and_then(delete).map_err(IptablesError::Timeouts)?;
        }
    }
    Ok(())
}

/// What there is of each family.
pub(crate) fn saved(programs: &Programs) -> Result<Vec<(Family, Saved)>, IptablesError> {
    let kernel = Kernel::open().map_err(IptablesError::Look)?;
    let save = |family| {
        let saved = programs.save(family).map_err(|source| IptablesError::Program { family, source });
        saved.map(|saved| (family, saved))
    };
    families(programs, kernel.loopback.ipv6).map(save).collect()
}

/// The families of which there can be packets, and whose rules the programs see.
fn families(programs: &Programs, ipv6: Ipv6) -> impl Iterator<Item = Family> {
    programs.families().iter().copied().filter(move |family| ipv6.has_policy_rules(*family))
}

/// The same, if no rule of the plan is of another family of which there can be packets.
fn planned_families(
    plan: &Plan,
    programs: &Programs,
    ipv6: Ipv6,
) -> Result<impl Iterator<Item = Family>, NoProgram> {
    for family in Family::ALL {
        let is_seen = programs.families().contains(&family) || !ipv6.has_policy_rules(family);
        if !is_seen && !plan.of_family(family).chains().is_empty() {
            return Err(programs.missing(family));
        }
    }
    Ok(families(programs, ipv6))
}

fn is_there(plan: &Plan, family: Family, saved: &Saved) -> bool {
    differences(plan, family, saved).is_empty()
}

fn differences(plan: &Plan, family: Family, saved: &Saved) -> Vec<Difference> {
    let planned = restore::of_family(plan, family).without_routing();
    let table = saved.found(&planned, family);
    if planned.chains().is_empty() && table.is_none() {
        return Vec::new();
    }
    match compare(&planned, &Found { table, ..Found::default() }) {
        Verdict::Same => Vec::new(),
        Verdict::Differs(differences) => differences,
    }
}

fn check(plan: &Plan, programs: &Programs, kernel: &mut Kernel) -> Result<Verdict, IptablesError> {
    let mut found = Vec::new();
    let mut objects = CtTimeouts::open().map_err(IptablesError::Timeouts)?;
    let remembers = timeouts::remembers(plan, &mut objects).map_err(IptablesError::Timeouts)?;
    let placed = timeouts::placed(plan, remembers);
    for family in planned_families(plan, programs, kernel.loopback.ipv6)? {
        found.extend(timeouts::missing(plan, family, &mut objects).map_err(IptablesError::Timeouts)?);
        let saved = programs.save(family).map_err(|source| IptablesError::Program { family, source })?;
        found.extend(differences(&placed, family, &saved));
    }
    found.extend(kernel.compare_routing(plan).map_err(IptablesError::Look)?);
    Ok(if found.is_empty() { Verdict::Same } else { Verdict::Differs(found) })
}
