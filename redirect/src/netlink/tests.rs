//! The twins undo each other: over rules, over steps, and through the bytes of the wire.

use std::net::IpAddr;

use netlink_packet_core::Emitable as _;
use netlink_packet_netfilter::nftables::{Expressions, RuleAttribute};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::set::{Set, SetKind};
use crate::{
    Cgroup, Dscp, Family, IdRange, InterfaceName, Mark, Network, NetworkError, Port, PortRange, TcpFlags,
};

use super::step::{Base, Expression, Field, Slot, Step};
use super::unread::Unread;
use super::{counters, decode, encode, ruleset, sets, step};

fn tests<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Test<T>> {
    (value, any::<bool>()).prop_map(|(value, is)| if is { Test::Is(value) } else { Test::IsNot(value) })
}

fn names() -> impl Strategy<Value = InterfaceName> {
    "[a-z][a-z0-9_.@-]{0,14}".prop_map(|name| InterfaceName::new(name).unwrap())
}

fn ports() -> impl Strategy<Value = Port> {
    (1_u16..).prop_map(|number| Port::new(number).unwrap())
}

fn port_ranges() -> impl Strategy<Value = PortRange> {
    (ports(), ports()).prop_map(|(one, other)| PortRange::new(one.min(other), one.max(other)).unwrap())
}

fn ids() -> impl Strategy<Value = IdRange> {
    (0..u32::MAX, 0..u32::MAX).prop_map(|(one, other)| IdRange::new(one.min(other), one.max(other)).unwrap())
}

/// Of all lengths, and single addresses as often.
fn networks() -> impl Strategy<Value = Network> {
    (any::<IpAddr>(), 0_u8..=128, any::<bool>()).prop_map(|(address, prefix, single)| {
        match Network::new(address, prefix.min(Family::of(address).address_bits())) {
            Ok(network) | Err(NetworkError::HostBits { network, .. }) if !single => network,
            _ => Network::single(address),
        }
    })
}

fn marks() -> impl Strategy<Value = Mark> {
    let masks = prop_oneof![Just(u32::MAX), Just(0xfff), 1_u32..];
    (masks, any::<u32>())
        .prop_filter_map("a value in the mask", |(mask, bits)| Mark::new(bits & mask, mask).ok())
}

fn families() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn sets(kind: fn(Family) -> SetKind) -> impl Strategy<Value = Set> {
    ("[a-z][a-z0-9_.-]{0,30}", families())
        .prop_map(move |(name, family)| Set::new(name, kind(family)).unwrap())
}

fn conditions() -> impl Strategy<Value = Match> {
    prop_oneof![
        families().prop_map(Match::Family),
        tests(names()).prop_map(Match::Incoming),
        tests(names()).prop_map(Match::Outgoing),
        prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)].prop_map(Match::Protocol),
        tests(networks()).prop_map(Match::Source),
        tests(networks()).prop_map(Match::Destination),
        sets(SetKind::Addresses).prop_map(Match::SourceIn),
        sets(SetKind::Addresses).prop_map(Match::DestinationIn),
        sets(SetKind::Connections).prop_map(Match::ConnectionIn),
        tests(port_ranges()).prop_map(Match::SourcePort),
        tests(port_ranges()).prop_map(Match::DestinationPort),
        tests(marks()).prop_map(Match::PacketMark),
        tests(marks()).prop_map(Match::ConnectionMark),
        Just(Match::Reply),
        Just(Match::Established),
        Just(Match::Translated),
        Just(Match::Transparent),
        (families(), tests(1_u8..64)).prop_map(|(family, test)| {
            Match::Dscp(family, test.map(|number| Dscp::new(number).unwrap()))
        }),
        select(TcpFlags::ALL.to_vec()).prop_map(Match::TcpFlags),
        tests(marks()).prop_map(Match::SocketMark),
        tests((1_u32..9, any::<u64>()))
            .prop_map(|test| Match::Cgroup(test.map(|(level, id)| Cgroup::unnamed(level, id)))),
        tests(ids()).prop_map(Match::User),
        tests(ids()).prop_map(Match::Group),
    ]
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        select(vec![Action::Accept, Action::Drop, Action::Reset]),
        ports().prop_map(Action::Redirect),
        any::<IpAddr>().prop_map(Action::SourceNat),
        (ports(), marks()).prop_map(|(port, mark)| Action::Intercept(port, mark)),
        marks().prop_map(Action::SetPacketMark),
        marks().prop_map(Action::SetConnectionMark),
        any::<u16>().prop_map(Action::SetZone),
        Just(Action::SetTimeouts),
    ]
}

fn rules() -> impl Strategy<Value = Rule> {
    (btree_set(conditions(), 0..6), actions(), "[ -~]{0,128}")
        .prop_map(|(matches, action, why)| Rule::new(matches, action, why))
}

fn all_steps() -> impl Strategy<Value = Step> {
    let bytes = || vec(any::<u8>(), 1..17);
    let payloads = || {
        (any::<bool>(), any::<u32>(), any::<u32>()).prop_map(|(network, offset, length)| Field::Payload {
            base: if network { Base::Network } else { Base::Transport },
            offset,
            length,
        })
    };
    let fields = prop_oneof![
        Just(Field::Family),
        Just(Field::Protocol),
        Just(Field::IncomingInterface),
        Just(Field::OutgoingInterface),
        Just(Field::PacketMark),
        Just(Field::ConnectionMark),
        Just(Field::Direction),
        Just(Field::ConnectionState),
        Just(Field::SocketMark),
        Just(Field::User),
        Just(Field::Group),
        payloads(),
    ];
    let slots = prop_oneof![Just(Slot::PacketMark), Just(Slot::ConnectionMark), Just(Slot::Zone)];
    prop_oneof![
        fields.prop_map(Step::Load),
        (payloads(), 1_u8..16).prop_map(|(field, word)| Step::Append { field, word }),
        "[a-z]{1,20}".prop_map(Step::In),
        bytes().prop_map(Step::Immediate),
        (bytes(), bytes()).prop_map(|(and, xor)| Step::Bitwise { and, xor }),
        Just(Step::ToNetworkOrder),
        bytes().prop_map(Step::AtLeast),
        bytes().prop_map(Step::AtMost),
        (bytes(), bytes()).prop_map(|(first, last)| Step::Outside { first, last }),
        bytes().prop_map(Step::Equal),
        bytes().prop_map(Step::NotEqual),
        slots.prop_map(Step::Store),
        Just(Step::Redirect),
        Just(Step::Accept),
        Just(Step::Drop),
        Just(Step::Reset),
        Just(Step::SetTimeouts),
        Just(Step::Count),
    ]
}

/// The expressions as bytes, as a kernel would have them.
fn bytes(expressions: Vec<Expression>) -> Vec<u8> {
    let attribute = RuleAttribute::Expressions(expressions);
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes.split_off(4)
}

fn read_back(expressions: Vec<Expression>) -> Vec<Option<Step>> {
    step::raw_expressions(&bytes(expressions)).unwrap().iter().map(Step::of).collect()
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(rule in rules()) {
        let expressions = encode::steps(&rule).iter().map(Expression::from).collect();
        let steps: Option<Vec<Step>> = read_back(expressions).into_iter().collect();
        prop_assert_eq!(decode::rule(&steps.unwrap(), rule.why().to_owned()), Some(rule));
    }

    #[test]
    fn a_step_comes_back_from_the_wire(step in all_steps()) {
        prop_assert_eq!(read_back(vec![Expression::from(&step)]), [Some(step)]);
    }

    #[test]
    fn no_bytes_are_too_strange(bytes: Vec<u8>) {
        if let Ok(expressions) = step::raw_expressions(&bytes) {
            let _ = expressions.iter().map(Step::of).collect::<Vec<_>>();
        }
    }

    #[test]
    fn a_program_means_one_rule_or_none(program in vec(all_steps(), 0..8)) {
        if let Some(rule) = decode::rule(&program, "") {
            let again = decode::rule(&encode::steps(&rule), "").unwrap();
            prop_assert_eq!(rule, again);
        }
    }
}

/// Whatever is changed in a rule's program, it is not the same rule any more, or no rule of ours.
#[test]
fn each_part_of_a_program_counts() {
    let mark = Mark::new(0x539, 0xfff).unwrap();
    let rule = Rule::new(
        [
            Match::Destination(Test::IsNot(Family::V4.loopback().into())),
            Match::Protocol(Protocol::Tcp),
            Match::PacketMark(Test::IsNot(mark)),
        ],
        Action::Redirect(Port::new(15001).unwrap()),
        "",
    );
    let steps = encode::steps(&rule);
    for index in 0..steps.len() {
        let mut less = steps.clone();
        let taken = less.remove(index);
        let same = decode::rule(&less, "").is_some_and(|decoded| decoded.does_the_same_as(&rule));
        assert_eq!(same, taken == Step::Count, "without {taken:?}");
    }
    let mut more = steps;
    more.push(Step::Accept);
    assert_eq!(decode::rule(&more, ""), None, "after the action nothing follows");
}

/// An address compared in packets of both families is another rule than ours, which looks at the family first.
#[test]
fn an_address_without_its_family_is_another_rule() {
    let rule = Rule::new([Match::Source(Test::Is(Family::V4.loopback().into()))], Action::Accept, "");
    let without_family: Vec<Step> = encode::steps(&rule).split_off(2);
    let found = decode::rule(&without_family, "").unwrap();
    assert!(!found.does_the_same_as(&rule));
}

#[test]
fn what_is_no_step_has_a_name() {
    let other = Expressions::Other { expression_type: "masq".into(), attributes: Vec::new() };
    let bytes = bytes(vec![other.into()]);
    let [found] = &step::raw_expressions(&bytes).unwrap()[..] else { panic!("one expression") };
    assert_eq!((Step::of(found), found.name.as_str()), (None, "masq"));
}

/// Attributes that look like those of an answer: of any kind, nested, with lengths that are nearly right.
fn attributes() -> impl Strategy<Value = Vec<u8>> {
    let leaf = vec(any::<u8>(), 0..24);
    let nested = leaf.prop_recursive(4, 64, 6, |inner| {
        vec((0_u16..16, any::<bool>(), inner, -1_i16..3), 0..6).prop_map(|attributes| {
            let mut bytes = Vec::new();
            for (kind, is_nested, value, off) in attributes {
                let length = i16::try_from(value.len() + 4).unwrap().saturating_add(off.min(0)).max(0);
                bytes.extend(length.to_ne_bytes());
                bytes.extend((kind | if is_nested { 1 << 15 } else { 0 }).to_ne_bytes());
                bytes.extend(&value);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        })
    });
    prop_oneof![3 => nested, 1 => vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever a kernel that is none says, it is an error or something foreign.
    #[test]
    fn no_answer_is_too_strange(attributes in attributes(), kind in 0_u8..30) {
        let answer = Unread { kind: kind.into(), attributes };
        let _ = ruleset::found_chain(&answer, "inpod");
        let _ = ruleset::found_rule(&answer, "inpod");
        let _ = counters::rule(&answer);
        let _ = sets::found_set(&answer, "inpod");
        for kind in SetKind::ALL {
            let _ = sets::found_elements(&answer, kind);
        }
        if let Ok(expressions) = step::raw_expressions(&answer.attributes) {
            let steps: Option<Vec<Step>> = expressions.iter().map(Step::of).collect();
            let _ = steps.and_then(|steps| decode::rule(&steps, ""));
        }
    }
}
