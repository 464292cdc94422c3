//! Restore: the text that puts a plan's rules of one family in place.
//!
//! Each of our chains is called from a built-in one by a rule that stands there first, so that what others let pass does not
//! pass by us. Each table is one transaction of the kernel's. The filter comes last: while the tables before it change, the
//! guard that is there already stands.

use std::fmt::Write as _;

use crate::chain::{Chain, ChainKind, Hook};
use crate::family::Family;
use crate::piece::Piece;
use crate::plan::Plan;
use crate::rule::{Action, Match, Rule};

use super::encode;
use super::error::{Obstacle, Unsayable};
use super::place::{Place, Table};
use super::saved::{Saved, Whose};

/// A text for `iptables-restore --noflush`, and what each of its lines is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) text: String,
    lines: Vec<Option<Piece>>,
}

impl Script {
    fn line(&mut self, line: std::fmt::Arguments<'_>, piece: Option<&Piece>) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "{line}");
        self.lines.push(piece.cloned());
    }

    /// What the line of this number, from 1, is about.
    pub(crate) fn piece(&self, line: usize) -> Option<&Piece> {
        self.lines.get(line.checked_sub(1)?)?.as_ref()
    }
}

/// The plan for packets of one family only, as iptables sees it: its rules say nothing of families.
///
/// Where packets are sent iptables cannot ask whether their socket is transparent. The one rule that does is left out: the
/// answers that it lets pass are the proxy's, which has marked its listeners, and so them. Timeouts for some connections only
/// are an object beside the tables: see `timeouts`.
pub(crate) fn of_family(plan: &Plan, family: Family) -> Plan {
    // Which are not where iptables takes them are left out.
    let plan = if plan.tcp_timeouts().is_some() { plan.without_timeouts() } else { plan.clone() };
    plan.of_family(family).with_rules(|chain, rule| {
        let matches = rule.matches().iter().filter(|condition| !matches!(condition, Match::Family(_)));
        let rule = Rule::exactly(matches.cloned().collect(), rule.action(), rule.why().to_owned());
        (!asks_for_sender(chain, &rule)).then_some(rule)
    })
}

/// Whether the rule asks of what is sent here whether its socket is transparent.
fn asks_for_sender(chain: &Chain, rule: &Rule) -> bool {
    let is_sent = matches!(chain.attachment.hook, Hook::Output | Hook::Postrouting);
    is_sent && rule.matches().contains(&Match::Transparent)
}

/// Whether what such rules let pass is let pass without them: a proxy that is known by its mark has it on all that it sends.
fn check_sender(plan: &Plan) -> Result<(), Unsayable> {
    if plan.proxy_sockets().mark.is_some() {
        return Ok(());
    }
    for chain in plan.chains() {
        if let Some(rule) = chain.rules.iter().find(|rule| asks_for_sender(chain, rule)) {
            let piece = Piece::Rule { chain: chain.name.to_string(), rule: rule.clone() };
            return Err(Unsayable { piece: Box::new(piece), obstacle: Obstacle::NoSender });
        }
    }
    Ok(())
}

/// The script that puts the plan's rules of this family in place of what is there of ours.
pub(crate) fn script(plan: &Plan, family: Family, there: &Saved) -> Result<Script, Unsayable> {
    check_sender(plan)?;
    let plan = of_family(plan, family);
    let mut script = Script::default();
    for table in order(&plan, there) {
        let mut chains = Vec::new();
        for chain in plan.chains() {
            let place = place(chain)?;
            if place.table == table {
                chains.push((place, chain));
            }
        }
        put(&mut script, table, family, &chains, there)?;
    }
    Ok(script)
}

/// The script that takes everything of somebody's away. The filter goes last here, too.
pub(crate) fn removal(whose: Whose, there: &Saved) -> Script {
    let mut script = Script::default();
    for table in [Table::Nat, Table::Mangle, Table::Raw, Table::Filter] {
        let chains: Vec<&str> = there.chains_of(whose, table).collect();
        if chains.is_empty() {
            continue;
        }
        script.line(format_args!("*{table}"), None);
        for (built_in, name) in there.jumps(whose, table) {
            script.line(format_args!("-D {built_in} -j {name}"), None);
        }
        delete(&mut script, &chains);
        script.line(format_args!("COMMIT"), None);
    }
    script
}

/// Chains can call each other: all are emptied before the first is deleted.
fn delete(script: &mut Script, chains: &[&str]) {
    for command in ["-F", "-X"] {
        for name in chains {
            script.line(format_args!("{command} {name}"), None);
        }
    }
}

/// What a captured connection needs comes before what captures it; and what captures, before what has captured until now.
fn order(plan: &Plan, there: &Saved) -> [Table; 4] {
    let nat = plan.chains().iter().filter(|chain| chain.attachment.kind == ChainKind::Nat);
    let redirects =
        nat.flat_map(|chain| &chain.rules).any(|rule| matches!(rule.action(), Action::Redirect(_)));
    if redirects && there.intercepts() {
        [Table::Raw, Table::Nat, Table::Mangle, Table::Filter]
    } else {
        [Table::Raw, Table::Mangle, Table::Nat, Table::Filter]
    }
}

pub(crate) fn place(chain: &Chain) -> Result<Place, Unsayable> {
    let piece = || Box::new(Piece::Chain(chain.name.to_string()));
    Place::of(chain.attachment).ok_or_else(|| Unsayable { piece: piece(), obstacle: Obstacle::NoChain })
}

fn put(
    script: &mut Script,
    table: Table,
    family: Family,
    chains: &[(Place, &Chain)],
    there: &Saved,
) -> Result<(), Unsayable> {
    let stale: Vec<&str> = there
        .chains_of(Whose::Ours, table)
        .filter(|name| !chains.iter().any(|(place, _)| place.chain() == *name))
        .collect();
    if chains.is_empty() && stale.is_empty() {
        return Ok(());
    }
    script.line(format_args!("*{table}"), None);
    for (place, chain) in chains {
        // Declaring a chain that is there empties it.
        let piece = Piece::Chain(chain.name.to_string());
        script.line(format_args!(":{} - [0:0]", place.chain()), Some(&piece));
    }
    for (built_in, name) in there.jumps(Whose::Ours, table) {
        let is_right = chains.iter().any(|(place, _)| {
            place.chain() == name
                && place.built_in == built_in
                && there.is_first_and_only(table, built_in, name)
        });
        if !is_right {
            script.line(format_args!("-D {built_in} -j {name}"), None);
        }
    }
    for (place, chain) in chains {
        let (built_in, name) = (place.built_in, place.chain());
        if !there.is_first_and_only(table, built_in, &name) {
            let piece = Piece::Chain(chain.name.to_string());
            script.line(format_args!("-I {built_in} 1 -j {name}"), Some(&piece));
        }
        for rule in &chain.rules {
            let piece = Piece::Rule { chain: chain.name.to_string(), rule: rule.clone() };
            let words = encode::words(rule, table, family)
                .map_err(|obstacle| Unsayable { piece: Box::new(piece.clone()), obstacle })?;
            script.line(format_args!("-A {name} {words}"), Some(&piece));
        }
    }
    delete(script, &stale);
    script.line(format_args!("COMMIT"), None);
    Ok(())
}
