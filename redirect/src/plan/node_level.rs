//! Node level: capture in the node's own namespace, by marks and routes into a pair of links.
//!
//! ```text
//!   mangle-prerouting, for each packet that comes in, in order:
//!     by a link, for a pod             the CONNECTION takes mark I: the proxy has opened it
//!     by a link                        it goes on: it is the proxy's
//!     from a pod, connection mark I    the PACKET takes mark I: an answer to the proxy
//!     an answer                        it goes on: the node's own, or older than capture
//!     from a pod                       the packet takes mark O: captured, outbound
//!     for a pod                        the packet takes mark I: captured, inbound
//!   guard-postrouting:
//!     mark O or I, and not by its link   it goes nowhere: the link or its route is missing
//! ```

use crate::chain::{Chain, ChainKind, Hook};
use crate::family::Family;
use crate::node_level::{Leg, NodeLevel};
use crate::routing::{PolicyRule, Route, Way};
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::set::Set;

use super::proxy_sockets::ProxySockets;
use super::{FILTER, MANGLE, Plan, chain};

/// The name of the table in the node's namespace.
const NODE_TABLE: &str = "inpod-node";

impl Plan {
    pub(crate) fn of_node_level(node: &NodeLevel) -> Self {
        let chains = [
            chain("mangle-prerouting", ChainKind::Filter, Hook::Prerouting, MANGLE, steer(node)),
            chain("guard-postrouting", ChainKind::Filter, Hook::Postrouting, FILTER, guard(node)),
        ];
        let legs = || [node.outbound(), node.inbound()].into_iter();
        let families = node.families();
        Self {
            table: NODE_TABLE,
            tcp_timeouts: None,
            sets: node.sets(),
            chains: chains.into_iter().filter(|chain: &Chain| !chain.rules.is_empty()).collect(),
            policy_rules: legs()
                .flat_map(|leg| families.iter().map(|&family| policy_rule(leg, family)))
                .collect(),
            routes: legs().flat_map(|leg| families.iter().filter_map(|&family| route(leg, family))).collect(),
            routing_tables: legs().map(|leg| leg.routing.table()).collect(),
            proxy_sockets: ProxySockets::none(),
        }
    }
}

fn steer(node: &NodeLevel) -> Vec<Rule> {
    let (outbound, inbound) = (node.outbound(), node.inbound());
    let mut rules = Vec::new();
    let by = |leg: &Leg| Match::Incoming(Test::Is(leg.interface.clone()));
    for pods in node.sets() {
        let why = "the proxy has opened this connection to a pod: remember that, for its replies";
        let matches = [Match::Protocol(Protocol::Tcp), by(inbound), Match::DestinationIn(pods)];
        rules.push(Rule::new(matches, Action::SetConnectionMark(inbound.mark), why));
    }
    for leg in [inbound, outbound] {
        let why = "it comes from the proxy: it is not captured anew";
        rules.push(Rule::new([by(leg)], Action::Accept, why));
    }
    let is_proxys = || Match::ConnectionMark(Test::Is(inbound.mark));
    let from = |pods: Set| [Match::Protocol(Protocol::Tcp), Match::SourceIn(pods)];
    let to = |pods: Set| [Match::Protocol(Protocol::Tcp), Match::DestinationIn(pods)];
    for pods in node.sets() {
        let why = "a reply on a connection that the proxy opened is routed to the proxy";
        rules.push(Rule::new(from(pods).into_iter().chain([is_proxys()]), inbound.set_mark(), why));
    }
    let why = "it is on its way to the proxy";
    rules.push(Rule::new([Match::PacketMark(Test::Is(inbound.mark))], Action::Accept, why));
    let why =
        "an answer to a socket of the node, such as a health probe's, or on a connection older than capture";
    rules.push(Rule::new([Match::Protocol(Protocol::Tcp), Match::Reply], Action::Accept, why));
    for pods in node.sets() {
        let why = "what a captured pod sends is routed to the proxy";
        rules.push(Rule::new(from(pods), outbound.set_mark(), why));
    }
    let why = "captured as what its sender sends: the proxy finds the other pod itself";
    rules.push(Rule::new([Match::PacketMark(Test::Is(outbound.mark))], Action::Accept, why));
    for pods in node.sets() {
        let why = "what comes for a captured pod is routed to the proxy";
        rules.push(Rule::new(to(pods), inbound.set_mark(), why));
    }
    rules
}

fn guard(node: &NodeLevel) -> Vec<Rule> {
    let rule = |leg: &Leg| {
        let astray = [
            Match::Protocol(Protocol::Tcp),
            Match::PacketMark(Test::Is(leg.mark)),
            Match::Outgoing(Test::IsNot(leg.interface.clone())),
        ];
        let why =
            "captured, but routing sends it elsewhere: the link, the policy rule or its route is missing";
        Rule::new(astray, Action::Drop, why)
    };
    [node.outbound(), node.inbound()].map(rule).into()
}

fn policy_rule(leg: &Leg, family: Family) -> PolicyRule {
    let (table, priority) = (leg.routing.table(), leg.routing.priority());
    PolicyRule { family, mark: leg.mark, priority, table }
}

fn route(leg: &Leg, family: Family) -> Option<Route> {
    let gateway = leg.gateways.of(family)?;
    let way = Way::By { interface: leg.interface.clone(), gateway };
    Some(Route { family, table: leg.routing.table(), way })
}

impl Leg {
    fn set_mark(&self) -> Action {
        Action::SetPacketMark(self.mark)
    }
}
