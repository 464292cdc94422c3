//! Differs: what is not as it is intended, from what the kernel and the proxy say. No IO.

use std::net::IpAddr;

use super::verdict::by;
use super::view::{Differs, End, Inbound, Kind, No, Packet, Policy, Proxy, Socket, Told, Way, Why};

/// All of it, the pod's own first, then along the way of the connection.
pub(super) fn differs(why: &Why) -> Vec<Differs> {
    let mut found = Found(Vec::new());
    pod(why, &mut found);
    rules(why, &mut found);
    why.packets.iter().for_each(|packet| socket(packet, &mut found));
    application(why, &mut found);
    match &why.proxy {
        Proxy::Told(told) => {
            facts(why, told, &mut found);
            identity(why, told, &mut found);
            decision(told, &mut found);
        }
        // It may be another's proxy, for which that is right.
        Proxy::DoesNotTell => {}
        Proxy::Silent { error } => found.add("proxy", error.clone()),
    }
    found.0
}

struct Found(Vec<Differs>);

impl Found {
    fn add(&mut self, what: &str, how: impl Into<String>) {
        self.0.push(Differs { what: what.into(), how: how.into() });
    }
}

fn pod(why: &Why, found: &mut Found) {
    let pod = &why.pod;
    if pod.desired != "enrolled" {
        found.add("pod", format!("it is not wanted in the mesh: {}", pod.desired));
    }
    if pod.proxy != "listening" {
        found.add("proxy", format!("it does not serve the pod: {}", pod.proxy));
    }
    if let Some(error) = &pod.last_error {
        found.add("pod", format!("the agent's last step has failed: {error}"));
    }
}

fn rules(why: &Why, found: &mut Found) {
    why.rules.differences.iter().for_each(|difference| found.add("rules", difference.clone()));
    if why.rules.more > 0 {
        found.add("rules", format!("and {} more", why.rules.more));
    }
}

/// Whether who waits where a captured packet ends is the proxy.
fn socket(packet: &Packet, found: &mut Found) {
    let End::Proxy { port } = packet.end else { return };
    if packet.sockets.is_empty() {
        found.add("socket", format!("nobody listens on {port} in the pod"));
    }
    for other in packet.sockets.iter().filter(|socket| !socket.has_proxys_mark) {
        let Socket { address, user, .. } = other;
        found.add("socket", format!("who listens at {address} has not the proxy's mark: user {user}"));
    }
    full(&packet.sockets, found);
}

fn full(sockets: &[Socket], found: &mut Found) {
    for Socket { address, waiting, most_waiting, .. } in sockets {
        if waiting >= most_waiting {
            found.add("socket", format!("{waiting} connections wait at {address}, as many as can"));
        }
    }
}

fn application(why: &Why, found: &mut Found) {
    if why.way == Way::Inbound {
        if why.application.is_empty() {
            found.add("application", format!("nobody listens at {} in the pod", why.destination));
        }
        full(&why.application, found);
    }
}

fn facts(why: &Why, told: &Told, found: &mut Found) {
    let Some(facts) = &told.facts else {
        found.add("facts", "the proxy has no facts about the pod: it refuses all its connections");
        return;
    };
    for address in why.addresses.iter().filter(|address| !is_links(address)) {
        if !facts.addresses.contains(address) {
            found.add("facts", format!("{address}, an address of the pod, is not one of {}", facts.name));
        }
    }
    for address in facts.addresses.iter().filter(|address| !why.addresses.contains(address)) {
        found.add("facts", format!("{address} of {} is no address of the pod", facts.name));
    }
}

fn is_links(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn identity(why: &Why, told: &Told, found: &mut Found) {
    if !told.identity.ends_with(&format!("/{}", why.pod.identity)) {
        found.add("identity", format!("the proxy proves {}, not {}", told.identity, why.pod.identity));
    }
    if let Some(namesake) = &told.namesake {
        let (name, identity) = (&namesake.name, &namesake.identity);
        found.add("identity", format!("the facts' {name} is {identity}, the pod {}", why.pod.identity));
    }
    if let Some(facts) = told.facts.as_ref().filter(|facts| facts.identity != told.identity) {
        found.add("identity", format!("peers expect {}, the proxy proves {}", facts.identity, told.identity));
    }
}

fn decision(told: &Told, found: &mut Found) {
    let mut lacking = |no: Option<&No>| {
        if let Some(no) = no.filter(|no| !no.intended) {
            let how = no.reason.clone();
            if !found.0.iter().any(|known| known.how == how) {
                found.add("facts", how);
            }
        }
    };
    // Of a pod that is not known, nothing else is.
    let known = told.facts.is_some();
    lacking(told.outbound.as_ref().and_then(|outbound| outbound.refused.as_ref()).filter(|_| known));
    let Some(inbound) = &told.inbound else { return };
    for decision in inbound.tunnel.iter().chain([&inbound.plaintext]) {
        lacking(decision.refused.as_ref().filter(|_| known));
    }
    dry_run(inbound, found);
}

/// What would be decided otherwise if a policy counted.
fn dry_run(inbound: &Inbound, found: &mut Found) {
    for policy in inbound.policies.iter().filter(|policy| policy.dry_run) {
        let ways = [(Kind::Tunnel, policy.tunnel), (Kind::Plaintext, policy.plaintext)];
        for (kind, rule) in ways.into_iter().filter_map(|(kind, rule)| Some((kind, rule?))) {
            let Policy { name, action, .. } = policy;
            let by = by(kind);
            found.add("policy", format!("{name} is in dry run: its rule {rule} would {action} it {by}"));
        }
    }
}
