//! Replies: how the application's answers find the proxy.
//!
//! The proxy connects to the application with the address of the client as its own, so the application answers to
//! an address that is not here. The chain of causes, each link one rule:
//!
//! ```text
//!   proxy sends, mark P  --lo-->  mangle-prerouting: mark P, so the CONNECTION takes mark C
//!   application answers  ------>  mangle-output: connection has mark C, so the PACKET takes mark C
//!                                 policy rule: mark C, so look up the table of capture
//!                                 route: everything is local, by lo  ---->  the proxy's socket
//! ```

use crate::family::Family;
use crate::intent::{Guard, Intent, Method, ProxyIdentity};
use crate::interface::InterfaceName;
use crate::routing::{PolicyRule, Route, Way};
use crate::rule::{Action, Match, Rule, Test};

use super::captured_families;

/// Connections that the proxy opens to the application are known by their mark, also when inbound capture is
/// bypassed: tunnels end here then, too.
pub(super) fn tag_connection(intent: &Intent) -> Vec<Rule> {
    if !keeps_address_of_client(intent) {
        return Vec::new();
    }
    let from_proxy = Match::PacketMark(Test::Is(intent.marks().proxy()));
    vec![Rule::new(
        [from_proxy].into_iter().chain(by_loopback(intent)).chain(captured_families(intent)),
        Action::SetConnectionMark(intent.marks().connection()),
        "the proxy opened this connection: remember that, for its replies",
    )]
}

/// What the proxy sends comes back by loopback only. Where each packet that comes in is asked for the mark of its socket, others have
/// it as well: iptables asks by giving it to the packet, and rules that come after its own, of another backend, see that.
fn by_loopback(intent: &Intent) -> Option<Match> {
    let is_asked = intent.inbound_method() == Method::Tproxy && intent.guard() == Guard::On;
    is_asked.then(|| Match::Incoming(Test::Is(InterfaceName::loopback())))
}

/// Replies on such a connection take the mark by which they are routed. Since the condition has found the mark's
/// value under its mask on the connection, setting that value is restoring it: the bits outside the mask, which
/// are someone else's, stay.
pub(super) fn steer_back(intent: &Intent) -> Vec<Rule> {
    if !keeps_address_of_client(intent) {
        return Vec::new();
    }
    let connection = intent.marks().connection();
    let reply = Match::ConnectionMark(Test::Is(connection));
    vec![Rule::new(
        [reply].into_iter().chain(captured_families(intent)),
        Action::SetPacketMark(connection),
        "a reply on a connection that the proxy opened is routed to the proxy",
    )]
}

/// Packets with the mark are routed by the table of capture.
pub(super) fn policy_rules(intent: &Intent) -> Vec<PolicyRule> {
    let routing = intent.reply_routing();
    let rule = |&family: &Family| PolicyRule {
        family,
        mark: intent.marks().connection(),
        priority: routing.priority(),
        table: routing.table(),
    };
    routed_families(intent).iter().map(rule).collect()
}

/// In that table every address is local.
pub(super) fn routes(intent: &Intent) -> Vec<Route> {
    let table = intent.reply_routing().table();
    routed_families(intent).iter().map(|&family| Route { family, table, way: Way::Here }).collect()
}

/// A proxy in the pod delivers from an address of its own, to which answers find their way.
fn keeps_address_of_client(intent: &Intent) -> bool {
    *intent.proxy() == ProxyIdentity::Mark
}

/// Whether anything takes the mark by which it is routed back.
pub(super) fn are_routed(intent: &Intent) -> bool {
    keeps_address_of_client(intent)
        || [intent.inbound_method(), intent.outbound_method()].contains(&Method::Tproxy)
}

fn routed_families(intent: &Intent) -> &'static [Family] {
    if are_routed(intent) { intent.families().all() } else { &[] }
}
