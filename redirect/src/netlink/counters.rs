//! Counters of rules, read from nf_tables.

use netlink_packet_core::{DecodeError, NlaBuffer, Parseable as _};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{NfTablesMessage, NfTablesMessageType, RuleAttribute, RuleMessage};

use crate::counters::Counter;
use crate::error::KernelError;
use crate::plan::TABLE;

use super::batch::inet;
use super::ruleset::{NFTA_RULE_EXPRESSIONS, undecodable};
use super::socket::{Conversation, Dump};
use super::step::{RawExpression, raw_expressions};
use super::unread::{Unread, attributes, inside};

/// How often to start again when the ruleset changes while it is read.
const ATTEMPTS: u32 = 5;

// `linux/netfilter/nf_tables.h`.
const COUNTER: &str = "counter";
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;

/// The chain and the counter of each rule of our table, in order.
pub(super) fn read(
    kernel: &mut Conversation<NetfilterMessage, Unread>,
) -> Result<Vec<(String, Option<Counter>)>, KernelError> {
    for _ in 0..ATTEMPTS {
        let ours = RuleMessage { attributes: vec![RuleAttribute::Table(TABLE.into())] };
        if let Dump::Settled(answers) = kernel.dump(inet(NfTablesMessage::GetRule(ours)))? {
            let rules = answers.iter().map(rule).collect::<Result<Vec<_>, _>>().map_err(undecodable)?;
            return Ok(rules.into_iter().flatten().collect());
        }
    }
    Err(KernelError::Unsettled { attempts: ATTEMPTS })
}

pub(super) fn rule(answer: &Unread) -> Result<Option<(String, Option<Counter>)>, DecodeError> {
    if answer.kind != NfTablesMessageType::NewRule {
        return Ok(None);
    }
    let (mut chain, mut counter, mut is_ours) = (None, None, false);
    for attribute in attributes(&answer.attributes) {
        let attribute: NlaBuffer<&[u8]> = attribute?;
        if attribute.kind() == NFTA_RULE_EXPRESSIONS {
            let expressions = raw_expressions(inside(&attribute))?;
            counter = expressions.iter().find(|expression| expression.name == COUNTER).map(value);
            continue;
        }
        match RuleAttribute::parse(&attribute)? {
            RuleAttribute::Table(table) => is_ours = table == TABLE,
            RuleAttribute::Chain(found) => chain = Some(found),
            _ => {}
        }
    }
    Ok(chain.filter(|_| is_ours).map(|chain| (chain, counter)))
}

fn value(expression: &RawExpression<'_>) -> Counter {
    let mut counter = Counter::default();
    for attribute in attributes(expression.data).flatten() {
        let Some(number) = inside(&attribute).try_into().ok().map(u64::from_be_bytes) else { continue };
        match attribute.kind() {
            NFTA_COUNTER_BYTES => counter.bytes = number,
            NFTA_COUNTER_PACKETS => counter.packets = number,
            _ => {}
        }
    }
    counter
}
