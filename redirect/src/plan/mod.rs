//! Plan: the rules and routes that carry an intent out, each with its reason. This folder reads as the
//! specification of capture.
//!
//! All chains are in one `inet` table of our own, [`TABLE`], which sees both families. A table of our own can be
//! replaced and removed whole, in one transaction, without touching what others have set up; and one table, so
//! that no part of capture can be there without the rest. Chains of other tables at the same hooks see the
//! packets as well, so this lives beside rules of Kubernetes network plugins and of Istio itself.
//!
//! Where these rules differ in form from those of Istio's ambient mode, they do not in effect:
//!
//! * Istio's chains hold one jump to a chain of its own; ours are the table's own and hold the rules.
//! * Istio copies the whole connection mark to the packet of a reply; here only the bits under the mask are set
//!   ([`replies`]), so that other users of packet marks keep theirs.
//! * Istio has a second rule for each virtual interface that no packet reaches; it is left out. The first excepts
//!   the proxy's mark here, as every redirect does.
//! * With IPv4 only, no rule touches an IPv6 packet.
//! * What would escape capture is refused ([`guard`]), unless the intent has [`Guard::Off`](crate::Guard::Off).

pub(crate) mod capturing;
mod dns;
mod draining;
mod exceptions;
mod guard;
mod holding;
mod inbound;
mod keeping;
mod node_level;
mod opening;
mod outbound;
mod past;
mod probes;
mod proxy_sockets;
mod replies;
mod sidecar;

use crate::chain::{Attachment, Chain, ChainKind, Hook, Policy};
use crate::family::Family;
use crate::intent::{Families, Guard, Intent, Method, ProxyIdentity};
use crate::port::Port;
use crate::routing::{PolicyRule, Route};
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::set::Set;
use crate::tcp_timeouts::TcpTimeouts;

pub(crate) use keeping::is_kept;
pub(crate) use opening::Before;
pub(crate) use probes::pods;
use proxy_sockets::ProxySockets;

/// The name of the table that holds all chains of capture, of nftables family `inet`.
pub const TABLE: &str = "inpod";

// Priorities: `linux/netfilter_ipv4.h`, and Istio's choice for the same chains.
/// `NF_IP_PRI_RAW`: before conntrack (-200), which is to know the zone.
pub(crate) const RAW: i32 = -300;
/// `NF_IP_PRI_MANGLE`: after conntrack, before destination NAT.
const MANGLE: i32 = -150;
/// `NF_IP_PRI_NAT_DST`.
const NAT_DST: i32 = -100;
/// `NF_IP_PRI_FILTER`: after destination NAT, so that what is translated shows where it goes.
const FILTER: i32 = 0;

/// The rules and routes that carry an intent out, each with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    table: &'static str,
    tcp_timeouts: Option<TcpTimeouts>,
    sets: Vec<Set>,
    chains: Vec<Chain>,
    policy_rules: Vec<PolicyRule>,
    routes: Vec<Route>,
    routing_tables: Vec<u32>,
    proxy_sockets: ProxySockets,
}

impl Plan {
    /// The plan that carries this intent out. The same intent always gives the same plan.
    pub fn new(intent: &Intent) -> Self {
        let chains = [
            chain("raw-prerouting", ChainKind::Filter, Hook::Prerouting, RAW, dns::zone_of_answers(intent)),
            chain("raw-output", ChainKind::Filter, Hook::Output, RAW, dns::zone_of_queries(intent)),
            chain(
                "mangle-prerouting",
                ChainKind::Filter,
                Hook::Prerouting,
                MANGLE,
                mangle_prerouting(intent),
            ),
            chain("mangle-output", ChainKind::Route, Hook::Output, MANGLE, mangle_output(intent)),
            chain("nat-prerouting", ChainKind::Nat, Hook::Prerouting, NAT_DST, inbound::redirect(intent)),
            chain("nat-output", ChainKind::Nat, Hook::Output, NAT_DST, outbound::redirect(intent)),
            chain("guard-input", ChainKind::Filter, Hook::Input, FILTER, guard::input(intent)),
            chain("guard-forward", ChainKind::Filter, Hook::Forward, FILTER, guard::forward(intent)),
            chain("guard-output", ChainKind::Filter, Hook::Output, FILTER, guard::output(intent)),
            chain(
                "guard-postrouting",
                ChainKind::Filter,
                Hook::Postrouting,
                FILTER,
                guard::postrouting(intent),
            ),
        ];
        Self {
            table: TABLE,
            tcp_timeouts: Some(TcpTimeouts::CAPTURED),
            sets: Vec::new(),
            chains: chains.into_iter().filter(|chain| !chain.rules.is_empty()).collect(),
            policy_rules: replies::policy_rules(intent),
            routes: replies::routes(intent),
            routing_tables: vec![intent.reply_routing().table()],
            proxy_sockets: ProxySockets::new(intent),
        }
    }

    /// The name of the plan's table, of nftables family `inet`. One table is replaced and removed as one.
    pub fn table(&self) -> &'static str {
        self.table
    }

    /// How long conntrack is to remember connections, if the plan says it.
    pub fn tcp_timeouts(&self) -> Option<TcpTimeouts> {
        self.tcp_timeouts
    }

    /// The sets that the table declares, for rules to look into. What is in them is not part of the plan.
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// The chains of the table, in the order in which a packet could meet them.
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// The rules that pick a routing table.
    pub fn policy_rules(&self) -> &[PolicyRule] {
        &self.policy_rules
    }

    /// The routing tables that the plan takes for itself.
    pub fn routing_tables(&self) -> &[u32] {
        &self.routing_tables
    }

    /// The plan for a kernel that has no timeouts for some connections only.
    pub(crate) fn without_timeouts(&self) -> Self {
        let mut plan =
            self.with_rules(|_, rule| (rule.action() != Action::SetTimeouts).then(|| rule.clone()));
        plan.tcp_timeouts = None;
        plan
    }

    /// What of the plan is about packets of this family.
    pub(crate) fn of_family(&self, family: Family) -> Self {
        let is_about = |rule: &Rule| rule.family().is_none_or(|its| its == family);
        let mut plan = self.with_rules(|_, rule| is_about(rule).then(|| rule.clone()));
        plan.policy_rules.retain(|rule| rule.family == family);
        plan.routes.retain(|route| route.family == family);
        plan
    }

    /// The plan with each rule as this makes it, or without it; chains without rules are left out.
    pub(crate) fn with_rules(&self, make: impl Fn(&Chain, &Rule) -> Option<Rule>) -> Self {
        let mut plan = self.clone();
        for chain in &mut plan.chains {
            let made = chain.rules.iter().filter_map(|rule| make(chain, rule)).collect();
            chain.rules = made;
        }
        plan.chains.retain(|chain| !chain.rules.is_empty());
        plan
    }

    /// The plan with other chains.
    pub(crate) fn with_chains(&self, chains: Vec<Chain>) -> Self {
        Self { chains, ..self.clone() }
    }

    /// The plan's rules alone.
    pub(crate) fn without_routing(mut self) -> Self {
        self.policy_rules.clear();
        self.routes.clear();
        self
    }

    /// By what the proxy's sockets are known.
    pub(crate) fn proxy_sockets(&self) -> &ProxySockets {
        &self.proxy_sockets
    }

    /// The routes.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

fn chain(name: &'static str, kind: ChainKind, hook: Hook, priority: i32, all: Vec<Rule>) -> Chain {
    // An option may repeat what another says already.
    let mut rules: Vec<Rule> = Vec::new();
    for rule in all {
        if !rules.iter().any(|earlier| earlier.does_the_same_as(&rule)) {
            rules.push(rule);
        }
    }
    // Accept: capture is done by what the rules say, and traffic of other protocols is not ours to stop.
    Chain {
        name: name.into(),
        attachment: Attachment { kind, hook, priority, policy: Policy::Accept },
        rules,
    }
}

/// The condition that keeps a rule without addresses to the families of the intent: none when that is both.
fn captured_families(intent: &Intent) -> Option<Match> {
    match intent.families() {
        Families::V4 => Some(Match::Family(Family::V4)),
        Families::V4AndV6 => None,
    }
}

fn mangle_prerouting(intent: &Intent) -> Vec<Rule> {
    [
        remember(intent),
        replies::tag_connection(intent),
        past::received(intent),
        outbound::diverted(intent),
        inbound::intercept(intent),
    ]
    .concat()
}

fn mangle_output(intent: &Intent) -> Vec<Rule> {
    [remember(intent), replies::steer_back(intent), past::sent(intent), outbound::divert(intent)].concat()
}

/// How long a connection is remembered is said right behind conntrack, on its first packet.
fn remember(intent: &Intent) -> Vec<Rule> {
    let why = "conntrack is to know the connection for as long as its sockets live, whatever the sysctls say";
    vec![tcp(intent, [], Action::SetTimeouts, why)]
}

/// The rules that bring packets to a port of the proxy.
fn to_proxy(intent: &Intent, method: Method, matches: &[Match], port: Port, why: &'static str) -> Vec<Rule> {
    let rule = |action, why| Rule::new(matches.iter().cloned(), action, why);
    match (method, intent.guard()) {
        (Method::Redirect, _) => vec![rule(Action::Redirect(port), why)],
        // Where nobody listens the packet goes on, and is refused when it would arrive.
        (Method::Tproxy, Guard::On) => vec![rule(Action::Intercept(port, intent.marks().connection()), why)],
        (Method::Tproxy, Guard::Off) => vec![
            rule(Action::Intercept(port, intent.marks().connection()), why),
            rule(Action::Drop, "nobody listens where this should go: it goes nowhere"),
        ],
    }
}

/// A rule about TCP of the captured families.
fn tcp<const N: usize>(intent: &Intent, matches: [Match; N], action: Action, why: &'static str) -> Rule {
    let has_family =
        matches.iter().any(|condition| matches!(condition, Match::Source(_) | Match::Destination(_)));
    let family = if has_family { None } else { captured_families(intent) };
    Rule::new(matches.into_iter().chain([Match::Protocol(Protocol::Tcp)]).chain(family), action, why)
}

/// The condition without which the proxy would capture what it sends itself. One that is known by its owner is let past
/// ([`past`]) instead.
fn not_from_proxy(intent: &Intent) -> Option<Match> {
    match intent.proxy() {
        ProxyIdentity::Mark => Some(Match::PacketMark(Test::IsNot(intent.marks().proxy()))),
        ProxyIdentity::Owners(_) => None,
    }
}

/// The condition that keeps the application's talk with itself out of a rule.
fn not_to_loopback(family: Family) -> Match {
    Match::Destination(Test::IsNot(family.loopback().into()))
}

fn to_loopback(family: Family) -> Match {
    Match::Destination(Test::Is(family.loopback().into()))
}

#[cfg(test)]
pub(crate) mod tests;
