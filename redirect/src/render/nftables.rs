//! A plan in the words of `nft`.

use std::fmt::Write as _;

use crate::chain::Chain;
use crate::elements::Elements;
use crate::plan::Plan;
use crate::set::Set;
use crate::tcp_timeouts;

/// The plan as a script for `nft -f -` (1.0.6 or newer): one transaction that puts our table in place of whatever
/// was there by its name. Routing, which nft does not do, is there as comments.
///
/// Every rule counts its packets and says why it is there:
///
/// ```
/// # use inpod_redirect::{Intent, Plan, render};
/// let text = render::nft(&Plan::new(&Intent::ambient()));
/// assert!(text.contains(r#"redirect to :15001 comment "outbound TCP goes to the proxy"#));
/// ```
pub fn nft(plan: &Plan) -> String {
    nft_with(plan, &Elements::new())
}

/// The same, with what is in the plan's sets.
pub fn nft_with(plan: &Plan, elements: &Elements) -> String {
    let table = plan.table();
    let mut text = String::new();
    let routes = plan.routes().iter().map(ToString::to_string);
    for line in routes.chain(plan.policy_rules().iter().map(ToString::to_string)) {
        line_of(&mut text, format_args!("# {line}"));
    }
    line_of(&mut text, format_args!("table inet {table}"));
    line_of(&mut text, format_args!("delete table inet {table}"));
    line_of(&mut text, format_args!("table inet {table} {{"));
    if let Some(timeouts) = plan.tcp_timeouts() {
        line_of(&mut text, format_args!("\tct timeout {} {{", tcp_timeouts::NAME));
        line_of(&mut text, format_args!("\t\tprotocol tcp; l3proto inet; policy = {{ {timeouts} }};"));
        line_of(&mut text, format_args!("\t}}"));
    }
    for set in plan.sets() {
        write_set(&mut text, set, elements);
    }
    for chain in plan.chains() {
        write_chain(&mut text, chain);
    }
    line_of(&mut text, format_args!("}}"));
    text
}

fn write_set(text: &mut String, set: &Set, elements: &Elements) {
    line_of(text, format_args!("\tset {} {{", set.name()));
    line_of(text, format_args!("\t\ttype {}", set.kind()));
    let elements: Vec<String> = elements.of(set).map(|element| element.to_string()).collect();
    if !elements.is_empty() {
        line_of(text, format_args!("\t\telements = {{ {} }}", elements.join(", ")));
    }
    line_of(text, format_args!("\t}}"));
}

fn write_chain(text: &mut String, chain: &Chain) {
    line_of(text, format_args!("\tchain {} {{", chain.name));
    line_of(text, format_args!("\t\t{}", chain.attachment));
    for rule in &chain.rules {
        line_of(text, format_args!("\t\t{rule} comment \"{}\"", rule.why()));
    }
    line_of(text, format_args!("\t}}"));
}

fn line_of(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{line}");
}
