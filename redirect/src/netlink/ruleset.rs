//! Ruleset: our table, read back from nf_tables.

use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, GenAttribute, GenMessage, Hook as HookAttribute, HookNumber,
    NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute, TableFlags, TableMessage,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};

use crate::chain::{Attachment, ChainKind, Hook, Policy};
use crate::error::KernelError;
use crate::found::{FoundChain, FoundRule, FoundTable};
use crate::plan::TABLE;

use super::batch::{hook_number, inet, kind_name, policy_number, table_name};
use super::socket::{Conversation, Dump};
use super::step::{self, Expression, Step};
use super::{comment, decode};

/// How often to start again when the ruleset changes while it is read. Each attempt takes some 100 µs.
const ATTEMPTS: u32 = 5;

/// Our table as it is at one moment, if it is there.
pub(super) fn read(kernel: &mut Conversation<NetfilterMessage>) -> Result<Option<FoundTable>, KernelError> {
    for _ in 0..ATTEMPTS {
        // Table, chains and rules are three questions; the generation tells whether a transaction came between.
        let before = generation(kernel)?;
        if let Some(table) = read_once(kernel)?
            && generation(kernel)? == before
        {
            return Ok(table);
        }
    }
    Err(KernelError::Unsettled { attempts: ATTEMPTS })
}

/// The table if it is there; nothing when an answer was interrupted.
fn read_once(kernel: &mut Conversation<NetfilterMessage>) -> Result<Option<Option<FoundTable>>, KernelError> {
    let Some(table) = table(kernel)? else { return Ok(Some(None)) };
    let Dump::Settled(chains) =
        kernel.dump(inet(NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() })))?
    else {
        return Ok(None);
    };
    let ours = RuleMessage { attributes: vec![RuleAttribute::Table(TABLE.into())] };
    let Dump::Settled(rules) = kernel.dump(inet(NfTablesMessage::GetRule(ours)))? else { return Ok(None) };

    let mut chains: Vec<FoundChain> = chains.into_iter().filter_map(found_chain).collect();
    for (name, rule) in rules.into_iter().filter_map(found_rule) {
        if let Some(chain) = chains.iter_mut().find(|chain| chain.name == name) {
            chain.rules.push(rule);
        }
    }
    Ok(Some(Some(FoundTable { chains, ..table })))
}

fn generation(kernel: &mut Conversation<NetfilterMessage>) -> Result<u32, KernelError> {
    let question = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewGen(answer)) = kernel.ask(inet(question))?.inner
    else {
        return Err(KernelError::Incomplete);
    };
    let id = answer.attributes.iter().find_map(|attribute| match attribute {
        GenAttribute::Id(id) => Some(*id),
        _ => None,
    });
    id.ok_or(KernelError::Incomplete)
}

fn table(kernel: &mut Conversation<NetfilterMessage>) -> Result<Option<FoundTable>, KernelError> {
    let answer = match kernel.ask(inet(NfTablesMessage::GetTable(table_name()))) {
        Ok(answer) => answer.inner,
        Err(error) if error.refusal() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewTable(TableMessage { attributes, .. })) = answer
    else {
        return Err(KernelError::Incomplete);
    };
    let dormant = attributes.iter().any(
        |attribute| matches!(attribute, TableAttribute::Flags(flags) if flags.contains(TableFlags::Dormant)),
    );
    Ok(Some(FoundTable { dormant, chains: Vec::new() }))
}

/// The chain of an answer, if it is in our table: a dump of chains has those of all tables.
fn found_chain(answer: NetfilterMessage) -> Option<FoundChain> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = answer.inner else { return None };
    let (mut name, mut kind, mut policy, mut hook, mut is_ours) = (None, None, None, None, false);
    for attribute in chain.attributes {
        match attribute {
            ChainAttribute::Table(table) => is_ours = table == TABLE,
            ChainAttribute::Name(found) => name = Some(found),
            ChainAttribute::Type(found) => kind = found_kind(&found),
            ChainAttribute::Policy(found) => policy = found_policy(found),
            ChainAttribute::Hook(found) => hook = found_hook(&found),
            _ => {}
        }
    }
    let attachment = || {
        let (hook, priority) = hook?;
        Some(Attachment { kind: kind?, hook, priority, policy: policy? })
    };
    is_ours.then_some(FoundChain { name: name?, attachment: attachment(), rules: Vec::new() })
}

fn found_kind(name: &str) -> Option<ChainKind> {
    [ChainKind::Filter, ChainKind::Route, ChainKind::Nat].into_iter().find(|kind| kind_name(*kind) == name)
}

fn found_policy(number: u32) -> Option<Policy> {
    [Policy::Drop, Policy::Accept].into_iter().find(|policy| policy_number(*policy) == number)
}

fn found_hook(attributes: &[HookAttribute]) -> Option<(Hook, i32)> {
    let (mut hook, mut priority) = (None, None);
    for attribute in attributes {
        match attribute {
            HookAttribute::Number(HookNumber::Inet(number)) => {
                hook =
                    [Hook::Prerouting, Hook::Output].into_iter().find(|hook| hook_number(*hook) == *number);
            }
            HookAttribute::Priority(bits) => priority = Some(bits.cast_signed()),
            _ => return None,
        }
    }
    Some((hook?, priority?))
}

/// The rule of an answer and the chain in which it is, if it is in our table.
fn found_rule(answer: NetfilterMessage) -> Option<(String, FoundRule)> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) = answer.inner else { return None };
    let (mut chain, mut expressions, mut why, mut is_ours) = (None, Vec::new(), None, false);
    for attribute in rule.attributes {
        match attribute {
            RuleAttribute::Table(table) => is_ours = table == TABLE,
            RuleAttribute::Chain(found) => chain = Some(found),
            RuleAttribute::Expressions(found) => expressions = found,
            RuleAttribute::UserData(found) => why = comment::decode(&found),
            _ => {}
        }
    }
    is_ours.then_some((chain?, decoded(&expressions, why)))
}

fn decoded(expressions: &[Expression], why: Option<String>) -> FoundRule {
    let steps: Option<Vec<Step>> = expressions.iter().map(Step::of).collect();
    match steps.and_then(|steps| decode::rule(&steps, why.clone().unwrap_or_default())) {
        Some(rule) => FoundRule::Ours(rule),
        None => FoundRule::Foreign { why, expressions: expressions.iter().map(step::name).collect() },
    }
}
