//! Translate: what the kernel and the proxy say, as the view has it.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use proxy_core::agent::{Inspection, Listener, Met, Walk};
use proxy_core::explain::{self, Account, Addressee, Applied, Cause, Fate, Going, Judged, Party};
use proxy_core::policy::{Action, Mode};
use proxy_core::workload::Protocol;
use redirect::explain as rules;
use redirect::{Ports, Verdict};

use super::question::Connection;
use super::view::{
    Beyond, Connections, Decision, End, Inbound, Kind, No, Outbound, Packet, Policy, Proxy, Route, Rule,
    Rules, Socket, Told, Tunnel, Why, Workload,
};
use crate::view::PodView;

/// Most differences of rules that are told.
const MOST_DIFFERENCES: usize = 32;

impl Why {
    /// All but what is concluded from it.
    pub(super) fn new(
        pod: PodView,
        connection: Connection,
        addresses: Vec<IpAddr>,
        (ports, kinds): (Ports, &[Kind]),
        inspection: Inspection,
        proxy: Proxy,
    ) -> Self {
        let Connection { way, source, destination } = connection;
        let Inspection { rules, walks, application } = inspection;
        let packet = |(kind, walk): (&Kind, Walk)| Packet::new(*kind, walk, ports);
        Self {
            pod,
            way,
            source,
            destination,
            addresses,
            rules: rules.into(),
            packets: kinds.iter().zip(walks).map(packet).collect(),
            application: application.into_iter().map(Into::into).collect(),
            proxy,
            verdict: String::new(),
            differs: Vec::new(),
        }
    }
}

impl From<Verdict> for Rules {
    fn from(verdict: Verdict) -> Self {
        let all = match verdict {
            Verdict::Same => Vec::new(),
            Verdict::Differs(differences) => differences,
        };
        let differences: Vec<String> = all.iter().take(MOST_DIFFERENCES).map(ToString::to_string).collect();
        Self { same: all.is_empty(), more: all.len() - differences.len(), differences }
    }
}

impl Packet {
    fn new(kind: Kind, walk: Walk, ports: Ports) -> Self {
        let is_proxys = |port: u16| {
            [ports.outbound, ports.inbound_plaintext, ports.inbound_hbone]
                .iter()
                .any(|own| own.number() == port)
        };
        let end = match walk.fate {
            rules::Fate::Intercepted(port) => End::Proxy { port: port.number() },
            rules::Fate::Delivered(to) if is_proxys(to.port()) => End::Proxy { port: to.port() },
            rules::Fate::Delivered(address) => End::Socket { address },
            rules::Fate::Leaves(by, address) => End::Leaves { interface: by.to_string(), address },
            rules::Fate::Reset => End::Reset,
            _ => End::Dropped,
        };
        let sockets = walk.listeners.into_iter().map(Into::into).collect();
        Self { kind, met: walk.met.into_iter().map(Into::into).collect(), end, sockets }
    }
}

impl From<Met> for Rule {
    fn from(met: Met) -> Self {
        let Met { chain, number, rule, why, packets } = met;
        Self { chain, number, rule, why, packets }
    }
}

impl From<Listener> for Socket {
    fn from(listener: Listener) -> Self {
        let Listener { local, mark, user, waiting, most_waiting, has_proxys_mark } = listener;
        Self { address: local, mark, user, waiting, most_waiting, has_proxys_mark }
    }
}

impl From<Account> for Told {
    fn from(account: Account) -> Self {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (mut outbound, mut inbound) = (None, None);
        match account.fate {
            Fate::Outbound(told) => outbound = Some(told.into()),
            Fate::Inbound(told) => inbound = Some(told.into()),
            _ => {}
        }
        Self {
            identity: account.identity.to_string(),
            expires: account.expires.map(seconds),
            facts: account.facts.map(Into::into),
            namesake: account.namesake.map(Into::into),
            outbound,
            inbound,
        }
    }
}

impl From<Party> for Workload {
    fn from(party: Party) -> Self {
        let protocol = match party.protocol {
            Protocol::Hbone => "HBONE",
            Protocol::Tcp => "TCP",
            _ => "unknown",
        };
        let Party { uid, name, identity, addresses, .. } = party;
        Self { uid, name, identity: identity.to_string(), addresses, protocol: protocol.into() }
    }
}

impl From<explain::Outbound> for Outbound {
    fn from(told: explain::Outbound) -> Self {
        let (mut service, mut workload) = (None, None);
        match told.addressee {
            Addressee::Service(name) => service = Some(name),
            Addressee::Workload(party) => workload = Some(party.into()),
            _ => {}
        }
        let (route, refused) = match told.going {
            Ok(going) => (Some(going.into()), None),
            Err(refusal) => (None, Some(refusal.into())),
        };
        Self { service, workload, route, refused }
    }
}

impl From<Going> for Route {
    fn from(going: Going) -> Self {
        let tunnel = going.tunnel.map(|tunnel| Tunnel {
            target: tunnel.target,
            expected: tunnel.expected.iter().map(ToString::to_string).collect(),
            connections: tunnel.connections.into_iter().map(Into::into).collect(),
        });
        let beyond = going.beyond.map(|beyond| Beyond {
            expected: beyond.expected.iter().map(ToString::to_string).collect(),
            connections: beyond.connections.into_iter().map(Into::into).collect(),
            network: beyond.network,
            gateway: beyond.gateway,
        });
        let (hop, at) = (going.hop.socket_addr(), going.at.map(Into::into));
        Self { hop, at, waypoint: going.waypoint, tunnel, beyond }
    }
}

impl From<explain::Connections> for Connections {
    fn from(used: explain::Connections) -> Self {
        Self { worker: used.worker, open: used.open, dialling: used.dialling, streams: used.streams }
    }
}

impl From<explain::Inbound> for Inbound {
    fn from(told: explain::Inbound) -> Self {
        Self {
            client: told.client.map(Into::into),
            tunnel: told.tunnel.map(Into::into),
            plaintext: told.plaintext.into(),
            policies: told.policies.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Judged> for Decision {
    fn from(judged: Judged) -> Self {
        let peer = judged.peer.map(|peer| peer.to_string());
        match judged.verdict {
            Ok(policy) => Self { peer, permitted: true, policy, refused: None },
            Err(refusal) => Self { peer, permitted: false, policy: None, refused: Some(refusal.into()) },
        }
    }
}

impl From<explain::Refusal> for No {
    fn from(refusal: explain::Refusal) -> Self {
        Self { reason: refusal.reason, intended: refusal.cause == Cause::Meant }
    }
}

impl From<Applied> for Policy {
    fn from(applied: Applied) -> Self {
        let action = match applied.action {
            Action::Deny => "deny",
            Action::Allow => "allow",
            _ => "unknown",
        };
        let Applied { name, tunnel, plaintext, .. } = applied;
        Self { name, action: action.into(), dry_run: applied.mode == Mode::DryRun, tunnel, plaintext }
    }
}
