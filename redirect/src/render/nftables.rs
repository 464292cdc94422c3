//! A plan in the words of `nft`.

use std::fmt::Write as _;

use crate::chain::Chain;
use crate::plan::{Plan, TABLE};

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
    let mut text = String::new();
    let routes = plan.routes().iter().map(ToString::to_string);
    for line in routes.chain(plan.policy_rules().iter().map(ToString::to_string)) {
        line_of(&mut text, format_args!("# {line}"));
    }
    line_of(&mut text, format_args!("table inet {TABLE}"));
    line_of(&mut text, format_args!("delete table inet {TABLE}"));
    line_of(&mut text, format_args!("table inet {TABLE} {{"));
    for chain in plan.chains() {
        write_chain(&mut text, chain);
    }
    line_of(&mut text, format_args!("}}"));
    text
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
