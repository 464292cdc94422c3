//! Inbound: what becomes of connections that come to the pod.

use crate::family::Family;
use crate::intent::{HboneSign, Inbound, Intent, Method};
use crate::interface::InterfaceName;
use crate::port::Port;
use crate::rule::{Action, Match, Protocol, Rule, Test};

use super::{exceptions, guard, not_from_proxy, not_to_loopback, outbound, past, tcp, to_proxy};

/// What is decided by address translation, on the first packet of a connection. In order: what is late, exceptions, traffic of
/// virtual machines, tunnels, what is let past, probes, everything else.
pub(super) fn redirect(intent: &Intent) -> Vec<Rule> {
    let mut rules = Vec::new();
    match intent.outbound_method() {
        Method::Redirect => rules.extend(outbound::of_virtual_machines(intent)),
        // The proxy has them already.
        Method::Tproxy => rules.extend(outbound::of_virtual_machines_is_taken(intent)),
    }
    if intent.inbound_method() == Method::Redirect {
        rules.extend(captured(intent));
    }
    if rules.is_empty() {
        return rules;
    }
    let mut first = guard::late_for_proxy(intent);
    first.extend(exceptions::received(intent));
    first.extend(rules);
    first
}

/// What is decided by giving packets to sockets, on each packet. In the same order, but that answers, too, are told apart here.
pub(super) fn intercept(intent: &Intent) -> Vec<Rule> {
    let mut rules = match intent.outbound_method() {
        Method::Redirect => outbound::of_virtual_machines_is_taken(intent),
        Method::Tproxy => outbound::of_virtual_machines(intent),
    };
    if intent.inbound_method() == Method::Tproxy && intent.inbound() == Inbound::Captured {
        let why = "what the pod sends to itself never leaves it";
        let by_loopback = Match::Incoming(Test::Is(InterfaceName::loopback()));
        rules.push(tcp(intent, [by_loopback], Action::Accept, why));
        let why = "an answer on a connection that was made from here, by whoever was let out";
        rules.push(tcp(intent, [Match::Reply], Action::Accept, why));
        let why = "translated when it began: that brings it to the proxy";
        rules.push(tcp(intent, [Match::Translated], Action::Accept, why));
        rules.extend(guard::late_for_proxy(intent));
        rules.extend(captured(intent));
    } else if intent.outbound_method() == Method::Redirect {
        rules.clear();
    }
    if rules.is_empty() {
        return rules;
    }
    let mut first = exceptions::received(intent);
    first.extend(rules);
    first
}

/// Tunnels, what is let past, probes, everything else.
fn captured(intent: &Intent) -> Vec<Rule> {
    if intent.inbound() == Inbound::Bypassed {
        return Vec::new();
    }
    let families = intent.families().all();
    let mut rules: Vec<Rule> = families.iter().flat_map(|&family| tunnel(intent, family)).collect();
    rules.extend(past::pass_in(intent));
    rules.extend(families.iter().filter_map(|&family| probe(intent, family)));
    rules.extend(families.iter().flat_map(|&family| capture(intent, family)));
    rules
}

fn probe(intent: &Intent, family: Family) -> Option<Rule> {
    let from = Match::Source(Test::Is(intent.probe_addresses()?.of(family).into()));
    let why = "health probes of the node go straight to the application";
    Some(Rule::new([Match::Protocol(Protocol::Tcp), from], Action::Accept, why))
}

fn tunnel(intent: &Intent, family: Family) -> Vec<Rule> {
    let sign = match intent.hbone() {
        HboneSign::Port => return Vec::new(),
        HboneSign::Dscp(dscp) => Match::Dscp(family, Test::Is(dscp)),
        HboneSign::Mark(mark) => Match::PacketMark(Test::Is(mark)),
    };
    let hbone = intent.ports().inbound_hbone;
    let why = "by this sign it is a tunnel, whatever its port: it goes to the proxy's port for tunnels";
    proxys(intent, family, vec![sign], hbone, why)
}

fn capture(intent: &Intent, family: Family) -> Vec<Rule> {
    let why = "inbound TCP goes to the proxy, except tunnels, which it accepts itself, and what it delivers";
    proxys(intent, family, Vec::new(), intent.ports().inbound_plaintext, why)
}

/// The rule that brings packets to this port of the proxy.
fn proxys(
    intent: &Intent,
    family: Family,
    mut matches: Vec<Match>,
    port: Port,
    why: &'static str,
) -> Vec<Rule> {
    matches.extend([
        not_to_loopback(family),
        Match::Protocol(Protocol::Tcp),
        Match::DestinationPort(Test::IsNot(intent.ports().inbound_hbone.into())),
    ]);
    matches.extend(not_from_proxy(intent));
    to_proxy(intent, intent.inbound_method(), &matches, port, why)
}
