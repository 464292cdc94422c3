//! Encode: a neutral rule in the words of iptables. The twin of `decode`.

use crate::family::Family;
use crate::id_range::IdRange;
use crate::mark::Mark;
use crate::network::Network;
use crate::port_range::PortRange;
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::tcp_flags::TcpFlags;

use super::error::Obstacle;
use super::place::Table;
use super::timeouts;
use super::word::quote;

/// The longest comment, in bytes: `XT_MAX_COMMENT_LEN` (256, in `linux/netfilter/xt_comment.h`) less its NUL.
const MAX_COMMENT: usize = 255;

/// The rule as what comes after the name of its chain, for packets of one family: [`Match::Family`] says nothing here.
pub(crate) fn words(rule: &Rule, table: Table, family: Family) -> Result<String, Obstacle> {
    let mut words = header(rule);
    let protocol = rule.matches().iter().find_map(|condition| match condition {
        Match::Protocol(protocol) => Some(*protocol),
        _ => None,
    });
    words.extend(transport(rule, protocol)?);
    for condition in rule.matches() {
        words.extend(extension(condition)?);
    }
    if !rule.why().is_empty() {
        words.push(format!("-m comment --comment {}", quote(cut(rule.why()))));
    }
    words.push(match rule.action() {
        Action::SetTimeouts if table == Table::Raw => format!("-j CT --timeout {}", timeouts::name(family)),
        action => target(action, table, protocol)?,
    });
    Ok(words.join(" "))
}

/// What iptables itself tests, each at most once; more networks go to an extension.
fn header(rule: &Rule) -> Vec<String> {
    let mut words = Vec::new();
    let (mut sources, mut destinations) = (Addresses::new("-s", "src"), Addresses::new("-d", "dst"));
    for condition in rule.matches() {
        match condition {
            Match::Incoming(test) => words.push(option("-i", test, |name| quote(name.as_str()))),
            Match::Outgoing(test) => words.push(option("-o", test, |name| quote(name.as_str()))),
            Match::Protocol(protocol) => words.push(format!("-p {}", name(*protocol))),
            Match::Source(test) => words.push(sources.next(test)),
            Match::Destination(test) => words.push(destinations.next(test)),
            _ => {}
        }
    }
    words
}

/// Tests of one address.
struct Addresses {
    first: Option<&'static str>,
    side: &'static str,
}

impl Addresses {
    fn new(first: &'static str, side: &'static str) -> Self {
        Self { first: Some(first), side }
    }

    fn next(&mut self, test: &Test<Network>) -> String {
        match self.first.take() {
            Some(name) => option(name, test, ToString::to_string),
            None => {
                let range = |network: &Network| format!("{}-{}", network.address(), network.last());
                format!("-m iprange {}", option(&format!("--{}-range", self.side), test, range))
            }
        }
    }
}

/// What the protocol's own header shows, all in one test: of two by one extension, iptables-nft keeps the last. More ports than
/// one go to another extension.
fn transport(rule: &Rule, protocol: Option<Protocol>) -> Result<Vec<String>, Obstacle> {
    let (mut own, mut more) = (Vec::new(), Vec::new());
    let (mut first_source, mut first_destination) = (true, true);
    for condition in rule.matches() {
        let (short, long, test, first) = match condition {
            Match::SourcePort(test) => ("--sport", "--sports", test, &mut first_source),
            Match::DestinationPort(test) => ("--dport", "--dports", test, &mut first_destination),
            Match::TcpFlags(flags) => {
                own.push(format!("--tcp-flags {}", flag_words(*flags).join(" ")));
                continue;
            }
            _ => continue,
        };
        if std::mem::take(first) {
            own.push(option(short, test, ports));
        } else {
            more.push(format!("-m multiport {}", option(long, test, ports)));
        }
    }
    if !own.is_empty() {
        own.insert(0, format!("-m {}", name(protocol.ok_or(Obstacle::NoProtocol)?)));
    }
    own.extend(more);
    Ok(own)
}

/// What other extensions test.
fn extension(condition: &Match) -> Result<Option<String>, Obstacle> {
    Ok(Some(match condition {
        Match::Family(_)
        | Match::Incoming(_)
        | Match::Outgoing(_)
        | Match::Protocol(_)
        | Match::Source(_)
        | Match::Destination(_)
        | Match::SourcePort(_)
        | Match::DestinationPort(_)
        | Match::TcpFlags(_) => return Ok(None),
        Match::SourceIn(_) | Match::DestinationIn(_) | Match::ConnectionIn(_) => {
            return Err(Obstacle::NoSets);
        }
        Match::PacketMark(test) => mark("-m mark", test),
        Match::ConnectionMark(test) => mark("-m connmark", test),
        Match::Dscp(_, test) => format!("-m dscp {}", option("--dscp", test, ToString::to_string)),
        Match::Reply => "-m conntrack --ctdir REPLY".into(),
        Match::Established => "-m conntrack --ctstate ESTABLISHED".into(),
        Match::Translated => "-m conntrack --ctstate DNAT".into(),
        // There is no test for a socket's mark: the packet takes it, and is tested. It goes to that socket only.
        // Listeners on the wildcard address are none of these sockets.
        Match::SocketMark(test) => mark("-m socket --restore-skmark -m mark", test),
        // The proxy's listeners are on the wildcard address.
        Match::Transparent => "-m socket --transparent --nowildcard".into(),
        Match::Cgroup(_) => return Err(Obstacle::NoCgroups),
        Match::User(test) => format!("-m owner {}", option("--uid-owner", test, ids)),
        Match::Group(test) => format!("-m owner {}", option("--gid-owner", test, ids)),
    }))
}

fn option<T>(name: &str, test: &Test<T>, word: impl Fn(&T) -> String) -> String {
    match test {
        Test::Is(value) => format!("{name} {}", word(value)),
        Test::IsNot(value) => format!("! {name} {}", word(value)),
    }
}

fn mark(extension: &str, test: &Test<Mark>) -> String {
    format!("{extension} {}", option("--mark", test, ToString::to_string))
}

fn ports(range: &PortRange) -> String {
    let (first, last) = (range.first(), range.last());
    if first == last { first.to_string() } else { format!("{first}:{last}") }
}

fn ids(range: &IdRange) -> String {
    let (first, last) = (range.first(), range.last());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// Which flags are looked at, and which of them are set.
pub(super) fn flag_words(flags: TcpFlags) -> [&'static str; 2] {
    match flags {
        TcpFlags::Opens => ["FIN,SYN,RST,ACK", "SYN"],
        TcpFlags::Acknowledges => ["ACK", "ACK"],
        TcpFlags::Resets => ["RST", "RST"],
    }
}

pub(super) fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// The action as a target. Some are to be had in some tables only (the kernel's `struct xt_target`, its `table`;
/// `DROP` in nat is refused by iptables itself).
///
/// An accepted packet goes back to the built-in chain (`RETURN`) and meets the rules of others there, as it would
/// meet their chains after one of ours in nf_tables. `ACCEPT` would pass them by.
fn target(action: Action, table: Table, protocol: Option<Protocol>) -> Result<String, Obstacle> {
    let only_in = |wanted: Table| if table == wanted { Ok(()) } else { Err(Obstacle::NotInTable) };
    Ok(match action {
        Action::Accept => "-j RETURN".into(),
        Action::Drop if table == Table::Nat => return Err(Obstacle::NotInTable),
        Action::Drop => "-j DROP".into(),
        Action::Reset => {
            only_in(Table::Filter)?;
            if protocol != Some(Protocol::Tcp) {
                return Err(Obstacle::NoProtocol);
            }
            "-j REJECT --reject-with tcp-reset".into()
        }
        Action::Redirect(port) => {
            only_in(Table::Nat)?;
            protocol.ok_or(Obstacle::NoProtocol)?;
            format!("-j REDIRECT --to-ports {port}")
        }
        Action::SourceNat(address) => {
            only_in(Table::Nat)?;
            format!("-j SNAT --to-source {address}")
        }
        // It is the address of the interface by which the packet came that is then looked for, or the wildcard's listener. Where
        // nobody listens the packet is dropped.
        Action::Intercept(port, mark) => {
            only_in(Table::Mangle)?;
            protocol.ok_or(Obstacle::NoProtocol)?;
            format!("-j TPROXY --on-port {port} --tproxy-mark {mark}")
        }
        Action::SetPacketMark(mark) => format!("-j MARK --set-xmark {mark}"),
        Action::SetConnectionMark(mark) => format!("-j CONNMARK --set-xmark {mark}"),
        Action::SetTimeouts => return Err(Obstacle::NoTimeouts),
        Action::SetZone(zone) => {
            only_in(Table::Raw)?;
            format!("-j CT --zone {zone}")
        }
    })
}

/// As much of a comment as fits, to a whole character.
fn cut(comment: &str) -> &str {
    let end = (0..=MAX_COMMENT.min(comment.len())).rev().find(|&end| comment.is_char_boundary(end));
    end.and_then(|end| comment.get(..end)).unwrap_or_default()
}
