//! Node level: capture in the node's own namespace, by marks and routes into a pair of links; or, with the proxy there as well, by TPROXY.
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

use crate::chain::{ChainKind, Hook};
use crate::family::Family;
use crate::intent::Ports;
use crate::interface::InterfaceName;
use crate::mark::{Mark, Marks};
use crate::node_level::{Leg, NodeLevel, NodeProxy};
use crate::routing::{PolicyRule, Route, Way};
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::set::Set;

use super::proxy_sockets::ProxySockets;
use super::{FILTER, MANGLE, Plan, chain};

/// The name of the table in the node's namespace.
const NODE_TABLE: &str = "inpod-node";

impl Plan {
    pub(crate) fn of_node_level(node: &NodeLevel) -> Self {
        let families = node.families();
        let (steer, guard, policy_rules, routes): (_, _, Vec<PolicyRule>, Vec<Route>) = match node.proxy() {
            NodeProxy::Behind { outbound, inbound } => {
                let legs = || [outbound, inbound].into_iter();
                (
                    steer(&node.sets(), outbound, inbound),
                    [outbound, inbound].map(|leg| astray(leg.mark, &leg.interface)).into(),
                    legs().flat_map(|leg| families.iter().map(|&family| policy_rule(leg, family))).collect(),
                    legs().flat_map(|leg| families.iter().filter_map(|&family| route(leg, family))).collect(),
                )
            }
            &NodeProxy::Here { ports, marks, routing, .. } => {
                let (mark, table, priority) = (marks.connection(), routing.table(), routing.priority());
                let rule = |&family: &Family| PolicyRule { family, mark, priority, table };
                (
                    intercept(&node.sets(), ports, marks),
                    vec![astray(mark, &InterfaceName::loopback())],
                    families.iter().map(rule).collect(),
                    families.iter().map(|&family| Route { family, table, way: Way::Here }).collect(),
                )
            }
        };
        let chains = [
            chain("mangle-prerouting", ChainKind::Filter, Hook::Prerouting, MANGLE, steer),
            chain("guard-postrouting", ChainKind::Filter, Hook::Postrouting, FILTER, guard),
        ];
        let mut routing_tables: Vec<u32> = policy_rules.iter().map(|rule| rule.table).collect();
        routing_tables.sort_unstable();
        routing_tables.dedup();
        Self {
            table: NODE_TABLE,
            tcp_timeouts: None,
            sets: node.sets(),
            chains: chains.into(),
            policy_rules,
            routes,
            routing_tables,
            proxy_sockets: ProxySockets::none(),
        }
    }
}

/// For a proxy in this namespace.
fn intercept(sets: &[Set], ports: Ports, marks: Marks) -> Vec<Rule> {
    let tcp = || Match::Protocol(Protocol::Tcp);
    let mut rules = vec![
        Rule::new(
            [tcp(), Match::Transparent, Match::SocketMark(Test::Is(marks.proxy()))],
            Action::SetPacketMark(marks.connection()),
            "it is for a connection of the proxy, whatever its addresses",
        ),
        Rule::new(
            [tcp(), Match::PacketMark(Test::Is(marks.connection()))],
            Action::Accept,
            "it is on its way to the proxy",
        ),
        Rule::new([tcp(), Match::Reply], Action::Accept, OLDER),
    ];
    let mut take = |matches: Vec<Match>, port, why| {
        rules.push(Rule::new(matches.clone(), Action::Intercept(port, marks.connection()), why));
        rules.push(Rule::new(matches, Action::Drop, "nobody listens where this should go: it goes nowhere"));
    };
    for pods in sets {
        let from = vec![tcp(), Match::SourceIn(pods.clone())];
        take(from, ports.outbound, "what a captured pod sends goes to the proxy");
    }
    for pods in sets {
        let to = || vec![tcp(), Match::DestinationIn(pods.clone())];
        let hbone = Match::DestinationPort(Test::Is(ports.inbound_hbone.into()));
        let tunnels = to().into_iter().chain([hbone]).collect();
        take(tunnels, ports.inbound_hbone, "a tunnel for a captured pod goes to the proxy");
        take(to(), ports.inbound_plaintext, "what comes for a captured pod goes to the proxy");
    }
    rules
}

const OLDER: &str =
    "an answer to a socket of the node, such as a health probe's, or on a connection older than capture";

/// For a proxy behind links.
fn steer(sets: &[Set], outbound: &Leg, inbound: &Leg) -> Vec<Rule> {
    let mut rules = Vec::new();
    let by = |leg: &Leg| Match::Incoming(Test::Is(leg.interface.clone()));
    for pods in sets.iter().cloned() {
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
    for pods in sets.iter().cloned() {
        let why = "a reply on a connection that the proxy opened is routed to the proxy";
        rules.push(Rule::new(from(pods).into_iter().chain([is_proxys()]), inbound.set_mark(), why));
    }
    let why = "it is on its way to the proxy";
    rules.push(Rule::new([Match::PacketMark(Test::Is(inbound.mark))], Action::Accept, why));
    rules.push(Rule::new([Match::Protocol(Protocol::Tcp), Match::Reply], Action::Accept, OLDER));
    for pods in sets.iter().cloned() {
        let why = "what a captured pod sends is routed to the proxy";
        rules.push(Rule::new(from(pods), outbound.set_mark(), why));
    }
    let why = "captured as what its sender sends: the proxy finds the other pod itself";
    rules.push(Rule::new([Match::PacketMark(Test::Is(outbound.mark))], Action::Accept, why));
    for pods in sets.iter().cloned() {
        let why = "what comes for a captured pod is routed to the proxy";
        rules.push(Rule::new(to(pods), inbound.set_mark(), why));
    }
    rules
}

fn astray(mark: Mark, way: &InterfaceName) -> Rule {
    let matches = [
        Match::Protocol(Protocol::Tcp),
        Match::PacketMark(Test::Is(mark)),
        Match::Outgoing(Test::IsNot(way.clone())),
    ];
    let why = "captured, but routing sends it elsewhere: the link, the policy rule or its route is missing";
    Rule::new(matches, Action::Drop, why)
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
