//! Holding: for a moment nobody but the proxy opens a TCP connection, so that all that are open can be told. What would open one is
//! sent again (RFC 9293, section 3.8.1), and then meets what comes after.

use crate::chain::{Chain, ChainKind, Hook};
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::tcp_flags::TcpFlags;

use super::proxy_sockets::ProxySockets;
use super::{Plan, RAW, chain};

/// The name of the table. It lives as long as who has made it.
const HOLD_TABLE: &str = "inpod-hold";

/// Before everything of a plan.
const FIRST: i32 = RAW - 1;

impl Plan {
    /// What holds back who opens a connection in a namespace that has this plan.
    pub(crate) fn holding(&self) -> Self {
        let hold = |name, hook| chain(name, ChainKind::Filter, hook, FIRST, vec![self.hold()]);
        let chains: Vec<Chain> =
            vec![hold("hold-prerouting", Hook::Prerouting), hold("hold-output", Hook::Output)];
        Self {
            table: HOLD_TABLE,
            tcp_timeouts: None,
            sets: Vec::new(),
            chains,
            policy_rules: Vec::new(),
            routes: Vec::new(),
            routing_tables: Vec::new(),
            proxy_sockets: ProxySockets::none(),
        }
    }

    fn hold(&self) -> Rule {
        let opens = [Match::Protocol(Protocol::Tcp), Match::TcpFlags(TcpFlags::Opens)];
        let not_proxys = self.proxy_sockets.mark.map(|mark| Match::PacketMark(Test::IsNot(mark)));
        let why = "for a moment: what opens a connection is to be sent again";
        Rule::new(opens.into_iter().chain(not_proxys), Action::Drop, why)
    }
}
