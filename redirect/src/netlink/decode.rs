//! Decode: the program of a rule as a neutral rule. The twin of `encode`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cgroup::Cgroup;
use crate::dscp::Dscp;
use crate::family::Family;
use crate::id_range::IdRange;
use crate::interface::InterfaceName;
use crate::mark::Mark;
use crate::network::Network;
use crate::port::Port;
use crate::port_range::PortRange;
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::set::{Set, SetKind};
use crate::tcp_flags::TcpFlags;

use super::encode::{
    DESTINATION_PORT, ESTABLISHED, NAME_LEN, REPLY, SOURCE_PORT, TCP_FLAGS, TRANSLATED, TRANSPARENT,
    destination, dscp_bytes, protocol_byte, source, traffic_class,
};
use super::key;
use super::step::{Field, Slot, Step, family_byte};

/// The rule of a program; none when it says something that a neutral rule cannot.
pub(super) fn rule(steps: &[Step], why: impl Into<Cow<'static, str>>) -> Option<Rule> {
    let mut matches = BTreeSet::new();
    let mut rest = steps;
    loop {
        let (condition, after) = match rest {
            [Step::Count, after @ ..] => (None, after),
            [
                Step::Load(field),
                Step::Bitwise { and, xor },
                test @ (Step::Equal(_) | Step::NotEqual(_)),
                after @ ..,
            ] if xor.iter().all(|byte| *byte == 0) => (Some(masked(*field, and, test)?), after),
            [Step::Load(field), Step::In(set), after @ ..] => (Some(address_in(*field, set)?), after),
            [
                Step::Load(_),
                Step::Append { .. },
                Step::Append { .. },
                Step::Append { .. },
                Step::In(set),
                after @ ..,
            ] => (Some(connection_in(rest, set)?), after),
            [Step::Load(field), Step::ToNetworkOrder, after @ ..] => {
                let (range, after) = range(after)?;
                (Some(owners(*field, &range)?), after)
            }
            [Step::Load(field), test @ (Step::Equal(_) | Step::NotEqual(_)), after @ ..] => {
                (Some(condition(*field, test)?), after)
            }
            [Step::Load(field), after @ ..] if matches!(*field, SOURCE_PORT | DESTINATION_PORT) => {
                let (range, after) = range(after)?;
                (Some(ports(*field, &range)?), after)
            }
            _ => {
                let rule = Rule::exactly(matches, action(rest)?, why);
                return says_family_alike(&rule, rest).then_some(rule);
            }
        };
        matches.extend(condition);
        rest = after;
    }
}

/// The condition of a value that is compared as it is.
fn condition(field: Field, test: &Step) -> Option<Match> {
    match field {
        Field::Family => match test {
            Step::Equal(bytes) => family(bytes).map(Match::Family),
            _ => None,
        },
        Field::Protocol => match test {
            Step::Equal(bytes) => protocol(bytes).map(Match::Protocol),
            _ => None,
        },
        Field::IncomingInterface => compared(test, name).map(Match::Incoming),
        Field::OutgoingInterface => compared(test, name).map(Match::Outgoing),
        Field::PacketMark | Field::ConnectionMark | Field::SocketMark => mark_of(field, u32::MAX, test),
        Field::Direction => (*test == Step::Equal(vec![REPLY])).then_some(Match::Reply),
        Field::Transparent => (*test == Step::Equal(vec![TRANSPARENT])).then_some(Match::Transparent),
        SOURCE_PORT => compared(test, port).map(|test| Match::SourcePort(test.map(PortRange::single))),
        DESTINATION_PORT => {
            compared(test, port).map(|test| Match::DestinationPort(test.map(PortRange::single)))
        }
        Field::Cgroup { level } => {
            let group =
                |bytes: &[u8]| Some(Cgroup::unnamed(level, u64::from_ne_bytes(bytes.try_into().ok()?)));
            compared(test, group).map(Match::Cgroup)
        }
        Field::User => compared(test, id).map(Match::User),
        Field::Group => compared(test, id).map(Match::Group),
        Field::Payload { .. } => prefixed(field, test),
        // Of these, single bits are asked for.
        Field::ConnectionState | Field::ConnectionStatus => None,
    }
}

fn compared<T>(test: &Step, parse: impl Fn(&[u8]) -> Option<T>) -> Option<Test<T>> {
    match test {
        Step::Equal(bytes) => parse(bytes).map(Test::Is),
        Step::NotEqual(bytes) => parse(bytes).map(Test::IsNot),
        _ => None,
    }
}

/// The condition of a value of which only some bits are compared.
fn masked(field: Field, mask: &[u8], test: &Step) -> Option<Match> {
    let network = |bytes: &[u8]| Network::new(address(bytes)?, prefix(mask)?).ok();
    match field {
        TCP_FLAGS => {
            let is = |flags: &TcpFlags| mask == [flags.mask()] && *test == Step::Equal(vec![flags.value()]);
            TcpFlags::ALL.into_iter().find(is).map(Match::TcpFlags)
        }
        Field::ConnectionState => {
            let is = native(mask) == Some(ESTABLISHED) && *test == Step::NotEqual(vec![0; 4]);
            is.then_some(Match::Established)
        }
        Field::ConnectionStatus => {
            let is = native(mask) == Some(TRANSLATED) && *test == Step::NotEqual(vec![0; 4]);
            is.then_some(Match::Translated)
        }
        field if is_one_of(source, field) => compared(test, network).map(Match::Source),
        field if is_one_of(destination, field) => compared(test, network).map(Match::Destination),
        field => service(field, mask, test).or_else(|| mark_of(field, native(mask)?, test)),
    }
}

/// The condition of an address that is in a set.
fn address_in(field: Field, name: &str) -> Option<Match> {
    let set = |family| Set::new(name.to_owned(), SetKind::Addresses(family));
    let is = |place: fn(Family) -> Field| {
        [Family::V4, Family::V6].into_iter().find(|family| place(*family) == field)
    };
    match (is(source), is(destination)) {
        (Some(family), _) => set(family).map(Match::SourceIn),
        (_, Some(family)) => set(family).map(Match::DestinationIn),
        (None, None) => None,
    }
}

/// The condition of a connection that is in a set, of the steps that make its key.
fn connection_in(steps: &[Step], name: &str) -> Option<Match> {
    let is = |family: &Family| {
        let mut parts = key::connection_parts(*family).into_iter().zip(steps);
        parts.all(|((its_field, its_word), step)| match step {
            Step::Load(field) => (*field, 0) == (its_field, its_word),
            Step::Append { field, word } => (*field, *word) == (its_field, its_word),
            _ => false,
        })
    };
    let family = [Family::V4, Family::V6].into_iter().find(is)?;
    Set::new(name.to_owned(), SetKind::Connections(family)).map(Match::ConnectionIn)
}

/// The condition of a class of service.
fn service(field: Field, mask: &[u8], test: &Step) -> Option<Match> {
    let family = [Family::V4, Family::V6]
        .into_iter()
        .find(|family| traffic_class(*family) == (field, mask.to_vec()))?;
    let dscp = |bytes: &[u8]| {
        (1..64).filter_map(|number| Dscp::new(number).ok()).find(|dscp| dscp_bytes(family, *dscp) == bytes)
    };
    compared(test, dscp).map(|test| Match::Dscp(family, test))
}

fn mark_of(field: Field, mask: u32, test: &Step) -> Option<Match> {
    let test = compared(test, |bytes| Mark::new(native(bytes)?, mask).ok())?;
    match field {
        Field::PacketMark => Some(Match::PacketMark(test)),
        Field::ConnectionMark => Some(Match::ConnectionMark(test)),
        Field::SocketMark => Some(Match::SocketMark(test)),
        _ => None,
    }
}

/// The condition of an address of which only the first whole bytes are compared, or all.
fn prefixed(field: Field, test: &Step) -> Option<Match> {
    let Field::Payload { base, offset, length } = field else { return None };
    for family in [Family::V4, Family::V6] {
        let network = |bytes: &[u8]| network(family, bytes);
        for (place, condition) in [
            (source(family), Match::Source as fn(Test<Network>) -> Match),
            (destination(family), Match::Destination),
        ] {
            let Field::Payload { base: its_base, offset: its_offset, length: whole } = place else {
                continue;
            };
            if (base, offset) == (its_base, its_offset) && length <= whole {
                return compared(test, network).map(condition);
            }
        }
    }
    None
}

/// The network whose prefix is these bytes.
fn network(family: Family, prefix: &[u8]) -> Option<Network> {
    let mut bytes = prefix.to_vec();
    bytes.resize(usize::from(family.address_bits() / 8), 0);
    let bits = u8::try_from(prefix.len() * 8).ok().filter(|bits| *bits > 0)?;
    Network::new(address(&bytes)?, bits).ok()
}

/// The first and the last of a range, as bytes.
type Ends<'bytes> = (&'bytes [u8], &'bytes [u8]);

/// A range of values, wanted or excepted, and what comes after it. A range of one is written otherwise.
fn range(steps: &[Step]) -> Option<(Test<Ends<'_>>, &[Step])> {
    let (range, after) = match steps {
        [Step::AtLeast(first), Step::AtMost(last), after @ ..] => (Test::Is((&first[..], &last[..])), after),
        [Step::Outside { first, last }, after @ ..] => (Test::IsNot((&first[..], &last[..])), after),
        _ => return None,
    };
    let (first, last) = range.value();
    (first != last).then_some((range, after))
}

fn owners(field: Field, range: &Test<Ends<'_>>) -> Option<Match> {
    let id = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_be_bytes);
    let test = range.try_map(|(first, last)| IdRange::new(id(first)?, id(last)?).ok())?;
    match field {
        Field::User => Some(Match::User(test)),
        Field::Group => Some(Match::Group(test)),
        _ => None,
    }
}

fn ports(field: Field, range: &Test<Ends<'_>>) -> Option<Match> {
    let test = range.try_map(|(first, last)| PortRange::new(port(first)?, port(last)?).ok())?;
    match field {
        SOURCE_PORT => Some(Match::SourcePort(test)),
        DESTINATION_PORT => Some(Match::DestinationPort(test)),
        _ => None,
    }
}

fn id(bytes: &[u8]) -> Option<IdRange> {
    let id = native(bytes)?;
    IdRange::new(id, id).ok()
}

/// Whether the one step that says a family again says the same.
fn says_family_alike(rule: &Rule, action: &[Step]) -> bool {
    action.iter().all(|step| match step {
        Step::Intercept(family) => *family == rule.family(),
        _ => true,
    })
}

/// The action of what follows the conditions. A counter may stand before it, nothing may follow it.
fn action(steps: &[Step]) -> Option<Action> {
    match steps {
        [Step::Accept] => Some(Action::Accept),
        [Step::Drop] => Some(Action::Drop),
        [Step::Reset] => Some(Action::Reset),
        [Step::SetTimeouts] => Some(Action::SetTimeouts),
        [Step::Immediate(bytes), Step::Redirect] => port(bytes).map(Action::Redirect),
        [Step::Immediate(bytes), Step::SourceNat(family)] => {
            address(bytes).filter(|address| Family::of(*address) == *family).map(Action::SourceNat)
        }
        [Step::Immediate(bytes), Step::Intercept(_), marking @ .., Step::Accept] => match action(marking)? {
            Action::SetPacketMark(mark) => Some(Action::Intercept(port(bytes)?, mark)),
            _ => None,
        },
        [Step::Immediate(bytes), Step::Store(Slot::Zone)] => {
            bytes.as_slice().try_into().ok().map(u16::from_ne_bytes).map(Action::SetZone)
        }
        // A mark whose mask is all bits.
        [Step::Immediate(bytes), Step::Store(slot)] => set(*slot, native(bytes)?, u32::MAX),
        [Step::Load(field), Step::Bitwise { and, xor }, Step::Store(slot)] => match (field, slot) {
            (Field::PacketMark, Slot::PacketMark) | (Field::ConnectionMark, Slot::ConnectionMark) => {
                set(*slot, native(xor)?, !native(and)?)
            }
            _ => None,
        },
        _ => None,
    }
}

fn set(slot: Slot, value: u32, mask: u32) -> Option<Action> {
    let mark = Mark::new(value, mask).ok()?;
    match slot {
        Slot::PacketMark => Some(Action::SetPacketMark(mark)),
        Slot::ConnectionMark => Some(Action::SetConnectionMark(mark)),
        Slot::Zone => None,
    }
}

fn is_one_of(place: impl Fn(Family) -> Field, field: Field) -> bool {
    place(Family::V4) == field || place(Family::V6) == field
}

fn family(bytes: &[u8]) -> Option<Family> {
    [Family::V4, Family::V6].into_iter().find(|family| bytes == [family_byte(*family)])
}

fn protocol(bytes: &[u8]) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp].into_iter().find(|protocol| bytes == [protocol_byte(*protocol)])
}

fn name(bytes: &[u8]) -> Option<InterfaceName> {
    if bytes.len() != NAME_LEN {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    InterfaceName::new(text.trim_end_matches('\0')).ok()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// The length of the prefix that a mask keeps; none if it keeps other bits as well.
fn prefix(mask: &[u8]) -> Option<u8> {
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let prefix = u8::try_from(ones).ok()?;
    // The mask itself is an address: the first of the network of which it is the mask. Whole bytes are compared without one.
    let network = Network::new(address(mask)?, prefix).ok()?;
    ((prefix == 0 || prefix % 8 != 0) && network.mask() == mask).then_some(prefix)
}

fn port(bytes: &[u8]) -> Option<Port> {
    bytes.try_into().ok().map(u16::from_be_bytes).and_then(|number| Port::new(number).ok())
}

fn native(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}
