//! A plan as the path of a packet: hook by hook, chain by chain.

use std::fmt::Write as _;

use crate::chain::{Chain, Hook};
use crate::plan::Plan;

/// The plan as the path of a packet, for people: at which hooks it meets which rules, in order, and why they are there.
///
/// ```
/// # use inpod_redirect::{Intent, Plan, render};
/// let path = render::path(&Plan::new(&Intent::ambient()));
/// assert!(path.contains("  nat-output (-100)"));
/// ```
pub fn path(plan: &Plan) -> String {
    let mut text = String::new();
    text.push_str("a socket here sends\n");
    hook(&mut text, plan, Hook::Output);
    routing(&mut text, plan);
    hook(&mut text, plan, Hook::Postrouting);
    text.push_str("  by lo: it comes in; else: it leaves\n\nit comes in\n");
    hook(&mut text, plan, Hook::Prerouting);
    routing(&mut text, plan);
    text.push_str("it is for here\n");
    hook(&mut text, plan, Hook::Input);
    text.push_str("  a socket here receives it\n\nit is for elsewhere\n");
    hook(&mut text, plan, Hook::Forward);
    text.push_str("  the rules of what is sent last (guard-postrouting) see it, too; then it leaves\n");
    text
}

fn hook(text: &mut String, plan: &Plan, hook: Hook) {
    let mut chains: Vec<&Chain> =
        plan.chains().iter().filter(|chain| chain.attachment.hook == hook).collect();
    chains.sort_by_key(|chain| chain.attachment.priority);
    for chain in chains {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  {} ({})", chain.name, chain.attachment.priority);
        for rule in &chain.rules {
            let _ = writeln!(text, "    {rule}\n      # {}", rule.why());
        }
    }
}

fn routing(text: &mut String, plan: &Plan) {
    for rule in plan.policy_rules() {
        let _ = writeln!(text, "  routing: {} with mark {} is for here ({rule})", rule.family, rule.mark);
    }
}
