//! Guard: what is refused because it would escape capture.
//!
//! Redirecting is address translation: it holds as long as conntrack knows the connection. When its entry is gone before its
//! socket (a timer, a full table, `conntrack -D`), what is sent late is not translated, and would go in plaintext to where
//! the application meant it. And capture is decided on the way in, so that a rule of somebody else's may send a packet past it.
//! So what is about to leave, to arrive or to pass through is looked at once more, after translation and by what it is rather
//! than by how it came: only what some rule of capture has let pass on purpose goes on. Everything else is reset, so that
//! nobody waits.
//!
//! ```text
//!   application --> nat-output: to the proxy  --> guard-output: to the proxy? by the proxy? excepted?   no: reset
//!   peer ---------> nat-prerouting: to the proxy --> guard-input: at the proxy? an answer? excepted?    no: reset
//!   interface ----> nat-prerouting: to the proxy --> guard-forward: nothing is left to pass through         reset
//! ```

use crate::intent::{Guard, Inbound, Intent};
use crate::interface::InterfaceName;
use crate::port::Port;
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::tcp_flags::TcpFlags;

use super::{captured_families, exceptions, to_loopback};

const STAYS: &str = "what the pod sends to itself never leaves it";

/// What sockets here send, after translation.
pub(super) fn output(intent: &Intent) -> Vec<Rule> {
    let families = intent.families().all();
    let mut rules = vec![
        tcp(intent, [Match::Outgoing(Test::Is(InterfaceName::loopback()))], Action::Accept, STAYS),
        tcp(
            intent,
            [Match::PacketMark(Test::Is(intent.marks().proxy()))],
            Action::Accept,
            "the proxy may send to anybody",
        ),
    ];
    rules.extend(families.iter().map(|&family| {
        tcp(intent, [to_loopback(family)], Action::Accept, "captured: it is on its way to the proxy")
    }));
    rules.push(tcp(
        intent,
        [Match::PacketMark(Test::Is(intent.marks().connection()))],
        Action::Accept,
        "a reply on a connection that the proxy opened is on its way to the proxy",
    ));
    rules.extend(proxy_ports(intent).map(|port| {
        let answers = [Match::Reply, Match::SourcePort(Test::Is(port.into()))];
        tcp(intent, answers, Action::Accept, "the proxy answers on a connection that came to it")
    }));
    rules.extend(families.iter().map(|&family| {
        let to_probe = Match::Destination(Test::Is(intent.probe_addresses().of(family).into()));
        tcp(
            intent,
            [to_probe],
            Action::Accept,
            "what goes to the address of the health probes is an answer to them",
        )
    }));
    rules.extend(exceptions::sent(intent));
    rules.extend(exceptions::answered(intent));
    if intent.inbound() == Inbound::Bypassed {
        let why = "inbound capture is bypassed: the application answers its peers itself";
        rules.push(tcp(intent, [Match::Reply], Action::Accept, why));
    }
    let why = "a reset carries no data, and tells the peer that nobody is there";
    rules.push(tcp(intent, [Match::TcpFlags(TcpFlags::Resets)], Action::Accept, why));
    rules.push(tcp(intent, [], Action::Reset, "it would leave the pod uncaptured"));
    guarded(intent, rules)
}

/// What has been routed, last thing before it goes out.
pub(super) fn postrouting(intent: &Intent) -> Vec<Rule> {
    let astray = [
        Match::PacketMark(Test::Is(intent.marks().connection())),
        Match::Outgoing(Test::IsNot(InterfaceName::loopback())),
    ];
    let why =
        "a reply to the proxy that routing sends out of the pod: the policy rule or its route is missing";
    guarded(intent, vec![tcp(intent, astray, Action::Drop, why)])
}

/// What sockets here are about to receive, after translation.
pub(super) fn input(intent: &Intent) -> Vec<Rule> {
    if intent.inbound() == Inbound::Bypassed {
        return Vec::new();
    }
    let to_proxy = |port: Port| {
        let to = Match::DestinationPort(Test::Is(port.into()));
        tcp(intent, [to], Action::Accept, "captured, or a tunnel: it is at the proxy")
    };
    let mut rules =
        vec![tcp(intent, [Match::Incoming(Test::Is(InterfaceName::loopback()))], Action::Accept, STAYS)];
    rules.extend(proxy_ports(intent).map(to_proxy));
    rules.push(tcp(
        intent,
        [Match::Reply],
        Action::Accept,
        "an answer on a connection that was made from here, by whoever was let out",
    ));
    rules.push(tcp(
        intent,
        [Match::SocketMark(Test::Is(intent.marks().proxy()))],
        Action::Accept,
        "it is for a socket of the proxy, though its connection is tracked no more",
    ));
    rules.extend(intent.families().all().iter().map(|&family| {
        let from_probe = Match::Source(Test::Is(intent.probe_addresses().of(family).into()));
        tcp(intent, [from_probe], Action::Accept, "health probes of the node go straight to the application")
    }));
    rules.extend(exceptions::received(intent));
    rules.push(tcp(intent, [], Action::Reset, "it would reach the application uncaptured"));
    guarded(intent, rules)
}

/// What passes through: with capture, nothing that is TCP is left of what comes in.
pub(super) fn forward(intent: &Intent) -> Vec<Rule> {
    let why = "it would pass through the pod uncaptured";
    let rules = match intent.inbound() {
        Inbound::Captured => {
            let mut rules = exceptions::received(intent);
            if !rules.is_empty() {
                let why = "excepted: an answer to what may pass through uncaptured";
                rules.push(tcp(intent, [Match::Reply], Action::Accept, why));
            }
            rules.push(tcp(intent, [], Action::Reset, why));
            rules
        }
        Inbound::Bypassed => {
            let from = |name: &InterfaceName| {
                tcp(intent, [Match::Incoming(Test::Is(name.clone()))], Action::Reset, why)
            };
            intent.virtual_interfaces().iter().map(from).collect()
        }
    };
    guarded(intent, rules)
}

/// Late packets for the proxy's own connections are not captured anew.
pub(super) fn late_for_proxy(intent: &Intent) -> Vec<Rule> {
    let late = [Match::SocketMark(Test::Is(intent.marks().proxy()))];
    let why = "it is for a connection of the proxy whose conntrack entry is gone: it needs no capture";
    guarded(intent, vec![tcp(intent, late, Action::Accept, why)])
}

fn proxy_ports(intent: &Intent) -> [Port; 3] {
    let ports = intent.ports();
    [ports.outbound, ports.inbound_plaintext, ports.inbound_hbone]
}

fn guarded(intent: &Intent, rules: Vec<Rule>) -> Vec<Rule> {
    match intent.guard() {
        Guard::On => rules,
        Guard::Off => Vec::new(),
    }
}

fn tcp<const N: usize>(intent: &Intent, matches: [Match; N], action: Action, why: &'static str) -> Rule {
    let has_family =
        matches.iter().any(|condition| matches!(condition, Match::Source(_) | Match::Destination(_)));
    let family = if has_family { None } else { captured_families(intent) };
    Rule::new(matches.into_iter().chain([Match::Protocol(Protocol::Tcp)]).chain(family), action, why)
}
