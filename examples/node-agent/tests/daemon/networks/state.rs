//! State: all that netfilter, routing, links and traffic control have in a namespace, as text that two moments can be compared by.

use std::process::Command;

use netns::Namespace;
use redirect::ProbeExemption;

use crate::mesh::Result;

const COMMANDS: [&[&str]; 9] = [
    &["iptables-legacy-save"],
    &["ip6tables-legacy-save"],
    &["ip", "rule"],
    &["ip", "-6", "rule"],
    &["ip", "route", "show", "table", "all"],
    &["ip", "-6", "route", "show", "table", "all"],
    &["ip", "-details", "link"],
    &["ip", "address"],
    &["tc", "qdisc"],
];

/// All but the table of probes, which the agent keeps in the node's namespace.
pub(super) fn state(namespace: &Namespace) -> Result<String> {
    let mut text = String::new();
    let exemption = ProbeExemption::ISTIO.plan();
    let tables = run(namespace, &["nft", "list", "tables"])?;
    for table in tables.lines() {
        let words: Vec<&str> = table.split_whitespace().collect();
        if words.last() != Some(&exemption.table()) {
            let list = [["nft", "list"].as_slice(), &words].concat();
            text.push_str(&run(namespace, &list)?);
        }
    }
    for command in COMMANDS {
        text.push_str(&run(namespace, command)?);
    }
    Ok(text.lines().filter_map(steady).collect())
}

fn run(namespace: &Namespace, words: &[&str]) -> Result<String> {
    let (program, arguments) = words.split_first().ok_or("no words")?;
    let mut command = Command::new(program);
    command.args(arguments);
    let output = namespace.run(|| command.output())??;
    if !output.status.success() {
        return Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A line without what the kernel changes by itself: counters, ages, and neighbours' routes.
fn steady(line: &str) -> Option<String> {
    let is_the_kernels = line.starts_with('#')
        || line.contains("fe80::")
        || line.contains("ff00::")
        || line.contains("multicast ")
        || line.contains("anycast ");
    if is_the_kernels {
        return None;
    }
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let counted = words.last().is_some_and(|before| {
            matches!(
                *before,
                "packets"
                    | "bytes"
                    | "hello_timer"
                    | "tcn_timer"
                    | "topology_change_timer"
                    | "gc_timer"
                    | "expires"
                    | "hold_timer"
                    | "message_age_timer"
                    | "forward_delay_timer"
            )
        });
        words.push(if counted || (word.starts_with('[') && word.contains(':')) { "#" } else { word });
    }
    Some(words.join(" ") + "\n")
}
