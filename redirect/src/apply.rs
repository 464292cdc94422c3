//! Apply, verify and remove: the thin shell that acts on the namespace of the calling thread.

use std::borrow::Cow;

use crate::compare::{Difference, Verdict, compare, compare_elements, compare_routing};
use crate::counters::Counter;
use crate::elements::Elements;
use crate::error::{ApplyError, KernelError, RemoveError, VerifyError};
use crate::family::Family;
use crate::found::{Found, FoundRouting, FoundTable, Ipv6, Loopback};
use crate::interface::InterfaceName;
use crate::netlink::{Interfaces, NfTables, Rejected, Routing, is_unknown};
use crate::piece::Piece;
use crate::plan::{Plan, is_kept};
use crate::routing::{Route, Way};
use crate::tcp_timeouts::Remembers;
use crate::undo::{self, Undo};

/// The name of a table that is never made: the kernel is only asked whether it could be.
const PROBE: &str = "inpod-probe";

/// What [`apply`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Whether IPv6 replies find the proxy here. Where they do not, IPv6 connections that a plan captures fail;
    /// they do not escape.
    pub ipv6: Ipv6,
    /// Whether captured connections are remembered here for as long as the plan says.
    pub remembers: Remembers,
}

/// Puts a plan into the network namespace that the calling thread is in, and proves that it is there.
///
/// First routing, then all rules in one transaction that replaces what an earlier plan has left: in each chain a packet
/// meets all of the old rules or all of the new ones, and connections captured before stay captured. Then everything is read back and compared. What is
/// in place already is left as it is; what was tampered with is healed. What is in the plan's sets stays in them,
/// and connections that [`enrol`](crate::enrol) keeps stay kept.
///
/// Connections that are there already and neither captured nor kept are none that the guard knows: it resets them at their
/// next packet. This is for a pod that does not run yet, or has the same plan already; else there is `enrol`.
///
/// The calling thread needs `CAP_NET_ADMIN` in the user namespace that owns the network namespace. The proxy's
/// listeners should be open before: from the moment of applying, connections that nobody accepts fail.
///
/// # Errors
/// See [`ApplyError`]: when the kernel does not take the plan, nothing of it stays.
pub fn apply(plan: &Plan) -> Result<Applied, ApplyError> {
    put(plan, None)
}

/// The same, and exactly this is then in the plan's sets. No packet meets the plan without them. Elements of sets that the plan
/// does not declare are left out.
///
/// So many elements are sent as one message that it has to find room in the socket's buffer: with `CAP_NET_ADMIN` in the
/// initial user namespace there is always room, otherwise twice `net.core.wmem_max` bytes, by default enough for 25,000
/// IPv4 addresses or 8,000 IPv6 connections.
///
/// # Errors
/// See [`ApplyError`]: when the kernel does not take the plan, nothing of it stays.
pub fn apply_with(plan: &Plan, elements: &Elements) -> Result<Applied, ApplyError> {
    put(plan, Some(elements))
}

/// With these elements, or with those that are there.
pub(crate) fn put(plan: &Plan, elements: Option<&Elements>) -> Result<Applied, ApplyError> {
    let mut kernel = Kernel::open().map_err(ApplyError::Look)?;
    if !kernel.loopback.up {
        return Err(ApplyError::LoopbackDown);
    }
    let before = kernel.find(plan).map_err(ApplyError::Look)?;
    let plan = &match elements {
        Some(_) => possible(plan, &before),
        None => as_found(plan, &before),
    };
    let ipv6 = kernel.loopback.ipv6;
    if compare_with(plan, elements, &before) == Verdict::Same {
        return Ok(Applied { ipv6, remembers: remembers(plan) });
    }
    let there = before.table.as_ref().map(|table| table.elements(plan.sets())).unwrap_or_default();
    let filling = elements.unwrap_or(&there);
    let mut added = Vec::new();
    let outcome = kernel
        .add_routing(plan, &before.routing, &mut added)
        .and_then(|()| kernel.put_table(plan, filling, &before));
    if let Err(Rejected { piece, source }) = outcome {
        return Err(kernel.take_back(added, ApplyError::Rejected { piece, source }));
    }
    kernel.delete_stale_routing(plan, &before.routing);
    let after = kernel.find(plan).map_err(ApplyError::Unproven)?;
    let plan = &possible(plan, &after);
    match compare_with(plan, elements, &after) {
        Verdict::Same => Ok(Applied { ipv6, remembers: remembers(plan) }),
        Verdict::Differs(differences) => Err(ApplyError::NotAsPlanned(differences)),
    }
}

/// Tells whether a plan is in place, whole and alone, in the network namespace that the calling thread is in.
/// Changes nothing.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn verify(plan: &Plan) -> Result<Verdict, VerifyError> {
    let found = Kernel::open().and_then(|mut kernel| kernel.find(plan)).map_err(VerifyError::Look)?;
    Ok(compare(&as_found(plan, &found), &found))
}

/// The same, and whether exactly this is in the plan's sets.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn verify_with(plan: &Plan, elements: &Elements) -> Result<Verdict, VerifyError> {
    let found = Kernel::open().and_then(|mut kernel| kernel.find(plan)).map_err(VerifyError::Look)?;
    Ok(compare_with(&possible(plan, &found), Some(elements), &found))
}

/// What is in the sets of a plan, in the network namespace that the calling thread is in: nothing when the plan is not there.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn elements(plan: &Plan) -> Result<Elements, VerifyError> {
    let table = NfTables::open().and_then(|mut tables| tables.table(plan.table()));
    Ok(table.map_err(VerifyError::Look)?.map(|table| table.elements(plan.sets())).unwrap_or_default())
}

/// Makes this the elements of a plan that is in place in the network namespace that the calling thread is in. What is there
/// already stays; what has to come or go does so in one transaction, and the rules are not touched.
///
/// # Errors
/// [`ApplyError::Rejected`] when the plan is not in place, or when somebody else has changed the same sets meanwhile; nothing
/// is changed then.
pub fn set_elements(plan: &Plan, elements: &Elements) -> Result<(), ApplyError> {
    let mut tables = NfTables::open().map_err(ApplyError::Look)?;
    let there = tables.table(plan.table()).map_err(ApplyError::Look)?;
    let there = there.map(|table| table.elements(plan.sets())).unwrap_or_default();
    let wanted = elements.within(plan.sets());
    tables
        .change(plan.table(), &there.without(&wanted), &wanted.without(&there))
        .map_err(|Rejected { piece, source }| ApplyError::Rejected { piece, source })
}

/// The plan, as far as this kernel can have it.
pub(crate) fn possible<'plan>(plan: &'plan Plan, found: &Found) -> Cow<'plan, Plan> {
    match found.remembers {
        Remembers::AsPlanned => Cow::Borrowed(plan),
        Remembers::BySysctl => Cow::Owned(plan.without_timeouts()),
    }
}

/// The same, with room for kept connections where there is such room: which are kept is no part of a plan.
fn as_found<'plan>(plan: &'plan Plan, found: &Found) -> Cow<'plan, Plan> {
    let sets = found.table.iter().flat_map(|table| &table.sets);
    let keeps = sets.map(|set| set.name.as_str()).any(is_kept) && plan.kept().next().is_none();
    let plan = possible(plan, found);
    if keeps { Cow::Owned(plan.keeping()) } else { plan }
}

/// What is true where this plan is in place.
fn remembers(plan: &Plan) -> Remembers {
    if plan.tcp_timeouts().is_some() { Remembers::AsPlanned } else { Remembers::BySysctl }
}

/// Compares a plan, and the elements of its sets where they matter, with all that was found.
fn compare_with(plan: &Plan, elements: Option<&Elements>, found: &Found) -> Verdict {
    let nothing = FoundTable::default();
    let table = found.table.as_ref().unwrap_or(&nothing);
    let of_elements = elements.map(|elements| compare_elements(plan, elements, table)).unwrap_or_default();
    match compare(plan, found) {
        Verdict::Same if of_elements.is_empty() => Verdict::Same,
        Verdict::Same => Verdict::Differs(of_elements),
        Verdict::Differs(mut differences) => {
            differences.extend(of_elements);
            Verdict::Differs(differences)
        }
    }
}

/// Takes a plan out of the network namespace that the calling thread is in. What is already gone is passed over;
/// what the plan did not put there stays.
///
/// # Errors
/// When the kernel does not let go of something.
pub fn remove(plan: &Plan) -> Result<(), RemoveError> {
    let mut kernel = Kernel::open().map_err(RemoveError::Look)?;
    undo::steps(plan).into_iter().try_for_each(|step| {
        let refused = |Rejected { piece, source }| RemoveError::Refused { piece, source };
        kernel.undo(step).map_err(refused)
    })
}

/// Takes a plan's rules out of the network namespace that the calling thread is in, but not its routing: another backend has put
/// the plan in place as well, and needs it. So a pod moves to that backend without a moment in which it is not captured.
///
/// # Errors
/// When the kernel does not let go of them.
pub fn remove_rules(plan: &Plan) -> Result<(), RemoveError> {
    let refused = |Rejected { piece, source }| RemoveError::Refused { piece, source };
    NfTables::open().map_err(RemoveError::Look)?.delete(plan.table()).map_err(refused)
}

/// The two conversations with the kernel, and what is true of the namespace throughout.
pub(crate) struct Kernel {
    pub(crate) tables: NfTables,
    routing: Routing,
    pub(crate) loopback: Loopback,
}

impl Kernel {
    pub(crate) fn open() -> Result<Self, KernelError> {
        let mut routing = Routing::open()?;
        Ok(Self { loopback: routing.loopback()?, tables: NfTables::open()?, routing })
    }

    pub(crate) fn counters(&mut self) -> Result<Vec<(String, Option<Counter>)>, KernelError> {
        self.tables.counters()
    }

    pub(crate) fn find(&mut self, plan: &Plan) -> Result<Found, KernelError> {
        let table = self.tables.table(plan.table())?;
        let remembers = self.find_whether_it_remembers(plan, table.as_ref())?;
        Ok(Found { table, remembers, routing: self.find_routing(plan)? })
    }

    /// Whether the kernel could have the timeouts of the plan. It is asked only if it has not.
    fn find_whether_it_remembers(
        &mut self,
        plan: &Plan,
        table: Option<&FoundTable>,
    ) -> Result<Remembers, KernelError> {
        match (plan.tcp_timeouts(), table) {
            (Some(timeouts), Some(table)) if !table.has_timeouts(timeouts) => {
                let takes = self.tables.takes(PROBE, timeouts)?;
                Ok(if takes { Remembers::AsPlanned } else { Remembers::BySysctl })
            }
            _ => Ok(Remembers::AsPlanned),
        }
    }

    /// What there is of routing in the plan's tables, for both families: a plan for IPv4 may follow one for both.
    fn find_routing(&mut self, plan: &Plan) -> Result<FoundRouting, KernelError> {
        let mut found = FoundRouting { ipv6: self.loopback.ipv6, ..FoundRouting::default() };
        let interfaces = self.find_interfaces(plan)?;
        for (&table, family) in
            plan.routing_tables().iter().flat_map(|table| Family::ALL.map(|family| (table, family)))
        {
            if found.ipv6.has_policy_rules(family) {
                found.policy_rules.extend(self.routing.policy_rules(family, table)?);
                found.routes.extend(self.routing.routes(family, table, &interfaces)?);
            }
        }
        Ok(found)
    }

    /// The interfaces by which the plan's routes lead, as far as they are there.
    fn find_interfaces(&mut self, plan: &Plan) -> Result<Interfaces, KernelError> {
        let mut interfaces = vec![(InterfaceName::loopback(), self.loopback.index)];
        for interface in plan.routes().iter().map(|route| route.way.interface()) {
            if interfaces.iter().all(|(name, _)| *name != interface)
                && let Some(index) = self.routing.index(&interface)?
            {
                interfaces.push((interface, index));
            }
        }
        Ok(interfaces)
    }

    /// The number of the interface by which a route leads.
    fn index(&mut self, way: &Way) -> Result<Option<u32>, KernelError> {
        match way {
            Way::Here => Ok(Some(self.loopback.index)),
            Way::By { interface, .. } => self.routing.index(interface),
        }
    }

    fn add_route(&mut self, route: &Route) -> Result<(), KernelError> {
        match self.index(&route.way)? {
            Some(index) => self.routing.add_route(route, index),
            None => Err(KernelError::NoInterface(route.way.interface())),
        }
    }

    /// A route by an interface that is gone went with it.
    fn delete_route(&mut self, route: &Route) -> Result<(), KernelError> {
        match self.index(&route.way)? {
            Some(index) => self.routing.delete_route(route, index),
            None => Ok(()),
        }
    }

    /// Adds what is missing of routing, and notes what it has added.
    fn add_routing(
        &mut self,
        plan: &Plan,
        before: &FoundRouting,
        added: &mut Vec<Undo>,
    ) -> Result<(), Rejected> {
        for difference in compare_routing(plan, before) {
            let (outcome, undo) = match &difference {
                Difference::Missing(Piece::Route(route)) => {
                    (self.add_route(route), Undo::Route(route.clone()))
                }
                Difference::Missing(Piece::PolicyRule(rule)) => {
                    (self.routing.add_policy_rule(*rule), Undo::PolicyRule(*rule))
                }
                _ => continue,
            };
            outcome.map_err(|source| rejected(undo.clone(), source))?;
            added.push(undo);
        }
        Ok(())
    }

    /// Adds what is missing of a plan's routing, or nothing.
    pub(crate) fn put_routing(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        let before = self.find_routing(plan).map_err(ApplyError::Look)?;
        let mut added = Vec::new();
        self.add_routing(plan, &before, &mut added).map_err(|Rejected { piece, source }| {
            self.take_back(added, ApplyError::Rejected { piece, source })
        })
    }

    /// In what routing differs from the plan's.
    pub(crate) fn compare_routing(&mut self, plan: &Plan) -> Result<Vec<Difference>, KernelError> {
        Ok(compare_routing(plan, &self.find_routing(plan)?))
    }

    /// Deletes what is in the plan's routing table, or leads there, and is none of the plan's.
    pub(crate) fn delete_foreign_routing(&mut self, plan: &Plan) -> Result<(), KernelError> {
        let found = self.find_routing(plan)?;
        self.delete_stale_routing(plan, &found);
        Ok(())
    }

    /// Takes the plan's routing away.
    pub(crate) fn remove_routing(&mut self, plan: &Plan) -> Result<(), RemoveError> {
        undo::routing(plan).into_iter().try_for_each(|step| {
            let refused = |Rejected { piece, source }| RemoveError::Refused { piece, source };
            self.undo(step).map_err(refused)
        })
    }

    /// Puts the table there. Where there is none it is only made: replacing would have the kernel wait, on closing
    /// the socket, until no packet can see any more what was replaced (some ms).
    ///
    /// Timeouts that are there stay there, since they cannot be given to connections anew. A kernel that has none gets the rest.
    pub(crate) fn put_table(
        &mut self,
        plan: &Plan,
        elements: &Elements,
        before: &Found,
    ) -> Result<(), Rejected> {
        match self.put_whole_table(plan, elements, before) {
            Err(Rejected { piece, source })
                if matches!(*piece, Piece::Timeouts(_)) && is_unknown(&source) =>
            {
                self.put_whole_table(&plan.without_timeouts(), elements, before)
            }
            outcome => outcome,
        }
    }

    fn put_whole_table(&mut self, plan: &Plan, elements: &Elements, before: &Found) -> Result<(), Rejected> {
        match &before.table {
            Some(table) if !table.dormant => self
                .tables
                .refill(plan, elements, table)
                // What was found is there no more, or holds on to something else.
                .or_else(|_| self.tables.replace(plan, elements)),
            Some(_) => self.tables.replace(plan, elements),
            None => match self.tables.create(plan, elements) {
                Err(rejected) if rejected.source.refusal() == Some(libc::EEXIST) => {
                    self.tables.replace(plan, elements)
                }
                outcome => outcome,
            },
        }
    }

    /// Deletes what an earlier plan has left of routing. What cannot be deleted is found again on reading back.
    fn delete_stale_routing(&mut self, plan: &Plan, before: &FoundRouting) {
        for difference in compare_routing(plan, before) {
            let undo = match difference {
                Difference::Extra(Piece::Route(route)) => Undo::Route(route),
                Difference::Extra(Piece::PolicyRule(rule)) => Undo::PolicyRule(rule),
                _ => continue,
            };
            let _ = self.undo(undo);
        }
    }

    fn take_back(&mut self, added: Vec<Undo>, failure: ApplyError) -> ApplyError {
        let undone = added.into_iter().rev().filter_map(|step| self.undo(step).err());
        let left: Vec<Piece> = undone.map(|rejected| *rejected.piece).collect();
        if left.is_empty() { failure } else { ApplyError::NotTakenBack { left, source: Box::new(failure) } }
    }

    fn undo(&mut self, step: Undo) -> Result<(), Rejected> {
        match step {
            Undo::Table(name) => self.tables.delete(name),
            Undo::PolicyRule(rule) if !self.loopback.ipv6.has_policy_rules(rule.family) => Ok(()),
            Undo::Route(route) if !self.loopback.ipv6.has_route(&route) => Ok(()),
            Undo::PolicyRule(rule) => self
                .routing
                .delete_policy_rule(rule)
                .map_err(|source| rejected(Undo::PolicyRule(rule), source)),
            Undo::Route(route) => {
                self.delete_route(&route).map_err(|source| rejected(Undo::Route(route), source))
            }
        }
    }
}

fn rejected(step: Undo, source: KernelError) -> Rejected {
    let piece = match step {
        Undo::Table(name) => Piece::Table(name),
        Undo::PolicyRule(rule) => Piece::PolicyRule(rule),
        Undo::Route(route) => Piece::Route(route),
    };
    Rejected { piece: Box::new(piece), source }
}
