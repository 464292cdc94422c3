//! Batch: a plan as one nf_tables transaction: all of it happens, or nothing.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook as HookAttribute, InetHookNumber, NfTablesMessage, RuleAttribute,
    RuleMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::chain::{Attachment, Chain, ChainKind, Hook, Policy};
use crate::counters::Counter;
use crate::error::KernelError;
use crate::found::FoundTable;
use crate::piece::Piece;
use crate::plan::{Plan, TABLE};
use crate::rule::Rule;

use super::socket::{Aborted, Conversation, Request};
use super::step::Expression;
use super::unread::Unread;
use super::{comment, counters, encode, ruleset};

/// A conversation with nf_tables.
pub(crate) struct NfTables(Conversation<NetfilterMessage, Unread>);

/// A piece that the kernel did not take.
pub(crate) struct Rejected {
    pub(crate) piece: Piece,
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

    /// Makes the plan's table. Refused with `EEXIST` when there is one of its name.
    pub(crate) fn create(&mut self, plan: &Plan) -> Result<(), Rejected> {
        let table = order(Piece::Table, NfTablesMessage::NewTable(table_name()), NLM_F_CREATE | NLM_F_EXCL);
        self.transact([table].into_iter().chain(chains_and_rules(plan)).collect())
    }

    /// Puts the plan's table in place of whatever has its name, in one step for every packet.
    pub(crate) fn replace(&mut self, plan: &Plan) -> Result<(), Rejected> {
        // A table can only be deleted if it is there: so it is made, if it is not, and then deleted.
        let tables = [new_table(), delete_table(), new_table()];
        self.transact(tables.into_iter().chain(chains_and_rules(plan)).collect())
    }

    /// Deletes the table, if it is there.
    pub(crate) fn delete(&mut self) -> Result<(), Rejected> {
        self.transact(vec![new_table(), delete_table()])
    }

    /// The table as it is, if it is there.
    pub(crate) fn table(&mut self) -> Result<Option<FoundTable>, KernelError> {
        ruleset::read(&mut self.0)
    }

    /// The chain and the counter of each of its rules, in order.
    pub(crate) fn counters(&mut self) -> Result<Vec<(String, Option<Counter>)>, KernelError> {
        counters::read(&mut self.0)
    }

    fn transact(&mut self, orders: Vec<Order>) -> Result<(), Rejected> {
        let (pieces, requests): (Vec<_>, Vec<_>) =
            orders.into_iter().map(|order| (order.piece, order.request)).unzip();
        let (begin, end) = (control(ControlMessage::BatchBegin), control(ControlMessage::BatchEnd));
        self.0.transact(begin, requests, end).map_err(|Aborted { at, error }| Rejected {
            piece: at.and_then(|index| pieces.get(index)).cloned().unwrap_or(Piece::Transaction),
            source: error,
        })
    }
}

/// The begin or the end of a transaction; they name the subsystem (`linux/netfilter/nfnetlink.h`).
fn control(message: ControlMessage) -> NetfilterMessage {
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

pub(super) fn table_name() -> TableMessage {
    TableMessage { attributes: vec![TableAttribute::Name(TABLE.into())] }
}

fn new_table() -> Order {
    order(Piece::Table, NfTablesMessage::NewTable(table_name()), NLM_F_CREATE)
}

fn delete_table() -> Order {
    order(Piece::Table, NfTablesMessage::DeleteTable(table_name()), 0)
}

fn chains_and_rules(plan: &Plan) -> impl Iterator<Item = Order> {
    plan.chains().iter().flat_map(|chain| {
        let rules = chain.rules.iter().map(move |rule| new_rule(chain, rule));
        [new_chain(chain)].into_iter().chain(rules)
    })
}

fn new_chain(chain: &Chain) -> Order {
    let Attachment { kind, hook, priority, policy } = chain.attachment;
    let attributes = vec![
        ChainAttribute::Table(TABLE.into()),
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

fn new_rule(chain: &Chain, rule: &Rule) -> Order {
    let attributes = vec![
        RuleAttribute::Table(TABLE.into()),
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
