//! Encode: a neutral rule as the program that nf_tables runs for it. The twin of `decode`.

use std::net::IpAddr;

use crate::dscp::Dscp;
use crate::family::Family;
use crate::id_range::IdRange;
use crate::interface::InterfaceName;
use crate::mark::Mark;
use crate::network::Network;
use crate::port::Port;
use crate::port_range::PortRange;
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::set::Set;
use crate::tcp_flags::TcpFlags;

use super::key;
use super::step::{Base, Field, Slot, Step, family_byte};

/// The program of a rule: its conditions, a counter, its action.
pub(super) fn steps(rule: &Rule) -> Vec<Step> {
    let mut steps = Vec::new();
    for condition in rule.matches() {
        steps.extend(condition_steps(condition));
    }
    steps.push(Step::Count);
    steps.extend(action_steps(rule.action(), rule.family()));
    steps
}

fn condition_steps(condition: &Match) -> Vec<Step> {
    match condition {
        Match::Family(family) => vec![Step::Load(Field::Family), Step::Equal(vec![family_byte(*family)])],
        Match::Incoming(test) => vec![Step::Load(Field::IncomingInterface), compare(test, name_bytes)],
        Match::Outgoing(test) => vec![Step::Load(Field::OutgoingInterface), compare(test, name_bytes)],
        Match::Protocol(protocol) => {
            vec![Step::Load(Field::Protocol), Step::Equal(vec![protocol_byte(*protocol)])]
        }
        Match::Source(test) => network(source(test.value().family()), test),
        Match::Destination(test) => network(destination(test.value().family()), test),
        Match::SourceIn(set) => vec![Step::Load(source(set.family())), Step::In(set.name().into())],
        Match::DestinationIn(set) => vec![Step::Load(destination(set.family())), Step::In(set.name().into())],
        Match::ConnectionIn(set) => connection_in(set),
        Match::SourcePort(test) => ports(SOURCE_PORT, test),
        Match::DestinationPort(test) => ports(DESTINATION_PORT, test),
        Match::PacketMark(test) => masked(Field::PacketMark, test),
        Match::ConnectionMark(test) => masked(Field::ConnectionMark, test),
        Match::Reply => vec![Step::Load(Field::Direction), Step::Equal(vec![REPLY])],
        Match::Established => bit(Field::ConnectionState, ESTABLISHED),
        Match::Translated => bit(Field::ConnectionStatus, TRANSLATED),
        Match::TcpFlags(flags) => tcp_flags(*flags),
        Match::SocketMark(test) => masked(Field::SocketMark, test),
        Match::Dscp(family, test) => dscp(*family, test),
        Match::Transparent => vec![Step::Load(Field::Transparent), Step::Equal(vec![TRANSPARENT])],
        Match::Cgroup(test) => {
            let field = Field::Cgroup { level: test.value().level() };
            vec![Step::Load(field), compare(test, |cgroup| cgroup.id().to_ne_bytes().into())]
        }
        Match::User(test) => owner(Field::User, test),
        Match::Group(test) => owner(Field::Group, test),
    }
}

fn compare<T>(test: &Test<T>, bytes: impl Fn(&T) -> Vec<u8>) -> Step {
    match test {
        Test::Is(value) => Step::Equal(bytes(value)),
        Test::IsNot(value) => Step::NotEqual(bytes(value)),
    }
}

/// A prefix of whole bytes is compared as such, another one under its mask.
fn network(whole: Field, test: &Test<Network>) -> Vec<Step> {
    let prefix = test.value().prefix();
    let bytes = |network: &Network| address_bytes(&network.address());
    match (whole, prefix % 8) {
        (Field::Payload { base, offset, .. }, 0) if prefix > 0 => {
            let length = usize::from(prefix / 8);
            let cut = |network: &Network| bytes(network).into_iter().take(length).collect();
            let field = Field::Payload { base, offset, length: u32::from(prefix / 8) };
            vec![Step::Load(field), compare(test, cut)]
        }
        _ => {
            let and = test.value().mask();
            let xor = vec![0; and.len()];
            vec![Step::Load(whole), Step::Bitwise { and, xor }, compare(test, bytes)]
        }
    }
}

fn connection_in(set: &Set) -> Vec<Step> {
    let part = |(field, word)| if word == 0 { Step::Load(field) } else { Step::Append { field, word } };
    let mut steps: Vec<Step> = key::connection_parts(set.family()).map(part).into();
    steps.push(Step::In(set.name().into()));
    steps
}

fn ports(field: Field, test: &Test<PortRange>) -> Vec<Step> {
    let (first, last) = (test.value().first(), test.value().last());
    let mut steps = vec![Step::Load(field)];
    if first == last {
        steps.push(compare(test, |_| port_bytes(&first)));
    } else {
        steps.extend(between(test, port_bytes(&first), port_bytes(&last)));
    }
    steps
}

fn between<T>(test: &Test<T>, first: Vec<u8>, last: Vec<u8>) -> Vec<Step> {
    match test {
        Test::Is(_) => vec![Step::AtLeast(first), Step::AtMost(last)],
        Test::IsNot(_) => vec![Step::Outside { first, last }],
    }
}

fn bit(field: Field, bit: u32) -> Vec<Step> {
    let only_this = Step::Bitwise { and: bit.to_ne_bytes().into(), xor: vec![0; 4] };
    vec![Step::Load(field), only_this, Step::NotEqual(vec![0; 4])]
}

fn tcp_flags(flags: TcpFlags) -> Vec<Step> {
    let only_these = Step::Bitwise { and: vec![flags.mask()], xor: vec![0] };
    vec![Step::Load(TCP_FLAGS), only_these, Step::Equal(vec![flags.value()])]
}

fn dscp(family: Family, test: &Test<Dscp>) -> Vec<Step> {
    let (field, and) = traffic_class(family);
    let xor = vec![0; and.len()];
    vec![Step::Load(field), Step::Bitwise { and, xor }, compare(test, |dscp| dscp_bytes(family, *dscp))]
}

fn owner(field: Field, test: &Test<IdRange>) -> Vec<Step> {
    let (first, last) = (test.value().first(), test.value().last());
    if first == last {
        return vec![Step::Load(field), compare(test, |_| first.to_ne_bytes().into())];
    }
    let mut steps = vec![Step::Load(field), Step::ToNetworkOrder];
    steps.extend(between(test, first.to_be_bytes().into(), last.to_be_bytes().into()));
    steps
}

fn masked(field: Field, test: &Test<Mark>) -> Vec<Step> {
    let under_mask = Step::Bitwise { and: test.value().mask().to_ne_bytes().into(), xor: vec![0; 4] };
    vec![Step::Load(field), under_mask, compare(test, |mark| mark.value().to_ne_bytes().into())]
}

fn action_steps(action: Action, family: Option<Family>) -> Vec<Step> {
    match action {
        Action::Accept => vec![Step::Accept],
        Action::Drop => vec![Step::Drop],
        Action::Reset => vec![Step::Reset],
        Action::Redirect(port) => vec![Step::Immediate(port_bytes(&port)), Step::Redirect],
        Action::SourceNat(address) => {
            vec![Step::Immediate(address_bytes(&address)), Step::SourceNat(Family::of(address))]
        }
        Action::Intercept(port, mark) => {
            let mut steps = vec![Step::Immediate(port_bytes(&port)), Step::Intercept(family)];
            steps.extend(set(Field::PacketMark, Slot::PacketMark, mark));
            steps.push(Step::Accept);
            steps
        }
        Action::SetPacketMark(mark) => set(Field::PacketMark, Slot::PacketMark, mark),
        Action::SetConnectionMark(mark) => set(Field::ConnectionMark, Slot::ConnectionMark, mark),
        Action::SetTimeouts => vec![Step::SetTimeouts],
        Action::SetZone(zone) => vec![Step::Immediate(zone.to_ne_bytes().into()), Step::Store(Slot::Zone)],
    }
}

fn set(field: Field, slot: Slot, mark: Mark) -> Vec<Step> {
    match !mark.mask() {
        0 => vec![Step::Immediate(mark.value().to_ne_bytes().into()), Step::Store(slot)],
        kept => {
            let (and, xor) = (kept.to_ne_bytes().into(), mark.value().to_ne_bytes().into());
            vec![Step::Load(field), Step::Bitwise { and, xor }, Step::Store(slot)]
        }
    }
}

/// Source port: the first two bytes of a TCP or UDP header (RFC 9293, section 3.1; RFC 768).
pub(super) const SOURCE_PORT: Field = Field::Payload { base: Base::Transport, offset: 0, length: 2 };
/// Destination port: the next two.
pub(super) const DESTINATION_PORT: Field = Field::Payload { base: Base::Transport, offset: 2, length: 2 };
/// The flags: one byte (RFC 9293, section 3.1).
pub(super) const TCP_FLAGS: Field = Field::Payload { base: Base::Transport, offset: 13, length: 1 };
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED)` (`linux/netfilter/nf_conntrack_common.h`).
pub(super) const ESTABLISHED: u32 = 2;
/// `IPS_DST_NAT` (`linux/netfilter/nf_conntrack_common.h`).
pub(super) const TRANSLATED: u32 = 1 << 5;
/// `IP_CT_DIR_REPLY` (`linux/netfilter/nf_conntrack_tuple_common.h`).
pub(super) const REPLY: u8 = 1;

/// What a transparent socket has for `NFT_SOCKET_TRANSPARENT`.
pub(super) const TRANSPARENT: u8 = 1;

/// Where the class of service is, and which bits of that are it (RFC 791, section 3.1, and RFC 8200, section 3, both with
/// RFC 2474, section 3).
pub(super) fn traffic_class(family: Family) -> (Field, Vec<u8>) {
    match family {
        Family::V4 => (Field::Payload { base: Base::Network, offset: 1, length: 1 }, vec![0xfc]),
        Family::V6 => (Field::Payload { base: Base::Network, offset: 0, length: 2 }, vec![0x0f, 0xc0]),
    }
}

/// The bits of this class, at their place.
pub(super) fn dscp_bytes(family: Family, dscp: Dscp) -> Vec<u8> {
    match family {
        Family::V4 => vec![dscp.number() << 2],
        Family::V6 => (u16::from(dscp.number()) << 6).to_be_bytes().into(),
    }
}

/// Where the source address is (RFC 791, section 3.1; RFC 8200, section 3).
pub(super) const fn source(family: Family) -> Field {
    match family {
        Family::V4 => Field::Payload { base: Base::Network, offset: 12, length: 4 },
        Family::V6 => Field::Payload { base: Base::Network, offset: 8, length: 16 },
    }
}

/// Where the destination address is.
pub(super) const fn destination(family: Family) -> Field {
    match family {
        Family::V4 => Field::Payload { base: Base::Network, offset: 16, length: 4 },
        Family::V6 => Field::Payload { base: Base::Network, offset: 24, length: 16 },
    }
}

/// `IPPROTO_TCP` and `IPPROTO_UDP` (`linux/in.h`).
pub(super) const fn protocol_byte(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// An interface name in a register: `IFNAMSIZ` bytes, padded with NUL. Fewer would match a prefix.
pub(super) const NAME_LEN: usize = 16;

fn name_bytes(name: &InterfaceName) -> Vec<u8> {
    let mut bytes = name.as_str().as_bytes().to_vec();
    bytes.resize(NAME_LEN, 0);
    bytes
}

fn address_bytes(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

fn port_bytes(port: &Port) -> Vec<u8> {
    port.number().to_be_bytes().into()
}
