//! Rule: what to do with which packets, and why; in words of no particular firewall.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::cgroup::Cgroup;
use crate::dscp::Dscp;
use crate::family::Family;
use crate::id_range::IdRange;
use crate::interface::InterfaceName;
use crate::mark::Mark;
use crate::network::Network;
use crate::port::Port;
use crate::port_range::PortRange;
use crate::set::Set;
use crate::tcp_flags::TcpFlags;
use crate::tcp_timeouts;

/// The longest [`why`](Rule::why), in bytes: what `nft` takes as a comment (`NFTNL_UDATA_COMMENT_MAXLEN`).
pub(crate) const MAX_WHY: usize = 128;

/// One rule of a chain: the packets that match all of its conditions meet its action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    matches: BTreeSet<Match>,
    action: Action,
    why: Cow<'static, str>,
}

/// One condition on a packet. A rule's conditions all hold, so they are a set: their order means nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Match {
    /// The packet is of this family.
    Family(Family),
    /// The interface by which the packet came in.
    Incoming(Test<InterfaceName>),
    /// The interface by which the packet goes out.
    Outgoing(Test<InterfaceName>),
    /// The packet is of this transport protocol.
    Protocol(Protocol),
    /// The packet's source address.
    Source(Test<Network>),
    /// The packet's destination address.
    Destination(Test<Network>),
    /// The packet's source address is in this set of addresses.
    SourceIn(Set),
    /// The packet's destination address is in this set of addresses.
    DestinationIn(Set),
    /// The packet is of a connection in this set, and goes in the direction in which the set has it.
    ConnectionIn(Set),
    /// The packet's source port.
    SourcePort(Test<PortRange>),
    /// The packet's destination port.
    DestinationPort(Test<PortRange>),
    /// The packet's mark (`SO_MARK` of the socket that sent it, or what a rule has set).
    PacketMark(Test<Mark>),
    /// The mark of the connection to which the packet belongs.
    ConnectionMark(Test<Mark>),
    /// The class of service in the header of a packet of this family.
    Dscp(Family, Test<Dscp>),
    /// The packet answers one that opened its connection; it is the reply direction of a tracked one.
    Reply,
    /// Conntrack knew the packet's connection before the packet came.
    Established,
    /// The destination of the packet's connection has been translated, by whoever: each packet of it goes to another than it says.
    Translated,
    /// What the flags of a TCP segment say.
    TcpFlags(TcpFlags),
    /// The mark of the socket here that is to receive the packet. A connection that is not yet, or no longer, a whole socket
    /// (`sk_fullsock` in the kernel) carries none.
    SocketMark(Test<Mark>),
    /// The socket here that sends the packet, or is to receive it, may have an address that is not one of this host
    /// (`IP_TRANSPARENT`): the proxy's. To have one takes `CAP_NET_ADMIN`.
    Transparent,
    /// The control group, or one below it, of the process whose socket sends the packet. Where packets are sent, and nowhere else.
    Cgroup(Test<Cgroup>),
    /// The user whose socket sends the packet, by the number in the user namespace that owns the network namespace.
    User(Test<IdRange>),
    /// The group whose socket sends the packet, by that number.
    Group(Test<IdRange>),
}

/// Whether a value is wanted or excepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Test<T> {
    /// It is this.
    Is(T),
    /// It is anything but this.
    IsNot(T),
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What becomes of a packet that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// It goes on as it is; no later rule of the chain sees it.
    Accept,
    /// It goes nowhere, and nobody is told.
    Drop,
    /// It goes nowhere, and its TCP sender is told that the connection is reset. Not before routing or after it.
    Reset,
    /// It goes to this port of this host instead; the original destination is remembered (`SO_ORIGINAL_DST`).
    Redirect(Port),
    /// Its source becomes this address; and so that of its whole connection.
    SourceNat(IpAddr),
    /// A socket here that listens on this port takes the connection, or the socket that has it already, whatever its destination
    /// (Documentation/networking/tproxy.rst). Its own mark takes these bits, by which it is routed to this host. Where no
    /// such socket is, nothing happens and the next rule is met.
    Intercept(Port, Mark),
    /// Its own mark takes these bits; bits outside the mask stay.
    SetPacketMark(Mark),
    /// The mark of its connection takes these bits; bits outside the mask stay.
    SetConnectionMark(Mark),
    /// Its connection is tracked apart from all others, in this conntrack zone.
    SetZone(u16),
    /// Its connection, if it is the first packet of one, is remembered for as long as the plan's
    /// [`TcpTimeouts`](crate::TcpTimeouts) say.
    SetTimeouts,
}

impl Rule {
    /// The rule with these conditions and those that they imply: an address implies its family, and ports of TCP the
    /// protocol, since a rule that sees all packets would else compare other bytes.
    pub(crate) fn new(
        matches: impl IntoIterator<Item = Match>,
        action: Action,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        let mut matches: BTreeSet<Match> = matches.into_iter().collect();
        let families: Vec<Family> = matches.iter().filter_map(Match::implied_family).collect();
        matches.extend(families.into_iter().map(Match::Family));
        if matches.iter().any(|condition| matches!(condition, Match::ConnectionIn(_))) {
            matches.insert(Match::Protocol(Protocol::Tcp));
        }
        Self::exactly(matches, action, why)
    }

    /// The rule with these conditions and no others, as read back from a kernel.
    pub(crate) fn exactly(
        matches: BTreeSet<Match>,
        action: Action,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { matches, action, why: why.into() }
    }

    /// The conditions.
    pub fn matches(&self) -> &BTreeSet<Match> {
        &self.matches
    }

    /// The action.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Why the rule is there; its comment in the kernel.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The family of the packets that can meet all conditions, if they say it.
    pub(crate) fn family(&self) -> Option<Family> {
        self.matches.iter().find_map(|condition| match condition {
            Match::Family(family) => Some(*family),
            other => other.implied_family(),
        })
    }

    /// Whether the two do the same, whatever they say why.
    pub fn does_the_same_as(&self, other: &Self) -> bool {
        self.matches == other.matches && self.action == other.action
    }
}

impl Match {
    fn implied_family(&self) -> Option<Family> {
        match self {
            Self::Source(test) | Self::Destination(test) => Some(test.value().family()),
            Self::SourceIn(set) | Self::DestinationIn(set) | Self::ConnectionIn(set) => Some(set.family()),
            Self::Dscp(family, _) => Some(*family),
            Self::Family(_)
            | Self::Incoming(_)
            | Self::Outgoing(_)
            | Self::Protocol(_)
            | Self::SourcePort(_)
            | Self::DestinationPort(_)
            | Self::PacketMark(_)
            | Self::ConnectionMark(_)
            | Self::Reply
            | Self::Established
            | Self::Translated
            | Self::TcpFlags(_)
            | Self::SocketMark(_)
            | Self::Transparent
            | Self::Cgroup(_)
            | Self::User(_)
            | Self::Group(_) => None,
        }
    }
}

impl<T> Test<T> {
    /// The value wanted or excepted.
    pub const fn value(&self) -> &T {
        match self {
            Self::Is(value) | Self::IsNot(value) => value,
        }
    }

    /// The same test of another value.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Test<U> {
        match self {
            Self::Is(value) => Test::Is(change(value)),
            Self::IsNot(value) => Test::IsNot(change(value)),
        }
    }
}

impl<T: Copy> Test<T> {
    /// The same test of another value, if there is one.
    pub(crate) fn try_map<U>(&self, change: impl FnOnce(T) -> Option<U>) -> Option<Test<U>> {
        match self {
            Self::Is(value) => change(*value).map(Test::Is),
            Self::IsNot(value) => change(*value).map(Test::IsNot),
        }
    }
}

impl fmt::Display for Rule {
    /// As `nft` takes it, without the comment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.matches.iter().find_map(|condition| match condition {
            Match::Protocol(protocol) => Some(*protocol),
            _ => None,
        });
        for condition in &self.matches {
            match condition {
                Match::Family(_) if self.matches.iter().any(|other| other.implied_family().is_some()) => {}
                Match::Protocol(_) if self.matches.iter().any(Match::is_port) => {}
                _ => condition.write(f, protocol)?,
            }
        }
        f.write_str("counter ")?;
        match self.action {
            // nft wants to hear again of which family the packets are, if the conditions say it.
            Action::Intercept(port, mark) => write_intercept(f, self.family(), port, mark),
            action => write!(f, "{action}"),
        }
    }
}

impl Match {
    fn is_port(&self) -> bool {
        matches!(
            self,
            Self::SourcePort(_) | Self::DestinationPort(_) | Self::ConnectionIn(_) | Self::TcpFlags(_)
        )
    }

    /// The condition in nft's words, and a space. nft writes a port after its protocol, and an address after
    /// its family, which then need no words of their own.
    fn write(&self, f: &mut fmt::Formatter<'_>, protocol: Option<Protocol>) -> fmt::Result {
        let th = protocol.map_or("th", Protocol::name);
        match self {
            Self::Family(family) => write!(f, "meta nfproto {family} "),
            Self::Incoming(test) => write!(f, "iifname {}\"{}\" ", test.sign(), test.value()),
            Self::Outgoing(test) => write!(f, "oifname {}\"{}\" ", test.sign(), test.value()),
            Self::Protocol(protocol) => write!(f, "meta l4proto {} ", protocol.name()),
            Self::Source(test) => {
                write!(f, "{} saddr {}{} ", header(test.value().family()), test.sign(), test.value())
            }
            Self::Destination(test) => {
                write!(f, "{} daddr {}{} ", header(test.value().family()), test.sign(), test.value())
            }
            Self::SourceIn(set) => write!(f, "{} saddr @{} ", header(set.family()), set.name()),
            Self::DestinationIn(set) => write!(f, "{} daddr @{} ", header(set.family()), set.name()),
            Self::ConnectionIn(set) => {
                let (header, name) = (header(set.family()), set.name());
                write!(f, "{header} saddr . tcp sport . {header} daddr . tcp dport @{name} ")
            }
            Self::SourcePort(test) => write!(f, "{th} sport {}{} ", test.sign(), test.value()),
            Self::DestinationPort(test) => write!(f, "{th} dport {}{} ", test.sign(), test.value()),
            Self::PacketMark(test) => write_mark(f, "meta mark", test),
            Self::ConnectionMark(test) => write_mark(f, "ct mark", test),
            Self::Dscp(family, test) => {
                write!(f, "{} dscp {}{} ", header(*family), test.sign(), test.value())
            }
            Self::Reply => f.write_str("ct direction reply "),
            Self::Established => f.write_str("ct state established "),
            Self::Translated => f.write_str("ct status dnat "),
            Self::TcpFlags(flags) => write!(f, "{flags} "),
            Self::SocketMark(test) => write_mark(f, "socket mark", test),
            Self::Transparent => f.write_str("socket transparent 1 "),
            Self::Cgroup(test) => {
                let group = test.value();
                write!(f, "socket cgroupv2 level {} {}\"{group}\" ", group.level(), test.sign())
            }
            Self::User(test) => write!(f, "meta skuid {}{} ", test.sign(), test.value()),
            Self::Group(test) => write!(f, "meta skgid {}{} ", test.sign(), test.value()),
        }
    }
}

fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn write_mark(f: &mut fmt::Formatter<'_>, what: &str, test: &Test<Mark>) -> fmt::Result {
    let mark = test.value();
    match test {
        Test::Is(_) => write!(f, "{what} & {:#x} == {:#x} ", mark.mask(), mark.value()),
        Test::IsNot(_) => write!(f, "{what} & {:#x} != {:#x} ", mark.mask(), mark.value()),
    }
}

impl<T> Test<T> {
    fn sign(&self) -> &'static str {
        match self {
            Self::Is(_) => "",
            Self::IsNot(_) => "!= ",
        }
    }
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Action {
    /// As `nft` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Reset => f.write_str("reject with tcp reset"),
            Self::Redirect(port) => write!(f, "redirect to :{port}"),
            Self::SourceNat(IpAddr::V4(address)) => write!(f, "snat ip to {address}"),
            Self::SourceNat(IpAddr::V6(address)) => write!(f, "snat ip6 to {address}"),
            Self::Intercept(port, mark) => write_intercept(f, None, *port, *mark),
            Self::SetPacketMark(mark) => write_set(f, "meta mark", *mark),
            Self::SetConnectionMark(mark) => write_set(f, "ct mark", *mark),
            Self::SetZone(zone) => write!(f, "ct zone set {zone}"),
            Self::SetTimeouts => write!(f, "ct timeout set \"{}\"", tcp_timeouts::NAME),
        }
    }
}

fn write_intercept(
    f: &mut fmt::Formatter<'_>,
    family: Option<Family>,
    port: Port,
    mark: Mark,
) -> fmt::Result {
    let family = family.map_or("", |family| match family {
        Family::V4 => "ip ",
        Family::V6 => "ip6 ",
    });
    write!(f, "tproxy {family}to :{port} ")?;
    write_set(f, "meta mark", mark)?;
    f.write_str(" accept")
}

fn write_set(f: &mut fmt::Formatter<'_>, what: &str, mark: Mark) -> fmt::Result {
    match !mark.mask() {
        0 => write!(f, "{what} set {:#x}", mark.value()),
        kept => write!(f, "{what} set {what} & {kept:#x} | {:#x}", mark.value()),
    }
}
