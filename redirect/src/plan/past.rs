//! Past: connections that go past capture because of who opened them, or because only others are included.
//!
//! Not every packet of a connection shows that. Only one of a socket that is still open has an owner: what the kernel sends for
//! one that is closed already, or not yet accepted, has none. And a port that is not included may be that of a captured
//! connection at its other end. So it is the connection that remembers, from its first packet on, by the proxy's mark:
//!
//! ```text
//!   first packet  ------>  mangle-output, mangle-prerouting: whose, or to where: the CONNECTION takes mark P
//!                          every later chain: a connection with mark P goes on as it is
//! ```

use crate::exception::Exception;
use crate::family::Family;
use crate::inclusion::Inclusion;
use crate::intent::{DnsCapture, Intent, ProxyIdentity};
use crate::interface::InterfaceName;
use crate::owner::Owner;
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::tcp_flags::TcpFlags;

use super::{captured_families, dns};

/// What is sent from here.
pub(super) fn sent(intent: &Intent) -> Vec<Rule> {
    let mut rules = Vec::new();
    for owner in proxys(intent) {
        rules.push(remember(
            intent,
            vec![owner.is()],
            "the proxy may send to anybody: its connections are let past",
        ));
    }
    for exception in intent.exceptions() {
        if let Exception::SentBy(owner) = exception {
            rules.push(remember(intent, vec![owner.is()], "excepted: what this owner sends is let past"));
        }
    }
    let others: Vec<Match> = intent.inclusions().iter().filter_map(Inclusion::not_sent_by).collect();
    if !others.is_empty() {
        rules.push(remember(intent, others, "what others than the included owners send is let past"));
    }
    if intent.inclusions().iter().any(Inclusion::is_sent_to) {
        rules.extend(intent.families().all().iter().map(|&family| sent_elsewhere(intent, family)));
    }
    rules
}

fn sent_elsewhere(intent: &Intent, family: Family) -> Rule {
    let mut matches = opens();
    matches.push(Match::Family(family));
    if intent.dns() != DnsCapture::Off {
        matches.push(Match::DestinationPort(Test::IsNot(dns::PORT.into())));
    }
    let can_show = |inclusion: &&Inclusion| inclusion.family().is_none_or(|its| its == family);
    matches.extend(intent.inclusions().iter().filter(can_show).filter_map(Inclusion::not_sent_to));
    remember(intent, matches, "what is opened to elsewhere than what is included is let past")
}

/// What comes for the application.
pub(super) fn received(intent: &Intent) -> Vec<Rule> {
    let elsewhere: Vec<Match> = intent.inclusions().iter().filter_map(Inclusion::not_received).collect();
    if elsewhere.is_empty() {
        return Vec::new();
    }
    let mut matches = opens();
    matches.push(Match::Incoming(Test::IsNot(InterfaceName::loopback())));
    matches.extend(elsewhere);
    vec![remember(intent, matches, "what comes for other ports than those included is let past")]
}

/// What goes out on a connection that is let past, if any is.
pub(super) fn pass_out(intent: &Intent) -> Vec<Rule> {
    if sent(intent).is_empty() { pass_in(intent) } else { pass(intent) }
}

/// What comes in on one.
pub(super) fn pass_in(intent: &Intent) -> Vec<Rule> {
    if received(intent).is_empty() { Vec::new() } else { pass(intent) }
}

fn pass(intent: &Intent) -> Vec<Rule> {
    let is_let_past = Match::ConnectionMark(Test::Is(intent.marks().proxy()));
    let why = "this connection is let past capture: the rule that has remembered it says why";
    vec![Rule::new([is_let_past].into_iter().chain(captured_families(intent)), Action::Accept, why)]
}

/// The owners by which the proxy is known, if it is known by them.
pub(super) fn proxys(intent: &Intent) -> &[Owner] {
    match intent.proxy() {
        ProxyIdentity::Mark => &[],
        ProxyIdentity::Owners(owners) => owners,
    }
}

fn opens() -> Vec<Match> {
    vec![Match::Protocol(Protocol::Tcp), Match::TcpFlags(TcpFlags::Opens)]
}

fn remember(intent: &Intent, mut matches: Vec<Match>, why: &'static str) -> Rule {
    let marks = intent.marks();
    // What the application answers to the proxy has a mark already, by which it finds it.
    matches.push(Match::ConnectionMark(Test::IsNot(marks.connection())));
    if !matches.iter().any(|condition| matches!(condition, Match::Family(_))) {
        matches.extend(captured_families(intent));
    }
    Rule::new(matches, Action::SetConnectionMark(marks.proxy()), why)
}
