//! Probes: how the node's health probes come to have an address of their own. For the node's namespace.

use crate::chain::{Chain, ChainKind, Hook};
use crate::family::Family;
use crate::id_range::IdRange;
use crate::probe_exemption::{ProbeExemption, Prober};
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::set::{Set, SetKind};

use super::proxy_sockets::ProxySockets;
use super::{MANGLE, Plan, chain};

/// The name of the table in the node's namespace.
const HOST_TABLE: &str = "inpod-host";

/// One before `NF_IP_PRI_NAT_SRC` (`linux/netfilter_ipv4.h`), where network plugins masquerade: the first that decides on a
/// connection's source is the one that counts.
const BEFORE_NAT_SRC: i32 = 99;

/// The set of captured pods' addresses.
pub(crate) fn pods(family: Family) -> Option<Set> {
    let name = match family {
        Family::V4 => "pods4",
        Family::V6 => "pods6",
    };
    Set::new(name, SetKind::Addresses(family))
}

impl Plan {
    pub(crate) fn of_probe_exemption(exemption: &ProbeExemption) -> Self {
        let chains = [
            chain("mangle-output", ChainKind::Filter, Hook::Output, MANGLE, remember(exemption)),
            chain("nat-postrouting", ChainKind::Nat, Hook::Postrouting, BEFORE_NAT_SRC, translate(exemption)),
        ];
        let chains: Vec<Chain> = chains.into_iter().filter(|chain| !chain.rules.is_empty()).collect();
        Self {
            table: HOST_TABLE,
            tcp_timeouts: None,
            sets: exemption.sets(),
            chains,
            policy_rules: Vec::new(),
            routes: Vec::new(),
            routing_tables: Vec::new(),
            proxy_sockets: ProxySockets::none(),
        }
    }
}

/// Which group's socket sends it cannot be asked where the source is changed.
fn remember(exemption: &ProbeExemption) -> Vec<Rule> {
    let Prober::Cgroup { cgroup, mark } = &exemption.prober else { return Vec::new() };
    let why = "a process of this control group connects to a captured pod: remember that it is a probe";
    let rule = |set: Set| {
        let matches = to_pod(set).into_iter().chain([Match::Cgroup(Test::Is(cgroup.clone()))]);
        Rule::new(matches, Action::SetConnectionMark(*mark), why)
    };
    exemption.sets().into_iter().map(rule).collect()
}

fn translate(exemption: &ProbeExemption) -> Vec<Rule> {
    let shown: Vec<Match> = match &exemption.prober {
        // Whoever it is: only what a socket here sends has an owner.
        Prober::AnySocket => vec![Match::User(Test::Is(IdRange::ANY))],
        Prober::Users(users) => users.iter().map(|users| Match::User(Test::Is(*users))).collect(),
        Prober::Cgroup { mark, .. } => vec![Match::ConnectionMark(Test::Is(*mark))],
    };
    let mut rules = Vec::new();
    for set in exemption.sets() {
        let source = exemption.addresses.of(set.family());
        rules.extend(shown.iter().map(|shown| {
            let matches = to_pod(set.clone()).into_iter().chain([shown.clone()]);
            let why = "a health probe for a captured pod takes the address by which the pod knows it";
            Rule::new(matches, Action::SourceNat(source), why)
        }));
    }
    rules
}

fn to_pod(pods: Set) -> [Match; 2] {
    [Match::Protocol(Protocol::Tcp), Match::DestinationIn(pods)]
}
