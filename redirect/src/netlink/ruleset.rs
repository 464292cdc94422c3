//! Ruleset: our table, read back from nf_tables.

use netlink_packet_core::{DecodeError, NlaBuffer, Parseable as _};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, GenAttribute, GenMessage, Hook as HookAttribute, HookNumber,
    NfTablesMessage, NfTablesMessageType, RuleAttribute, RuleMessage, TableAttribute, TableFlags,
};
use netlink_packet_netfilter::none::ControlMessage;

use crate::chain::{Attachment, ChainKind, Hook, Policy};
use crate::error::KernelError;
use crate::found::{FoundChain, FoundObject, FoundRule, FoundSet, FoundTable};

use super::batch::{control, hook_number, inet, kind_name, policy_number, table_named};
use super::socket::{Conversation, Dump};
use super::step::{Step, raw_expressions};
use super::unread::{self, Unread, attributes, inside};
use super::{comment, decode, objects, sets};

/// The conversation in which a ruleset is read.
type Kernel = Conversation<NetfilterMessage, Unread>;

/// How often to start again when the ruleset changes while it is read. Each attempt takes some 100 µs.
const ATTEMPTS: u32 = 5;

/// The table of this name as it is at one moment, if it is there.
pub(super) fn read(kernel: &mut Kernel, name: &str) -> Result<Option<FoundTable>, KernelError> {
    for _ in 0..ATTEMPTS {
        // Table, sets, chains and rules are as many questions; the generation tells whether a transaction came between. It does not
        // grow at the very moment at which a transaction takes effect: so none is under way when the reading begins, nor when
        // it is looked at again.
        let before = generation(kernel)?;
        wait(kernel)?;
        if let Some(table) = read_once(kernel, name)? {
            wait(kernel)?;
            if generation(kernel)? == before {
                return Ok(table);
            }
        }
    }
    Err(KernelError::Unsettled { attempts: ATTEMPTS })
}

fn wait(kernel: &mut Kernel) -> Result<(), KernelError> {
    kernel.wait_for_others(control(ControlMessage::BatchBegin), control(ControlMessage::BatchEnd))
}

/// The table if it is there; nothing when an answer was interrupted.
fn read_once(kernel: &mut Kernel, name: &str) -> Result<Option<Option<FoundTable>>, KernelError> {
    let Some(table) = table(kernel, name)? else { return Ok(Some(None)) };
    let Some(objects) = objects(kernel, name)? else { return Ok(None) };
    let Some(sets) = sets(kernel, name)? else { return Ok(None) };
    let Dump::Settled(chains) =
        kernel.dump(inet(NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() })))?
    else {
        return Ok(None);
    };
    let Some(rules) = rules_of(kernel, name)? else { return Ok(None) };
    let mut found = Vec::new();
    for answer in chains {
        found.extend(found_chain(&answer, name).map_err(undecodable)?);
    }
    for answer in rules {
        if let Some((chain, rule)) = found_rule(&answer, name).map_err(undecodable)?
            && let Some(chain) = found.iter_mut().find(|found| found.name == chain)
        {
            chain.rules.push(rule);
        }
    }
    Ok(Some(Some(FoundTable { objects, sets, chains: found, ..table })))
}

/// The rules of the table; nothing when an answer was interrupted.
fn rules_of(kernel: &mut Kernel, table: &str) -> Result<Option<Vec<Unread>>, KernelError> {
    match rules(kernel, vec![RuleAttribute::Table(table.into())])? {
        // While a transaction that replaces a table is being committed there are two of its name, and the kernel looks
        // for rules in the first only, where they are gone already. Asked for no table, it looks in all.
        Some(none) if none.is_empty() => rules(kernel, Vec::new()),
        rules => Ok(rules),
    }
}

/// The rules that have these attributes; nothing when an answer was interrupted.
fn rules(kernel: &mut Kernel, attributes: Vec<RuleAttribute>) -> Result<Option<Vec<Unread>>, KernelError> {
    match kernel.dump(inet(NfTablesMessage::GetRule(RuleMessage { attributes })))? {
        Dump::Settled(rules) => Ok(Some(rules)),
        Dump::Interrupted => Ok(None),
    }
}

/// The named objects of the table; nothing when an answer was interrupted.
fn objects(kernel: &mut Kernel, table: &str) -> Result<Option<Vec<FoundObject>>, KernelError> {
    let Dump::Settled(answers) = kernel.dump(inet(objects::all(table)))? else { return Ok(None) };
    let found = answers.iter().map(|answer| objects::found(answer, table)).collect::<Result<Vec<_>, _>>();
    Ok(Some(found.map_err(undecodable)?.into_iter().flatten().collect()))
}

/// The sets of the table, with what is in them; nothing when an answer was interrupted.
fn sets(kernel: &mut Kernel, table: &str) -> Result<Option<Vec<FoundSet>>, KernelError> {
    let Dump::Settled(answers) = kernel.dump(inet(sets::all(table)))? else { return Ok(None) };
    let mut found = Vec::new();
    for answer in answers {
        let Some(mut set) = sets::found_set(&answer, table).map_err(undecodable)? else { continue };
        if let Some(kind) = set.kind {
            let question = NfTablesMessage::GetSetElement(sets::question(table, &set.name));
            let Dump::Settled(answers) = kernel.dump(inet(question))? else { return Ok(None) };
            for answer in answers {
                set.elements.extend(sets::found_elements(&answer, kind).map_err(undecodable)?);
            }
        }
        found.push(set);
    }
    Ok(Some(found))
}

pub(super) fn undecodable(error: DecodeError) -> KernelError {
    KernelError::Undecodable(error.into())
}

fn generation(kernel: &mut Kernel) -> Result<u32, KernelError> {
    let answer = kernel.ask(inet(NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() })))?;
    let attributes = unread::read(&answer.attributes).map_err(undecodable)?;
    let id = attributes.into_iter().find_map(|attribute| match attribute {
        GenAttribute::Id(id) => Some(id),
        _ => None,
    });
    id.ok_or(KernelError::Incomplete)
}

fn table(kernel: &mut Kernel, name: &str) -> Result<Option<FoundTable>, KernelError> {
    let answer = match kernel.ask(inet(NfTablesMessage::GetTable(table_named(name)))) {
        Ok(answer) => answer,
        Err(error) if error.refusal() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let attributes = unread::read(&answer.attributes).map_err(undecodable)?;
    let dormant = attributes.iter().any(
        |attribute| matches!(attribute, TableAttribute::Flags(flags) if flags.contains(TableFlags::Dormant)),
    );
    Ok(Some(FoundTable { dormant, ..FoundTable::default() }))
}

/// The chain of an answer, if it is in this table: a dump of chains has those of all tables.
pub(super) fn found_chain(answer: &Unread, table: &str) -> Result<Option<FoundChain>, DecodeError> {
    if answer.kind != NfTablesMessageType::NewChain {
        return Ok(None);
    }
    let (mut name, mut kind, mut policy, mut hook, mut is_ours) = (None, None, None, None, false);
    for attribute in unread::read(&answer.attributes)? {
        match attribute {
            ChainAttribute::Table(found) => is_ours = found == table,
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
    let chain = |name| FoundChain { name, attachment: attachment(), rules: Vec::new() };
    Ok(name.filter(|_| is_ours).map(chain))
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
                hook = Hook::ALL.into_iter().find(|hook| hook_number(*hook) == *number);
            }
            HookAttribute::Priority(bits) => priority = Some(bits.cast_signed()),
            _ => return None,
        }
    }
    Some((hook?, priority?))
}

/// The rule of an answer and the chain in which it is, if it is in this table.
pub(super) fn found_rule(answer: &Unread, table: &str) -> Result<Option<(String, FoundRule)>, DecodeError> {
    if answer.kind != NfTablesMessageType::NewRule {
        return Ok(None);
    }
    let (mut chain, mut expressions, mut why, mut is_ours): (_, &[u8], _, _) = (None, &[], None, false);
    for attribute in attributes(&answer.attributes) {
        let attribute: NlaBuffer<&[u8]> = attribute?;
        if attribute.kind() == NFTA_RULE_EXPRESSIONS {
            expressions = inside(&attribute);
            continue;
        }
        match RuleAttribute::parse(&attribute)? {
            RuleAttribute::Table(found) => is_ours = found == table,
            RuleAttribute::Chain(found) => chain = Some(found),
            RuleAttribute::UserData(found) => why = comment::decode(&found),
            _ => {}
        }
    }
    let Some(chain) = chain.filter(|_| is_ours) else { return Ok(None) };
    Ok(Some((chain, decoded(expressions, why)?)))
}

/// `NFTA_RULE_EXPRESSIONS` (`linux/netfilter/nf_tables.h`).
pub(super) const NFTA_RULE_EXPRESSIONS: u16 = 4;

fn decoded(expressions: &[u8], why: Option<String>) -> Result<FoundRule, DecodeError> {
    let expressions = raw_expressions(expressions)?;
    let steps: Option<Vec<Step>> = expressions.iter().map(Step::of).collect();
    let rule = steps.and_then(|steps| decode::rule(&steps, why.clone().unwrap_or_default()));
    Ok(rule.map_or_else(
        || FoundRule::Foreign {
            why,
            expressions: expressions.into_iter().map(|expression| expression.name).collect(),
        },
        FoundRule::Ours,
    ))
}
