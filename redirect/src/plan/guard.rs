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

use crate::family::Family;
use crate::intent::{Guard, Inbound, Intent, Method, ProxyIdentity};
use crate::interface::InterfaceName;
use crate::port::Port;
use crate::rule::{Action, Match, Rule, Test};
use crate::tcp_flags::TcpFlags;

use super::{exceptions, past, replies, tcp, to_loopback};

const STAYS: &str = "what the pod sends to itself never leaves it";

/// What sockets here send, after translation.
pub(super) fn output(intent: &Intent) -> Vec<Rule> {
    let mut rules =
        vec![tcp(intent, [Match::Outgoing(Test::Is(InterfaceName::loopback()))], Action::Accept, STAYS)];
    rules.extend(from_proxy(intent));
    rules.extend(past::pass_out(intent));
    rules.extend(intent.families().all().iter().map(|&family| {
        tcp(intent, [to_loopback(family)], Action::Accept, "captured: it is on its way to the proxy")
    }));
    if replies::are_routed(intent) {
        let marked = Match::PacketMark(Test::Is(intent.marks().connection()));
        let why = "captured, or a reply on a connection that the proxy opened: it is on its way to the proxy";
        rules.push(tcp(intent, [marked], Action::Accept, why));
    }
    rules.extend(answers_of_proxy(intent));
    rules.extend(intent.families().all().iter().filter_map(|&family| {
        let to_probe = Match::Destination(Test::Is(intent.probe_addresses()?.of(family).into()));
        let why = "what goes to the address of the health probes is an answer to them";
        Some(tcp(intent, [to_probe], Action::Accept, why))
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

fn from_proxy(intent: &Intent) -> Option<Rule> {
    match intent.proxy() {
        ProxyIdentity::Mark => {
            let marked = Match::PacketMark(Test::Is(intent.marks().proxy()));
            Some(tcp(intent, [marked], Action::Accept, "the proxy may send to anybody"))
        }
        // Its connections are let past.
        ProxyIdentity::Owners(_) => None,
    }
}

fn answers_of_proxy(intent: &Intent) -> Vec<Rule> {
    let why = "the proxy answers on a connection that came to it";
    let by_port = |port: Port| {
        let answers = [Match::Reply, Match::SourcePort(Test::Is(port.into()))];
        tcp(intent, answers, Action::Accept, why)
    };
    let mut rules: Vec<Rule> = proxy_ports(intent).map(by_port).into();
    rules.extend(intercepts_incoming(intent).then(|| tcp(intent, [Match::Transparent], Action::Accept, why)));
    rules
}

/// Whether some of what comes in is given to the proxy's sockets as it is, so that its ports do not show that it is captured.
fn intercepts_incoming(intent: &Intent) -> bool {
    let by_anybody = intent.inbound() == Inbound::Captured && intent.inbound_method() == Method::Tproxy;
    let by_virtual_machines =
        !intent.virtual_interfaces().is_empty() && intent.outbound_method() == Method::Tproxy;
    by_anybody || by_virtual_machines
}

/// What has been routed, last thing before it goes out.
pub(super) fn postrouting(intent: &Intent) -> Vec<Rule> {
    let astray = [
        Match::PacketMark(Test::Is(intent.marks().connection())),
        Match::Outgoing(Test::IsNot(InterfaceName::loopback())),
    ];
    let why =
        "a reply to the proxy that routing sends out of the pod: the policy rule or its route is missing";
    if !replies::are_routed(intent) {
        return Vec::new();
    }
    guarded(intent, vec![tcp(intent, astray, Action::Drop, why)])
}

/// What sockets here are about to receive, after translation.
pub(super) fn input(intent: &Intent) -> Vec<Rule> {
    if intent.inbound() == Inbound::Bypassed {
        return guarded(intent, diverted(intent));
    }
    let to_proxy = |port: Port| {
        let to = Match::DestinationPort(Test::Is(port.into()));
        tcp(intent, [to], Action::Accept, "captured, or a tunnel: it is at the proxy")
    };
    let mut rules = diverted(intent);
    rules.push(tcp(intent, [Match::Incoming(Test::Is(InterfaceName::loopback()))], Action::Accept, STAYS));
    rules.extend(proxy_ports(intent).map(to_proxy));
    if intercepts_incoming(intent) && intent.outbound_method() == Method::Redirect {
        let why = "captured: it is for a socket of the proxy, which may have any address";
        rules.push(tcp(intent, [Match::Transparent], Action::Accept, why));
    }
    rules.push(tcp(
        intent,
        [Match::Reply],
        Action::Accept,
        "an answer on a connection that was made from here, by whoever was let out",
    ));
    if *intent.proxy() == ProxyIdentity::Mark {
        let for_proxy = Match::SocketMark(Test::Is(intent.marks().proxy()));
        let why = "it is for a socket of the proxy, though its connection is tracked no more";
        rules.push(tcp(intent, [for_proxy], Action::Accept, why));
        rules.extend(handshake(intent));
    }
    rules.extend(past::pass_in(intent));
    rules.extend(intent.families().all().iter().filter_map(|&family| probe(intent, family)));
    rules.extend(exceptions::received(intent));
    rules.push(tcp(intent, [], Action::Reset, "it would reach the application uncaptured"));
    guarded(intent, rules)
}

/// A socket shows its mark when its handshake has ended ([`Match::SocketMark`]). What another plan, or Istio's rules, have brought to the
/// proxy by TPROXY may end its handshake under this plan, and conntrack has seen it begin.
fn handshake(intent: &Intent) -> Option<Rule> {
    let why = "it ends the handshake of a connection that TPROXY has brought to the proxy";
    let rule = || tcp(intent, [Match::Established, Match::Transparent], Action::Accept, why);
    let is_let_in = intercepts_incoming(intent) || intent.outbound_method() == Method::Tproxy;
    (!is_let_in).then(rule)
}

/// What was routed back here and no socket of the proxy has. The kernel itself answers nobody in the name of a foreign address.
fn diverted(intent: &Intent) -> Vec<Rule> {
    if intent.outbound_method() == Method::Redirect {
        return Vec::new();
    }
    let connection = intent.marks().connection();
    let lost = [
        Match::Incoming(Test::Is(InterfaceName::loopback())),
        Match::PacketMark(Test::Is(connection)),
        Match::ConnectionMark(Test::IsNot(connection)),
    ];
    let why = "captured: a socket of the proxy has it";
    vec![
        tcp(intent, [Match::Transparent], Action::Accept, why),
        tcp(intent, lost, Action::Reset, "captured, and nobody listens for it"),
    ]
}

fn probe(intent: &Intent, family: Family) -> Option<Rule> {
    let from = Match::Source(Test::Is(intent.probe_addresses()?.of(family).into()));
    Some(tcp(intent, [from], Action::Accept, "health probes of the node go straight to the application"))
}

/// What passes through: with capture, nothing that is TCP is left of what comes in.
pub(super) fn forward(intent: &Intent) -> Vec<Rule> {
    let why = "it would pass through the pod uncaptured";
    let rules = match intent.inbound() {
        Inbound::Captured => {
            let mut rules = exceptions::received(intent);
            rules.extend(past::pass_in(intent));
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
            let mut rules = exceptions::received(intent);
            rules.extend(intent.virtual_interfaces().iter().map(from));
            if intent.virtual_interfaces().is_empty() { Vec::new() } else { rules }
        }
    };
    guarded(intent, rules)
}

/// Late packets for the proxy's own connections are not captured anew.
pub(super) fn late_for_proxy(intent: &Intent) -> Vec<Rule> {
    if *intent.proxy() != ProxyIdentity::Mark {
        return Vec::new();
    }
    // What opens a connection may find a listener of the proxy, which has its mark as well.
    let late = [Match::SocketMark(Test::Is(intent.marks().proxy())), Match::TcpFlags(TcpFlags::Acknowledges)];
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
