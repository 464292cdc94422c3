//! Batch: a plan as one nf_tables transaction: all of it happens, or nothing.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook as HookAttribute, InetHookNumber, NfTablesMessage, RuleAttribute,
    RuleMessage, SetAttribute, SetMessage, TableAttribute, TableFlags, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::chain::{Attachment, Chain, ChainKind, Hook, Policy};
use crate::counters::Counter;
use crate::elements::{Element, Elements};
use crate::error::KernelError;
use crate::found::{FoundChain, FoundObject, FoundTable};
use crate::piece::Piece;
use crate::plan::Plan;
use crate::rule::Rule;
use crate::set::Set;
use crate::tcp_timeouts::TcpTimeouts;

use super::socket::{Aborted, Conversation, Request};
use super::step::Expression;
use super::unread::Unread;
use super::{comment, counters, encode, objects, ruleset, sets};

/// A conversation with nf_tables.
pub(crate) struct NfTables(Conversation<NetfilterMessage, Unread>);

/// A piece that the kernel did not take.
pub(crate) struct Rejected {
    pub(crate) piece: Box<Piece>,
    pub(crate) source: KernelError,
}

/// One message of a transaction, and what it is about.
struct Order {
    piece: Piece,
    request: Request<NetfilterMessage>,
}

impl NfTables {
    /// Opens it, in the namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, KernelError> {
        Conversation::open(NETLINK_NETFILTER).map(Self)
    }

    /// Makes the plan's table, with this in its sets. Refused with `EEXIST` when there is one of its name.
    pub(crate) fn create(&mut self, plan: &Plan, elements: &Elements) -> Result<(), Rejected> {
        let table = plan.table();
        let made = NfTablesMessage::NewTable(table_named(table));
        let made = order(Piece::Table(table), made, NLM_F_CREATE | NLM_F_EXCL);
        self.transact(table, [made].into_iter().chain(contents(plan, elements)).collect())
    }

    /// Makes the plan's table as one that is this conversation's own (`NFT_TABLE_F_OWNER`, Linux 5.12): nobody else changes it, and when
    /// the conversation ends, the kernel deletes it. Refused with `EEXIST` when there is one of its name.
    pub(crate) fn own(&mut self, plan: &Plan) -> Result<(), Rejected> {
        let table = plan.table();
        let mut message = table_named(table);
        message.attributes.push(TableAttribute::Flags(TableFlags::Owner));
        let made = NfTablesMessage::NewTable(message);
        let made = order(Piece::Table(table), made, NLM_F_CREATE | NLM_F_EXCL);
        self.transact(table, [made].into_iter().chain(contents(plan, &Elements::new())).collect())
    }

    /// Puts the plan's table in place of whatever has its name, with this in its sets, in one step for every packet.
    pub(crate) fn replace(&mut self, plan: &Plan, elements: &Elements) -> Result<(), Rejected> {
        // A table can only be deleted if it is there: so it is made, if it is not, and then deleted.
        let table = plan.table();
        let tables = [new_table(table), delete_table(table), new_table(table)];
        self.transact(table, tables.into_iter().chain(contents(plan, elements)).collect())
    }

    /// Puts the plan's contents in place of what this table has, and leaves what both have: the timeouts, since those that go are taken
    /// from all connections that have them; and chains, which get other rules, so that each packet meets all old rules of a chain or
    /// all new ones. Were a chain made anew, a packet on its way could meet the new one before it has rules, and the old one when it
    /// has none any more. Refused with `ENOENT` when something of what was found is gone.
    pub(crate) fn refill(
        &mut self,
        plan: &Plan,
        elements: &Elements,
        found: &FoundTable,
    ) -> Result<(), Rejected> {
        let table = plan.table();
        let has_timeouts = plan.tcp_timeouts().is_some_and(|timeouts| found.has_timeouts(timeouts));
        let stays = |piece: &Piece| has_timeouts && matches!(piece, Piece::Timeouts(_));
        let orders = emptying(plan, found).into_iter().chain(contents(plan, elements));
        let orders: Vec<Order> = orders.filter(|order| !stays(&order.piece)).collect();
        self.transact(table, orders)
    }

    /// Whether the kernel would take these timeouts.
    pub(crate) fn takes(&mut self, table: &'static str, timeouts: TcpTimeouts) -> Result<bool, KernelError> {
        let declared = objects::declaration(table, timeouts);
        let orders = [new_table(table), order(Piece::Timeouts(timeouts), declared, NLM_F_CREATE)];
        let requests = orders.into_iter().map(|order| order.request).collect();
        match self.0.transact(control(ControlMessage::BatchBegin), requests, None) {
            Ok(()) => Ok(true),
            Err(Aborted { error, .. }) if is_unknown(&error) => Ok(false),
            Err(Aborted { error, .. }) => Err(error),
        }
    }

    /// Takes elements out of sets of the table and puts others in, in one step for every packet. Refused with `ENOENT`
    /// when the table is not there, or what should go is not.
    pub(crate) fn change(
        &mut self,
        table: &'static str,
        gone: &Elements,
        come: &Elements,
    ) -> Result<(), Rejected> {
        let orders: Vec<Order> = chunks(table, gone, sets::deletion, 0)
            .chain(chunks(table, come, sets::addition, NLM_F_CREATE))
            .collect();
        if orders.is_empty() { Ok(()) } else { self.transact(table, orders) }
    }

    /// Deletes the table, if it is there.
    pub(crate) fn delete(&mut self, table: &'static str) -> Result<(), Rejected> {
        self.transact(table, vec![new_table(table), delete_table(table)])
    }

    /// The table as it is, if it is there.
    pub(crate) fn table(&mut self, name: &str) -> Result<Option<FoundTable>, KernelError> {
        ruleset::read(&mut self.0, name)
    }

    /// The chain and the counter of each of its rules, in order.
    pub(crate) fn counters(&mut self) -> Result<Vec<(String, Option<Counter>)>, KernelError> {
        counters::read(&mut self.0)
    }

    fn transact(&mut self, table: &'static str, orders: Vec<Order>) -> Result<(), Rejected> {
        let (pieces, requests): (Vec<_>, Vec<_>) =
            orders.into_iter().map(|order| (order.piece, order.request)).unzip();
        let (begin, end) = (control(ControlMessage::BatchBegin), control(ControlMessage::BatchEnd));
        self.0.transact(begin, requests, Some(end)).map_err(|Aborted { at, error }| Rejected {
            piece: at
                .and_then(|index| pieces.get(index))
                .cloned()
                .unwrap_or(Piece::Transaction(table))
                .into(),
            source: error,
        })
    }
}

/// The begin or the end of a transaction; they name the subsystem (`linux/netfilter/nfnetlink.h`).
pub(super) fn control(message: ControlMessage) -> NetfilterMessage {
    let subsystem = u16::from(u8::from(NetfilterSubsystem::NfTables));
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, subsystem), message)
}

/// A message about something in an `inet` table.
pub(super) fn inet(message: impl Into<NetfilterMessageInner>) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

fn order(piece: Piece, message: NfTablesMessage, flags: u16) -> Order {
    Order { piece, request: Request { message: inet(message), flags } }
}

pub(super) fn table_named(name: &str) -> TableMessage {
    TableMessage { attributes: vec![TableAttribute::Name(name.into())] }
}

fn new_table(name: &'static str) -> Order {
    order(Piece::Table(name), NfTablesMessage::NewTable(table_named(name)), NLM_F_CREATE)
}

fn delete_table(name: &'static str) -> Order {
    order(Piece::Table(name), NfTablesMessage::DeleteTable(table_named(name)), 0)
}

/// Objects and sets come first, for rules to find them.
fn contents(plan: &Plan, elements: &Elements) -> impl Iterator<Item = Order> {
    let table = plan.table();
    let declared = (1..).zip(plan.sets()).map(move |(number, set)| {
        let message = sets::declaration(table, set, number);
        order(Piece::Set(set.clone()), message, NLM_F_CREATE)
    });
    let elements = elements.within(plan.sets());
    let filled: Vec<Order> = chunks(table, &elements, sets::addition, NLM_F_CREATE).collect();
    let chains = plan.chains().iter().flat_map(move |chain| {
        let rules = chain.rules.iter().map(move |rule| new_rule(table, chain, rule));
        [new_chain(table, chain)].into_iter().chain(rules)
    });
    let timeouts = plan.tcp_timeouts().map(move |timeouts| {
        order(Piece::Timeouts(timeouts), objects::declaration(table, timeouts), NLM_F_CREATE)
    });
    timeouts.into_iter().chain(declared).chain(filled).chain(chains)
}

/// What empties a table of everything that was found in it but the plan's timeouts, and chains that are where the plan has them.
/// Rules go first, since they hold the rest.
fn emptying(plan: &Plan, found: &FoundTable) -> Vec<Order> {
    let table = plan.table();
    let rules = RuleMessage { attributes: vec![RuleAttribute::Table(table.into())] };
    let mut orders = vec![order(Piece::Table(table), NfTablesMessage::DeleteRule(rules), 0)];
    let is_in_place = |there: &&FoundChain| {
        let planned = plan.chains().iter().find(|chain| chain.name == there.name);
        planned.is_some_and(|chain| there.attachment == Some(chain.attachment))
    };
    orders.extend(found.chains.iter().filter(|chain| !is_in_place(chain)).map(|chain| {
        let attributes = vec![ChainAttribute::Table(table.into()), ChainAttribute::Name(chain.name.clone())];
        let message = NfTablesMessage::DeleteChain(ChainMessage { attributes });
        order(Piece::Chain(chain.name.clone()), message, 0)
    }));
    orders.extend(found.sets.iter().map(|set| {
        let attributes = vec![SetAttribute::Table(table.into()), SetAttribute::Name(set.name.clone())];
        let message = NfTablesMessage::DeleteSet(SetMessage { attributes });
        order(Piece::ForeignSet(set.name.clone()), message, 0)
    }));
    let is_planned = |object: &&FoundObject| plan.tcp_timeouts().is_some_and(|planned| object.is(planned));
    orders.extend(
        found.objects.iter().filter(|object| !is_planned(object)).map(|object| {
            order(Piece::ForeignObject(object.name.clone()), objects::deletion(table, object), 0)
        }),
    );
    orders
}

/// Whether an object was refused because the kernel knows no such kind.
pub(crate) fn is_unknown(error: &KernelError) -> bool {
    error.refusal().is_some_and(|number| [libc::ENOENT, libc::EOPNOTSUPP].contains(&number))
}

/// Elements, so many to a message as one holds. The first stands for all of a message that is refused.
fn chunks(
    table: &str,
    elements: &Elements,
    message: fn(&str, &Set, &[Element]) -> NfTablesMessage,
    flags: u16,
) -> impl Iterator<Item = Order> {
    let mut orders = Vec::new();
    for set in elements.sets() {
        let all: Vec<Element> = elements.of(set).collect();
        for chunk in all.chunks(sets::CHUNK) {
            if let Some(&element) = chunk.first() {
                let piece = Piece::Element { set: set.clone(), element };
                orders.push(order(piece, message(table, set, chunk), flags));
            }
        }
    }
    orders.into_iter()
}

fn new_chain(table: &str, chain: &Chain) -> Order {
    let Attachment { kind, hook, priority, policy } = chain.attachment;
    let attributes = vec![
        ChainAttribute::Table(table.into()),
        ChainAttribute::Name(chain.name.to_string()),
        ChainAttribute::Hook(vec![
            HookAttribute::Number(hook_number(hook).into()),
            // The wire has a signed number; the packet crate, its bits.
            HookAttribute::Priority(priority.cast_unsigned()),
        ]),
        ChainAttribute::Type(kind_name(kind).into()),
        ChainAttribute::Policy(policy_number(policy)),
    ];
    let piece = Piece::Chain(chain.name.to_string());
    order(piece, NfTablesMessage::NewChain(ChainMessage { attributes }), NLM_F_CREATE)
}

fn new_rule(table: &str, chain: &Chain, rule: &Rule) -> Order {
    let attributes = vec![
        RuleAttribute::Table(table.into()),
        RuleAttribute::Chain(chain.name.to_string()),
        RuleAttribute::Expressions(expressions(rule)),
        RuleAttribute::UserData(comment::encode(rule.why())),
    ];
    let piece = Piece::Rule { chain: chain.name.to_string(), rule: rule.clone() };
    order(piece, NfTablesMessage::NewRule(RuleMessage { attributes }), NLM_F_CREATE | NLM_F_APPEND)
}

fn expressions(rule: &Rule) -> Vec<Expression> {
    encode::steps(rule).iter().map(Expression::from).collect()
}

pub(super) const fn hook_number(hook: Hook) -> InetHookNumber {
    match hook {
        Hook::Prerouting => InetHookNumber::PreRouting,
        Hook::Input => InetHookNumber::LocalIn,
        Hook::Forward => InetHookNumber::Forward,
        Hook::Output => InetHookNumber::LocalOut,
        Hook::Postrouting => InetHookNumber::PostRouting,
    }
}

pub(super) const fn kind_name(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Route => "route",
        ChainKind::Nat => "nat",
    }
}

/// `NF_DROP` and `NF_ACCEPT` (`linux/netfilter.h`).
pub(super) const fn policy_number(policy: Policy) -> u32 {
    match policy {
        Policy::Drop => 0,
        Policy::Accept => 1,
    }
}
