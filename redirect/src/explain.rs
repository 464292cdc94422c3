//! Explain: what becomes of a packet under a plan, and which rules decide it.
//!
//! A walk over the plan's own chains, in the order in which the kernel visits hooks. It knows nothing of rules of others, nor
//! of what is in sets: to it they are empty.

use std::net::{IpAddr, SocketAddr};

use crate::chain::{Chain, ChainKind, Hook};
use crate::dscp::Dscp;
use crate::family::Family;
use crate::interface::InterfaceName;
use crate::plan::Plan;
use crate::port::Port;
use crate::routing::{PolicyRule, Route};
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::tcp_flags::TcpFlags;

/// The pod, as far as the fate of a packet depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Its addresses, but for loopback, in the order in which its interface has them.
    pub addresses: Vec<IpAddr>,
    /// The interface by which it reaches everybody else.
    pub outside: InterfaceName,
}

/// A packet, as far as rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its transport protocol.
    pub protocol: Protocol,
    /// From where.
    pub source: SocketAddr,
    /// To where, before anything is translated.
    pub destination: SocketAddr,
    /// What its flags say, if it is TCP and they say something that rules ask for.
    pub flags: Option<TcpFlags>,
    /// Its mark.
    pub mark: u32,
    /// Its class of service.
    pub dscp: Option<Dscp>,
    /// The user and the group of the socket here that sends it.
    pub owner: Option<(u32, u32)>,
    /// The number of the control group of the process whose socket here sends it ([`Cgroup::id`](crate::Cgroup::id)).
    pub cgroup: Option<u64>,
    /// The socket here that sends it, or that conntrack aside would receive it.
    pub socket: Option<LocalSocket>,
    /// What conntrack knows of its connection.
    pub connection: Tracked,
}

/// A socket here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalSocket {
    /// Its mark (`SO_MARK`).
    pub mark: u32,
    /// Whether its address may be one that is not of this host (`IP_TRANSPARENT`).
    pub transparent: bool,
}

/// What conntrack knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The packet is the first of it that conntrack sees: where it goes is decided now.
    pub new: bool,
    /// The packet answers who has opened it.
    pub reply: bool,
    /// Its destination has been translated.
    pub translated: bool,
    /// Its mark.
    pub mark: u32,
}

/// From where a packet enters the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A socket here sends it.
    Here,
    /// It comes in by this interface.
    Interface(InterfaceName),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// The socket that listens on this port has it, with the destination as it was ([`Action::Intercept`]).
    Intercepted(Port),
    /// A socket here has it that is bound to this destination.
    Delivered(SocketAddr),
    /// It leaves by this interface, for this destination.
    Leaves(InterfaceName, SocketAddr),
    /// It goes nowhere, and its sender is told so.
    Reset,
    /// It goes nowhere.
    Dropped,
}

/// A rule that a packet has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met<'plan> {
    /// The chain.
    pub chain: &'plan Chain,
    /// The number of the rule in it, from 0.
    pub number: usize,
    /// The rule.
    pub rule: &'plan Rule,
}

/// What becomes of a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'plan> {
    /// What becomes of it.
    pub fate: Fate,
    /// The rules whose conditions it met, in order. The first that ends its way through a chain is the last of that chain.
    pub met: Vec<Met<'plan>>,
}

/// What becomes of a packet under a plan, when the proxy listens.
pub fn explain<'plan>(plan: &'plan Plan, here: &Here, origin: &Origin, packet: Packet) -> Explanation<'plan> {
    let incoming = match origin {
        Origin::Here => None,
        Origin::Interface(name) => Some(name.clone()),
    };
    let mut walk = Walk { plan, here, packet, incoming, outgoing: None, intercepted: None, met: Vec::new() };
    let fate = match origin {
        Origin::Here => walk.out(),
        Origin::Interface(_) => walk.come_in(),
    };
    Explanation { fate, met: walk.met }
}

/// A packet on its way.
struct Walk<'plan, 'here> {
    plan: &'plan Plan,
    here: &'here Here,
    packet: Packet,
    incoming: Option<InterfaceName>,
    outgoing: Option<InterfaceName>,
    intercepted: Option<Port>,
    met: Vec<Met<'plan>>,
}

impl<'plan> Walk<'plan, '_> {
    fn out(&mut self) -> Fate {
        self.outgoing = Some(self.route());
        if let Some(fate) = self.visit(Hook::Output) {
            return fate;
        }
        // The hook before sees where the packet would have gone; this one, where it goes.
        let by = self.route();
        self.outgoing = Some(by.clone());
        if let Some(fate) = self.visit(Hook::Postrouting) {
            return fate;
        }
        if by != InterfaceName::loopback() {
            return Fate::Leaves(by, self.packet.destination);
        }
        self.packet.connection.new = false;
        self.packet.owner = None;
        self.packet.socket = None;
        self.incoming = Some(by);
        self.outgoing = None;
        self.come_in()
    }

    fn come_in(&mut self) -> Fate {
        if let Some(fate) = self.visit(Hook::Prerouting) {
            return fate;
        }
        if self.route() == InterfaceName::loopback() {
            let refused = self.visit(Hook::Input);
            let delivered =
                || self.intercepted.map_or(Fate::Delivered(self.packet.destination), Fate::Intercepted);
            return refused.unwrap_or_else(delivered);
        }
        self.outgoing = Some(self.here.outside.clone());
        if let Some(fate) = self.visit(Hook::Forward).or_else(|| self.visit(Hook::Postrouting)) {
            return fate;
        }
        Fate::Leaves(self.here.outside.clone(), self.packet.destination)
    }

    /// The interface by which routing sends it; loopback when it is for this host.
    fn route(&self) -> InterfaceName {
        let Packet { destination, mark, .. } = self.packet;
        let family = Family::of(destination.ip());
        let is_here = destination.ip().is_loopback() || self.here.addresses.contains(&destination.ip());
        let marked = |rule: &&PolicyRule| rule.family == family && rule.mark.is_on(mark);
        let way = |rule: &PolicyRule| {
            let is_its = |route: &&Route| (route.family, route.table) == (family, rule.table);
            self.plan.routes().iter().find(is_its).map(|route| route.way.interface())
        };
        let routed = || self.plan.policy_rules().iter().filter(marked).find_map(way);
        if is_here {
            InterfaceName::loopback()
        } else {
            routed().unwrap_or_else(|| self.here.outside.clone())
        }
    }

    /// All chains at a hook. What ends the packet's way as a whole is its fate.
    fn visit(&mut self, hook: Hook) -> Option<Fate> {
        let plan = self.plan;
        let mut chains: Vec<&Chain> =
            plan.chains().iter().filter(|chain| chain.attachment.hook == hook).collect();
        chains.sort_by_key(|chain| chain.attachment.priority);
        chains.into_iter().find_map(|chain| self.walk(chain))
    }

    fn walk(&mut self, chain: &'plan Chain) -> Option<Fate> {
        // Where a connection goes is decided once.
        if chain.attachment.kind == ChainKind::Nat && !self.packet.connection.new {
            return None;
        }
        for (number, rule) in chain.rules.iter().enumerate() {
            if !rule.matches().iter().all(|condition| self.meets(condition)) {
                continue;
            }
            self.met.push(Met { chain, number, rule });
            match rule.action() {
                Action::Accept => return None,
                Action::Drop => return Some(Fate::Dropped),
                Action::Reset => return Some(Fate::Reset),
                Action::Redirect(port) => {
                    self.redirect(port);
                    return None;
                }
                Action::SourceNat(address) => {
                    self.packet.source.set_ip(address);
                    return None;
                }
                Action::Intercept(port, mark) => {
                    self.packet.mark = self.packet.mark & !mark.mask() | mark.value();
                    self.packet.socket = Some(LocalSocket { mark: 0, transparent: true });
                    self.intercepted = Some(port);
                    return None;
                }
                Action::SetPacketMark(mark) => {
                    self.packet.mark = self.packet.mark & !mark.mask() | mark.value();
                }
                Action::SetConnectionMark(mark) => {
                    let marked = &mut self.packet.connection.mark;
                    *marked = *marked & !mark.mask() | mark.value();
                }
                Action::SetZone(_) | Action::SetTimeouts => {}
            }
        }
        None
    }

    /// What a socket here sends is redirected to loopback, what comes in to the first address of its interface
    /// (`nf_nat_redirect.c` in the kernel).
    fn redirect(&mut self, port: Port) {
        let family = Family::of(self.packet.destination.ip());
        let own = self.here.addresses.iter().find(|address| Family::of(**address) == family);
        let to = match (&self.incoming, own) {
            (Some(_), Some(own)) => *own,
            _ => family.loopback(),
        };
        self.packet.destination = SocketAddr::new(to, port.number());
        self.packet.connection.translated = true;
        self.packet.socket = None;
    }

    fn meets(&self, condition: &Match) -> bool {
        let packet = &self.packet;
        let port = |address: SocketAddr| Port::new(address.port()).ok();
        match condition {
            Match::Family(family) => Family::of(packet.destination.ip()) == *family,
            Match::Incoming(test) => holds(test, |name| self.incoming.as_ref() == Some(name)),
            Match::Outgoing(test) => holds(test, |name| self.outgoing.as_ref() == Some(name)),
            Match::Protocol(protocol) => packet.protocol == *protocol,
            Match::Source(test) => holds(test, |network| network.contains(packet.source.ip())),
            Match::Destination(test) => holds(test, |network| network.contains(packet.destination.ip())),
            Match::SourceIn(_) | Match::DestinationIn(_) | Match::ConnectionIn(_) => false,
            Match::SourcePort(test) => {
                holds(test, |ports| port(packet.source).is_some_and(|port| ports.contains(port)))
            }
            Match::DestinationPort(test) => {
                holds(test, |ports| port(packet.destination).is_some_and(|port| ports.contains(port)))
            }
            Match::PacketMark(test) => holds(test, |mark| mark.is_on(packet.mark)),
            Match::ConnectionMark(test) => holds(test, |mark| mark.is_on(packet.connection.mark)),
            Match::Dscp(family, test) => {
                Family::of(packet.destination.ip()) == *family
                    && holds(test, |dscp| packet.dscp == Some(*dscp))
            }
            Match::Reply => packet.connection.reply,
            Match::Established => !packet.connection.new,
            Match::Translated => packet.connection.translated,
            Match::TcpFlags(flags) => packet.flags == Some(*flags),
            // What nobody sends or receives here is neither of somebody nor of somebody else.
            Match::SocketMark(test) => {
                packet.socket.is_some_and(|socket| holds(test, |mark| mark.is_on(socket.mark)))
            }
            Match::Transparent => packet.socket.is_some_and(|socket| socket.transparent),
            Match::Cgroup(test) => packet.cgroup.is_some_and(|id| holds(test, |group| group.id() == id)),
            Match::User(test) => {
                packet.owner.is_some_and(|(user, _)| holds(test, |users| users.contains(user)))
            }
            Match::Group(test) => {
                packet.owner.is_some_and(|(_, group)| holds(test, |groups| groups.contains(group)))
            }
        }
    }
}

fn holds<T>(test: &Test<T>, is: impl Fn(&T) -> bool) -> bool {
    match test {
        Test::Is(value) => is(value),
        Test::IsNot(value) => !is(value),
    }
}
