//! A plan in the words of `iptables-restore`.

use crate::family::Family;
use crate::iptables::Unsayable;
use crate::iptables::restore;
use crate::iptables::saved::Saved;
use crate::plan::Plan;

/// The plan's rules for one family as a text for `iptables-restore --noflush`, or `ip6tables-restore`, in a namespace in which
/// nothing of ours is yet. Routing is there as comments.
///
/// # Errors
/// When iptables cannot say a rule.
pub fn iptables(plan: &Plan, family: Family) -> Result<String, Unsayable> {
    let of_family = plan.of_family(family);
    let routes = of_family.routes().iter().map(ToString::to_string);
    let routing = routes.chain(of_family.policy_rules().iter().map(ToString::to_string));
    let mut text: String = routing.map(|line| format!("# {line}\n")).collect();
    text.push_str(&restore::script(plan, family, &Saved::default())?.text);
    Ok(text)
}
