//! Step: the few operations on one register that our rules are made of, and their form on the wire.
//!
//! A rule in nf_tables is a little program: load a value, change it, compare it, stop if it differs. Ours need one
//! register, and those after it for a key of several values. What an expression holds beyond that is no step, and a rule that holds one is none of ours.
//! Sources: `linux/netfilter/nf_tables.h`, and the program that `nft --debug=netlink` prints for the same rule.

use netlink_packet_core::{DecodeError, DefaultNla, Emitable as _, NLA_F_NESTED, Nla as _, parse_string};
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Lookup, Meta,
    MetaKey, Operator, Payload, Register, Verdict, VerdictAttribute,
};

use crate::family::Family;
use crate::tcp_timeouts;

use super::unread::{attributes, inside, read};
use super::{key, objects};

/// One expression of a rule, as the wire has it.
pub(super) type Expression = ListAttribute<ExpressionAttribute>;

/// One operation of a rule's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The register becomes something of the packet.
    Load(Field),
    /// Bytes of the packet go behind what is in the register already: a part of a key.
    Append {
        /// The bytes.
        field: Field,
        /// With which word of the registers they begin; the register begins with word 0.
        word: u8,
    },
    /// The rule goes on only if what is in the register, and behind it, is in the set of this name.
    In(String),
    /// The register becomes this.
    Immediate(Vec<u8>),
    /// The register becomes itself `& and ^ xor`, byte by byte.
    Bitwise {
        /// The bits kept.
        and: Vec<u8>,
        /// The bits flipped after that; as many.
        xor: Vec<u8>,
    },
    /// The register, 32 bits in the host's order, is turned to the network's, in which ranges are compared.
    ToNetworkOrder,
    /// The rule goes on only if the register is this or more, byte by byte.
    AtLeast(Vec<u8>),
    /// The rule goes on only if the register is this or less.
    AtMost(Vec<u8>),
    /// The rule goes on only if the register is none of these values.
    Outside {
        /// The first of them.
        first: Vec<u8>,
        /// The last of them.
        last: Vec<u8>,
    },
    /// The rule goes on only if the register is this.
    Equal(Vec<u8>),
    /// The rule goes on only if the register is not this.
    NotEqual(Vec<u8>),
    /// The register goes to something of the packet.
    Store(Slot),
    /// The packet is redirected to the port in the register.
    Redirect,
    /// A socket that listens on the port in the register takes the packet; without one the rule ends here. Where the rule says
    /// of which family its packets are, this does, too.
    Intercept(Option<Family>),
    /// The packet's source becomes the address in the register, which is of this family.
    SourceNat(Family),
    /// The packet is accepted.
    Accept,
    /// The packet is dropped.
    Drop,
    /// The packet is dropped, and its sender gets a TCP reset.
    Reset,
    /// The packet's connection gets the timeouts of the plan, if it has just begun.
    SetTimeouts,
    /// The packet is counted.
    Count,
}

/// What can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// One byte: `NFPROTO_*`.
    Family,
    /// One byte: `IPPROTO_*`.
    Protocol,
    /// 16 bytes, padded with NUL.
    IncomingInterface,
    /// 16 bytes, padded with NUL.
    OutgoingInterface,
    /// Four bytes in the host's order.
    PacketMark,
    /// Four bytes in the host's order.
    ConnectionMark,
    /// One byte: `IP_CT_DIR_*`.
    Direction,
    /// Four bytes in the host's order: a bit for each state.
    ConnectionState,
    /// Four bytes in the host's order: a bit for each thing that has become of it.
    ConnectionStatus,
    /// Four bytes in the host's order.
    SocketMark,
    /// One byte: 1 or 0.
    Transparent,
    /// Eight bytes in the host's order: the number of the group so many below the root.
    Cgroup {
        /// So many.
        level: u32,
    },
    /// Four bytes in the host's order.
    User,
    /// Four bytes in the host's order.
    Group,
    /// Bytes of the packet, from the start of a header.
    Payload {
        /// The header.
        base: Base,
        /// From here on, in bytes.
        offset: u32,
        /// So many bytes.
        length: u32,
    },
}

/// A header of the packet (`enum nft_payload_bases`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// IPv4 or IPv6.
    Network,
    /// TCP or UDP.
    Transport,
}

/// What can be stored to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Four bytes in the host's order.
    PacketMark,
    /// Four bytes in the host's order.
    ConnectionMark,
    /// Two bytes in the host's order.
    Zone,
}

/// The one register.
const REGISTER: Register = Register::Reg1;
/// `NF_ACCEPT` (`linux/netfilter.h`).
const ACCEPT: Verdict = Verdict::Other(1);
/// `NF_DROP`.
const DROP: Verdict = Verdict::Other(0);
/// `NFT_PAYLOAD_NETWORK_HEADER`.
const NETWORK_HEADER: u32 = 1;
/// `NFT_PAYLOAD_TRANSPORT_HEADER`.
const TRANSPORT_HEADER: u32 = 2;
/// `NFT_BITWISE_MASK_XOR`.
const MASK_XOR: u32 = 0;

// The expressions that the packet crate does not know: attribute numbers and values.
const CT: &str = "ct";
const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFTA_CT_SREG: u16 = 4;
const NFT_CT_STATE: u32 = 0;
const NFT_CT_DIRECTION: u32 = 1;
const NFT_CT_STATUS: u32 = 2;
const NFT_CT_MARK: u32 = 3;
const NFT_CT_ZONE: u32 = 17;
const REDIR: &str = "redir";
const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;
const NFTA_REDIR_REG_PROTO_MAX: u16 = 2;
const NFTA_REDIR_FLAGS: u16 = 3;
/// `NF_NAT_RANGE_PROTO_SPECIFIED` (`linux/netfilter/nf_nat.h`): the kernel adds it when a port is given.
const PROTO_SPECIFIED: u32 = 2;
const NAT: &str = "nat";
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_ADDR_MAX: u16 = 4;
const NFTA_NAT_FLAGS: u16 = 7;
const NFT_NAT_SNAT: u32 = 0;
/// `NF_NAT_RANGE_MAP_IPS` (`linux/netfilter/nf_nat.h`): the kernel adds it when an address is given.
const MAP_IPS: u32 = 1;
const TPROXY: &str = "tproxy";
const NFTA_TPROXY_FAMILY: u16 = 1;
const NFTA_TPROXY_REG_PORT: u16 = 3;
/// `NFPROTO_UNSPEC` (`linux/netfilter.h`): packets of both families.
const BOTH_FAMILIES: u32 = 0;
const COUNTER: &str = "counter";
const REJECT: &str = "reject";
const NFTA_REJECT_TYPE: u16 = 1;
const NFT_REJECT_TCP_RST: u32 = 1;
const SOCKET: &str = "socket";
const NFTA_SOCKET_KEY: u16 = 1;
const NFTA_SOCKET_DREG: u16 = 2;
const NFTA_SOCKET_LEVEL: u16 = 3;
const NFT_SOCKET_TRANSPARENT: u32 = 0;
const NFT_SOCKET_CGROUPV2: u32 = 3;
const NFT_SOCKET_MARK: u32 = 1;
const BYTEORDER: &str = "byteorder";
const NFTA_BYTEORDER_SREG: u16 = 1;
const NFTA_BYTEORDER_DREG: u16 = 2;
const NFTA_BYTEORDER_OP: u16 = 3;
const NFTA_BYTEORDER_LEN: u16 = 4;
const NFTA_BYTEORDER_SIZE: u16 = 5;
const NFT_BYTEORDER_HTON: u32 = 1;
const RANGE: &str = "range";
const NFTA_RANGE_SREG: u16 = 1;
const NFTA_RANGE_OP: u16 = 2;
const NFTA_RANGE_FROM_DATA: u16 = 3;
const NFTA_RANGE_TO_DATA: u16 = 4;
const NFT_RANGE_NEQ: u32 = 1;
const OBJREF: &str = "objref";
const NFTA_OBJREF_IMM_TYPE: u16 = 1;
const NFTA_OBJREF_IMM_NAME: u16 = 2;
/// The one attribute inside a value.
const NFTA_DATA_VALUE: u16 = 1;
/// The length of a number in a register, in bytes.
const NUMBER_LEN: u32 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6` (`linux/netfilter.h`).
pub(super) const fn family_byte(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn family_of(number: u32) -> Option<Family> {
    [Family::V4, Family::V6].into_iter().find(|family| u32::from(family_byte(*family)) == number)
}

impl From<&Step> for Expression {
    fn from(step: &Step) -> Self {
        match step {
            Step::Load(field) => load(*field, REGISTER),
            Step::Append { field, word } => load(*field, key::register(*word)),
            Step::In(set) => {
                Expressions::Lookup(vec![Lookup::Set(set.clone()), Lookup::SourceRegister(REGISTER)]).into()
            }
            Step::Immediate(bytes) => immediate(REGISTER, DataAttribute::Value(bytes.clone())),
            Step::Bitwise { and, xor } => bitwise(and, xor),
            Step::ToNetworkOrder => other(BYTEORDER, &TO_NETWORK_ORDER),
            Step::AtLeast(bytes) => compare(Operator::GreatherThanEqual, bytes),
            Step::AtMost(bytes) => compare(Operator::LessThanEqual, bytes),
            Step::Outside { first, last } => outside(first, last),
            Step::Equal(bytes) => compare(Operator::Equal, bytes),
            Step::NotEqual(bytes) => compare(Operator::NotEqual, bytes),
            Step::Store(slot) => store(*slot),
            Step::Redirect => other(REDIR, &[(NFTA_REDIR_REG_PROTO_MIN, u32::from(REGISTER))]),
            Step::Intercept(family) => other(TPROXY, &intercept(*family)),
            Step::SourceNat(family) => other(
                NAT,
                &[
                    (NFTA_NAT_TYPE, NFT_NAT_SNAT),
                    (NFTA_NAT_FAMILY, family_byte(*family).into()),
                    (NFTA_NAT_REG_ADDR_MIN, u32::from(REGISTER)),
                ],
            ),
            Step::Accept => verdict(ACCEPT),
            Step::Drop => verdict(DROP),
            Step::Reset => other(REJECT, &[(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST)]),
            Step::SetTimeouts => set_timeouts(),
            Step::Count => other(COUNTER, &[]),
        }
    }
}

fn load(field: Field, register: Register) -> Expression {
    let meta = |key| Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(register)]).into();
    let ct = |key| other(CT, &[(NFTA_CT_KEY, key), (NFTA_CT_DREG, u32::from(register))]);
    let socket = |key| other(SOCKET, &[(NFTA_SOCKET_KEY, key), (NFTA_SOCKET_DREG, u32::from(register))]);
    match field {
        Field::Family => meta(MetaKey::Nfproto),
        Field::Protocol => meta(MetaKey::L4Proto),
        Field::IncomingInterface => meta(MetaKey::Iifname),
        Field::OutgoingInterface => meta(MetaKey::Oifname),
        Field::PacketMark => meta(MetaKey::Mark),
        Field::ConnectionMark => ct(NFT_CT_MARK),
        Field::Direction => ct(NFT_CT_DIRECTION),
        Field::ConnectionState => ct(NFT_CT_STATE),
        Field::ConnectionStatus => ct(NFT_CT_STATUS),
        Field::SocketMark => socket(NFT_SOCKET_MARK),
        Field::Transparent => socket(NFT_SOCKET_TRANSPARENT),
        Field::Cgroup { level } => other(
            SOCKET,
            &[
                (NFTA_SOCKET_KEY, NFT_SOCKET_CGROUPV2),
                (NFTA_SOCKET_DREG, u32::from(REGISTER)),
                (NFTA_SOCKET_LEVEL, level),
            ],
        ),
        Field::User => meta(MetaKey::SocketUserId),
        Field::Group => meta(MetaKey::SocketGroupId),
        Field::Payload { base, offset, length } => {
            let base = match base {
                Base::Network => NETWORK_HEADER,
                Base::Transport => TRANSPORT_HEADER,
            };
            Expressions::Payload(vec![
                Payload::DestinationRegister(register),
                Payload::Base(base),
                Payload::Offset(offset),
                Payload::Len(length),
            ])
            .into()
        }
    }
}

fn store(slot: Slot) -> Expression {
    let ct = |key| other(CT, &[(NFTA_CT_KEY, key), (NFTA_CT_SREG, u32::from(REGISTER))]);
    match slot {
        Slot::PacketMark => {
            Expressions::Meta(vec![Meta::Key(MetaKey::Mark), Meta::SourceRegister(REGISTER)]).into()
        }
        Slot::ConnectionMark => ct(NFT_CT_MARK),
        Slot::Zone => ct(NFT_CT_ZONE),
    }
}

fn bitwise(and: &[u8], xor: &[u8]) -> Expression {
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(REGISTER),
        Bitwise::DestinationRegister(REGISTER),
        // No register holds more than 16 bytes.
        Bitwise::Length(u32::try_from(and.len()).unwrap_or(u32::MAX)),
        Bitwise::Op(MASK_XOR),
        Bitwise::Mask(DataAttribute::Value(and.into())),
        Bitwise::Xor(DataAttribute::Value(xor.into())),
    ])
    .into()
}

fn compare(operator: Operator, bytes: &[u8]) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(REGISTER),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(bytes.into())),
    ])
    .into()
}

/// The attributes of the step that looks for a socket.
fn intercept(family: Option<Family>) -> [(u16, u32); 2] {
    let family = family.map_or(BOTH_FAMILIES, |family| family_byte(family).into());
    [(NFTA_TPROXY_FAMILY, family), (NFTA_TPROXY_REG_PORT, u32::from(REGISTER))]
}

/// The attributes of the step that turns a number to the network's order.
const TO_NETWORK_ORDER: [(u16, u32); 5] = [
    // NFT_REG_1.
    (NFTA_BYTEORDER_SREG, 1),
    (NFTA_BYTEORDER_DREG, 1),
    (NFTA_BYTEORDER_OP, NFT_BYTEORDER_HTON),
    (NFTA_BYTEORDER_LEN, NUMBER_LEN),
    (NFTA_BYTEORDER_SIZE, NUMBER_LEN),
];

fn outside(first: &[u8], last: &[u8]) -> Expression {
    let number = |kind, value: u32| DefaultNla::new(kind, value.to_be_bytes().into());
    let value = |kind, bytes: &[u8]| {
        let inner = DefaultNla::new(NFTA_DATA_VALUE, bytes.into());
        let mut value = vec![0; inner.buffer_len()];
        inner.emit(&mut value);
        DefaultNla::new(kind | NLA_F_NESTED, value)
    };
    let attributes = vec![
        number(NFTA_RANGE_SREG, u32::from(REGISTER)),
        number(NFTA_RANGE_OP, NFT_RANGE_NEQ),
        value(NFTA_RANGE_FROM_DATA, first),
        value(NFTA_RANGE_TO_DATA, last),
    ];
    Expressions::Other { expression_type: RANGE.into(), attributes }.into()
}

fn set_timeouts() -> Expression {
    let attributes = vec![
        DefaultNla::new(NFTA_OBJREF_IMM_TYPE, objects::CT_TIMEOUT.to_be_bytes().into()),
        DefaultNla::new(NFTA_OBJREF_IMM_NAME, [tcp_timeouts::NAME.as_bytes(), &[0]].concat()),
    ];
    Expressions::Other { expression_type: OBJREF.into(), attributes }.into()
}

fn verdict(code: Verdict) -> Expression {
    immediate(Register::Verdict, DataAttribute::Verdict(vec![VerdictAttribute::Code(code)]))
}

fn immediate(register: Register, data: DataAttribute) -> Expression {
    Expressions::Immediate(vec![Immediate::DestinationRegister(register), Immediate::Data(data)]).into()
}

fn other(name: &str, attributes: &[(u16, u32)]) -> Expression {
    let attributes =
        attributes.iter().map(|&(kind, value)| DefaultNla::new(kind, value.to_be_bytes().into())).collect();
    Expressions::Other { expression_type: name.into(), attributes }.into()
}

impl Step {
    /// The step of an expression; none when it is something that our rules do not use.
    pub(super) fn of(expression: &RawExpression<'_>) -> Option<Self> {
        let data = expression.data;
        match expression.name.as_str() {
            "meta" => Self::of_meta(&read(data).ok()?),
            "payload" => Self::of_payload(&read(data).ok()?),
            "bitwise" => Self::of_bitwise(&read(data).ok()?),
            "cmp" => Self::of_cmp(&read(data).ok()?),
            "lookup" => Self::of_lookup(&read(data).ok()?),
            "immediate" => Self::of_immediate(&read(data).ok()?),
            CT => Self::of_ct(&read(data).ok()?),
            REDIR => Self::of_redir(&read(data).ok()?),
            REJECT => Self::of_numbers(data, &[(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST)], Self::Reset),
            TPROXY => [None, Some(Family::V4), Some(Family::V6)]
                .into_iter()
                .find_map(|family| Self::of_numbers(data, &intercept(family), Self::Intercept(family))),
            SOCKET => Self::of_socket(&read(data).ok()?),
            NAT => Self::of_source_nat(&read(data).ok()?),
            BYTEORDER => Self::of_numbers(data, &TO_NETWORK_ORDER, Self::ToNetworkOrder),
            RANGE => Self::of_range(data),
            OBJREF => Self::of_objref(data),
            COUNTER => Some(Self::Count),
            _ => None,
        }
    }

    fn of_socket(attributes: &[DefaultNla]) -> Option<Self> {
        let (mut key, mut level) = (None, None);
        for attribute in attributes {
            match (attribute.kind(), number(attribute)?) {
                (NFTA_SOCKET_KEY, value) => key = Some(value),
                (NFTA_SOCKET_LEVEL, value) => level = Some(value),
                (NFTA_SOCKET_DREG, value) if Register::from(value) == REGISTER => {}
                _ => return None,
            }
        }
        match (key?, level) {
            (NFT_SOCKET_MARK, None) => Some(Self::Load(Field::SocketMark)),
            (NFT_SOCKET_TRANSPARENT, None) => Some(Self::Load(Field::Transparent)),
            (NFT_SOCKET_CGROUPV2, Some(level)) => Some(Self::Load(Field::Cgroup { level })),
            _ => None,
        }
    }

    fn of_source_nat(attributes: &[DefaultNla]) -> Option<Self> {
        let (mut is_source, mut family, mut is_from_register) = (false, None, false);
        for attribute in attributes {
            match (attribute.kind(), number(attribute)?) {
                (NFTA_NAT_TYPE, NFT_NAT_SNAT) => is_source = true,
                (NFTA_NAT_FAMILY, value) => family = family_of(value),
                (NFTA_NAT_REG_ADDR_MIN | NFTA_NAT_REG_ADDR_MAX, value)
                    if Register::from(value) == REGISTER =>
                {
                    is_from_register = true;
                }
                (NFTA_NAT_FLAGS, MAP_IPS) => {}
                _ => return None,
            }
        }
        (is_source && is_from_register).then_some(Self::SourceNat(family?))
    }

    fn of_meta(attributes: &[Meta]) -> Option<Self> {
        let key = attributes.iter().find_map(|attribute| match attribute {
            Meta::Key(key) => Some(*key),
            _ => None,
        })?;
        if attributes.contains(&Meta::SourceRegister(REGISTER)) {
            return (key == MetaKey::Mark).then_some(Self::Store(Slot::PacketMark));
        }
        let field = match key {
            MetaKey::Nfproto => Field::Family,
            MetaKey::L4Proto => Field::Protocol,
            MetaKey::Iifname => Field::IncomingInterface,
            MetaKey::Oifname => Field::OutgoingInterface,
            MetaKey::Mark => Field::PacketMark,
            MetaKey::SocketUserId => Field::User,
            MetaKey::SocketGroupId => Field::Group,
            _ => return None,
        };
        attributes.contains(&Meta::DestinationRegister(REGISTER)).then_some(Self::Load(field))
    }

    fn of_payload(attributes: &[Payload]) -> Option<Self> {
        let (mut base, mut offset, mut length, mut register) = (None, None, None, None);
        for attribute in attributes {
            match attribute {
                Payload::DestinationRegister(found) => register = Some(*found),
                Payload::Base(NETWORK_HEADER) => base = Some(Base::Network),
                Payload::Base(TRANSPORT_HEADER) => base = Some(Base::Transport),
                Payload::Offset(bytes) => offset = Some(*bytes),
                Payload::Len(bytes) => length = Some(*bytes),
                _ => return None,
            }
        }
        let field = Field::Payload { base: base?, offset: offset?, length: length? };
        match register? {
            REGISTER => Some(Self::Load(field)),
            other => Some(Self::Append { field, word: key::word(other)? }),
        }
    }

    fn of_bitwise(attributes: &[Bitwise]) -> Option<Self> {
        let (mut and, mut xor) = (None, None);
        for attribute in attributes {
            match attribute {
                Bitwise::SourceRegister(REGISTER)
                | Bitwise::DestinationRegister(REGISTER)
                | Bitwise::Length(_)
                | Bitwise::Op(MASK_XOR) => {}
                Bitwise::Mask(DataAttribute::Value(bytes)) => and = Some(bytes.clone()),
                Bitwise::Xor(DataAttribute::Value(bytes)) => xor = Some(bytes.clone()),
                _ => return None,
            }
        }
        Some(Self::Bitwise { and: and?, xor: xor? })
    }

    fn of_cmp(attributes: &[Cmp]) -> Option<Self> {
        let (mut operator, mut data) = (None, None);
        for attribute in attributes {
            match attribute {
                Cmp::SourceRegister(REGISTER) => {}
                Cmp::Op(found) => operator = Some(*found),
                Cmp::Data(DataAttribute::Value(bytes)) => data = Some(bytes.clone()),
                _ => return None,
            }
        }
        match operator? {
            Operator::Equal => Some(Self::Equal(data?)),
            Operator::NotEqual => Some(Self::NotEqual(data?)),
            Operator::GreatherThanEqual => Some(Self::AtLeast(data?)),
            Operator::LessThanEqual => Some(Self::AtMost(data?)),
            _ => None,
        }
    }

    fn of_lookup(attributes: &[Lookup]) -> Option<Self> {
        let (mut set, mut from) = (None, None);
        for attribute in attributes {
            match attribute {
                Lookup::Set(found) => set = Some(found.clone()),
                Lookup::SourceRegister(found) => from = Some(*found),
                // With a flag it would be the rest that is found.
                Lookup::Flags(0) => {}
                _ => return None,
            }
        }
        set.filter(|_| from == Some(REGISTER)).map(Self::In)
    }

    fn of_immediate(attributes: &[Immediate]) -> Option<Self> {
        let (mut register, mut data) = (None, None);
        for attribute in attributes {
            match attribute {
                Immediate::DestinationRegister(found) => register = Some(*found),
                Immediate::Data(found) => data = Some(found),
                _ => return None,
            }
        }
        match (register?, data?) {
            (REGISTER, DataAttribute::Value(bytes)) => Some(Self::Immediate(bytes.clone())),
            (Register::Verdict, DataAttribute::Verdict(verdict)) => match verdict.as_slice() {
                [VerdictAttribute::Code(ACCEPT)] => Some(Self::Accept),
                [VerdictAttribute::Code(DROP)] => Some(Self::Drop),
                _ => None,
            },
            _ => None,
        }
    }

    fn of_ct(attributes: &[DefaultNla]) -> Option<Self> {
        let (mut key, mut from, mut to) = (None, None, None);
        for attribute in attributes {
            match (attribute.kind(), number(attribute)?) {
                (NFTA_CT_KEY, value) => key = Some(value),
                (NFTA_CT_SREG, value) => from = Some(Register::from(value)),
                (NFTA_CT_DREG, value) => to = Some(Register::from(value)),
                _ => return None,
            }
        }
        match (key?, from, to) {
            (NFT_CT_MARK, None, Some(REGISTER)) => Some(Self::Load(Field::ConnectionMark)),
            (NFT_CT_DIRECTION, None, Some(REGISTER)) => Some(Self::Load(Field::Direction)),
            (NFT_CT_STATE, None, Some(REGISTER)) => Some(Self::Load(Field::ConnectionState)),
            (NFT_CT_STATUS, None, Some(REGISTER)) => Some(Self::Load(Field::ConnectionStatus)),
            (NFT_CT_MARK, Some(REGISTER), None) => Some(Self::Store(Slot::ConnectionMark)),
            (NFT_CT_ZONE, Some(REGISTER), None) => Some(Self::Store(Slot::Zone)),
            _ => None,
        }
    }

    /// The step if its attributes are exactly these numbers, in any order.
    fn of_numbers(data: &[u8], expected: &[(u16, u32)], step: Self) -> Option<Self> {
        let found: Vec<DefaultNla> = read(data).ok()?;
        let is_there = |&(kind, value): &(u16, u32)| {
            found.iter().any(|attribute| attribute.kind() == kind && number(attribute) == Some(value))
        };
        (found.len() == expected.len() && expected.iter().all(is_there)).then_some(step)
    }

    fn of_range(data: &[u8]) -> Option<Self> {
        let (mut first, mut last) = (None, None);
        for attribute in attributes(data) {
            let attribute = attribute.ok()?;
            let bytes = inside(&attribute);
            match attribute.kind() {
                NFTA_RANGE_SREG => (big_endian(bytes)? == u32::from(REGISTER)).then_some(())?,
                NFTA_RANGE_OP => (big_endian(bytes)? == NFT_RANGE_NEQ).then_some(())?,
                NFTA_RANGE_FROM_DATA => first = Some(data_value(bytes)?),
                NFTA_RANGE_TO_DATA => last = Some(data_value(bytes)?),
                _ => return None,
            }
        }
        Some(Self::Outside { first: first?, last: last? })
    }

    fn of_objref(data: &[u8]) -> Option<Self> {
        let (mut is_timeout, mut is_ours) = (false, false);
        for attribute in attributes(data) {
            let attribute = attribute.ok()?;
            let bytes = inside(&attribute);
            match attribute.kind() {
                NFTA_OBJREF_IMM_TYPE => is_timeout = big_endian(bytes) == Some(objects::CT_TIMEOUT),
                NFTA_OBJREF_IMM_NAME => is_ours = parse_string(bytes).ok()? == tcp_timeouts::NAME,
                _ => return None,
            }
        }
        (is_timeout && is_ours).then_some(Self::SetTimeouts)
    }

    fn of_redir(attributes: &[DefaultNla]) -> Option<Self> {
        let mut redirect = None;
        for attribute in attributes {
            match (attribute.kind(), number(attribute)?) {
                (NFTA_REDIR_REG_PROTO_MIN, value) if Register::from(value) == REGISTER => {
                    redirect = Some(Self::Redirect);
                }
                (NFTA_REDIR_REG_PROTO_MAX, value) if Register::from(value) == REGISTER => {}
                (NFTA_REDIR_FLAGS, PROTO_SPECIFIED) => {}
                _ => return None,
            }
        }
        redirect
    }
}

/// An expression of a rule that was read back: its name, and its attributes unread.
#[derive(Clone, Debug)]
pub(super) struct RawExpression<'bytes> {
    pub(super) name: String,
    pub(super) data: &'bytes [u8],
}

/// The expressions of a rule (`NFTA_RULE_EXPRESSIONS`, a list of name and data).
pub(super) fn raw_expressions(list: &[u8]) -> Result<Vec<RawExpression<'_>>, DecodeError> {
    attributes(list).map(|element| raw_expression(inside(&element?))).collect()
}

fn raw_expression(element: &[u8]) -> Result<RawExpression<'_>, DecodeError> {
    let (mut name, mut data): (_, &[u8]) = (String::new(), &[]);
    for attribute in attributes(element) {
        let attribute = attribute?;
        match attribute.kind() {
            NFTA_EXPR_NAME => name = parse_string(inside(&attribute))?,
            NFTA_EXPR_DATA => data = inside(&attribute),
            _ => {}
        }
    }
    Ok(RawExpression { name, data })
}

pub(super) fn big_endian(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// The bytes of a value (`NFTA_DATA_VALUE` and nothing else).
fn data_value(nested: &[u8]) -> Option<Vec<u8>> {
    let mut values = attributes(nested);
    let value = values.next()?.ok()?;
    (value.kind() == NFTA_DATA_VALUE && values.next().is_none()).then(|| inside(&value).into())
}

/// A 32 bit number in network order, as nf_tables has all its attributes.
fn number(attribute: &DefaultNla) -> Option<u32> {
    if attribute.value_len() != size_of::<u32>() {
        return None;
    }
    let mut bytes = [0; size_of::<u32>()];
    attribute.emit_value(&mut bytes);
    Some(u32::from_be_bytes(bytes))
}
