//! Decode: the words of iptables as a neutral rule. The twin of `encode`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use crate::dscp::Dscp;
use crate::family::Family;
use crate::found::FoundRule;
use crate::id_range::IdRange;
use crate::interface::InterfaceName;
use crate::mark::Mark;
use crate::network::Network;
use crate::port::Port;
use crate::port_range::PortRange;
use crate::rule::{Action, Match, Protocol, Rule, Test};
use crate::tcp_flags::TcpFlags;

use super::encode::{flag_words, name};
use super::timeouts;
use super::word::split;

/// The rule of these words, which come after the name of its chain, for packets of this family. One that no plan could say is
/// foreign.
pub(crate) fn rule(words: &str, family: Family) -> FoundRule {
    let Some(words) = split(words) else {
        return FoundRule::Foreign { why: None, expressions: vec![words.into()] };
    };
    let mut reader = Reader::new(family);
    let mut left = words.iter().map(String::as_str);
    let ours = reader.read(&mut left).and(reader.action);
    let why = reader.why;
    match ours {
        Some(action) => FoundRule::Ours(Rule::exactly(reader.matches, action, why.unwrap_or_default())),
        None => FoundRule::Foreign { why, expressions: words },
    }
}

struct Reader {
    family: Family,
    matches: BTreeSet<Match>,
    action: Option<Action>,
    why: Option<String>,
    /// The extension last named: several know an option of the same name.
    extension: String,
    /// The packet has taken the mark of its socket.
    socket_mark: bool,
}

impl Reader {
    fn new(family: Family) -> Self {
        Self {
            family,
            matches: BTreeSet::new(),
            action: None,
            why: None,
            extension: String::new(),
            socket_mark: false,
        }
    }

    /// Reads all words; nothing when one of them is not known.
    fn read<'a>(&mut self, words: &mut impl Iterator<Item = &'a str>) -> Option<()> {
        let mut negated = false;
        while let Some(word) = words.next() {
            if word == "!" && !negated {
                negated = true;
                continue;
            }
            if self.action.is_some() {
                return None;
            }
            match word {
                "-j" if !negated => self.action = Some(action(words, self.family)?),
                "-m" if !negated => self.extension = words.next()?.into(),
                "--comment" if !negated => self.why = Some(words.next()?.into()),
                "--restore-skmark" if !negated => self.socket_mark = true,
                "--nowildcard" if !negated => {}
                "--transparent" if !negated => self.add(Match::Transparent)?,
                "--ctdir" if !negated && words.next()? == "REPLY" => self.add(Match::Reply)?,
                "--ctstate" if !negated => self.add(state(words.next()?)?)?,
                "--tcp-flags" if !negated => {
                    let found = [words.next()?, words.next()?];
                    let flags = TcpFlags::ALL.into_iter().find(|flags| flag_words(*flags) == found)?;
                    self.add(Match::TcpFlags(flags))?;
                }
                "-p" if !negated => {
                    let found = words.next()?;
                    let protocol =
                        [Protocol::Tcp, Protocol::Udp].into_iter().find(|one| name(*one) == found)?;
                    self.add(Match::Protocol(protocol))?;
                }
                option => {
                    let condition = self.tested(option, words.next()?, negated)?;
                    self.add(condition)?;
                }
            }
            negated = false;
        }
        (!negated).then_some(())
    }

    /// A condition; nothing when it is there already.
    fn add(&mut self, condition: Match) -> Option<()> {
        self.matches.insert(condition).then_some(())
    }

    /// The condition of an option that may be negated.
    fn tested(&self, option: &str, value: &str, negated: bool) -> Option<Match> {
        Some(match (option, self.extension.as_str()) {
            ("-i", _) => Match::Incoming(test::<InterfaceName>(value, negated)?),
            ("-o", _) => Match::Outgoing(test::<InterfaceName>(value, negated)?),
            ("-s", _) => Match::Source(test::<Network>(value, negated)?),
            ("-d", _) => Match::Destination(test::<Network>(value, negated)?),
            ("--sport", "tcp" | "udp") => Match::SourcePort(test::<PortRange>(&colon(value), negated)?),
            ("--dport", "tcp" | "udp") => Match::DestinationPort(test::<PortRange>(&colon(value), negated)?),
            ("--sports", "multiport") => Match::SourcePort(test::<PortRange>(&colon(value), negated)?),
            ("--dports", "multiport") => Match::DestinationPort(test::<PortRange>(&colon(value), negated)?),
            ("--src-range", "iprange") => Match::Source(either(network(value)?, negated)),
            ("--dst-range", "iprange") => Match::Destination(either(network(value)?, negated)),
            ("--dscp", "dscp") => Match::Dscp(self.family, test::<Dscp>(value, negated)?),
            ("--mark", "mark") if self.socket_mark => Match::SocketMark(either(mark(value)?, negated)),
            ("--mark", "mark") => Match::PacketMark(either(mark(value)?, negated)),
            ("--mark", "connmark") => Match::ConnectionMark(either(mark(value)?, negated)),
            ("--uid-owner", "owner") => Match::User(test::<IdRange>(value, negated)?),
            ("--gid-owner", "owner") => Match::Group(test::<IdRange>(value, negated)?),
            _ => return None,
        })
    }
}

fn test<T: FromStr>(value: &str, negated: bool) -> Option<Test<T>> {
    Some(either(value.parse().ok()?, negated))
}

fn either<T>(value: T, negated: bool) -> Test<T> {
    if negated { Test::IsNot(value) } else { Test::Is(value) }
}

/// The ends of a range of ports have a colon between them.
fn colon(ports: &str) -> String {
    ports.replace(':', "-")
}

/// The network of which these are the first and the last address.
fn network(range: &str) -> Option<Network> {
    let (first, last) = range.split_once('-')?;
    let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
    let of = |prefix| Network::new(first, prefix).ok().filter(|network| network.last() == last);
    (0..=Family::of(first).address_bits()).find_map(of)
}

/// iptables-save leaves out a mask of all bits.
fn mark(text: &str) -> Option<Mark> {
    if text.contains('/') { text.parse() } else { format!("{text}/0xffffffff").parse() }.ok()
}

fn state(word: &str) -> Option<Match> {
    match word {
        "ESTABLISHED" => Some(Match::Established),
        "DNAT" => Some(Match::Translated),
        _ => None,
    }
}

fn action<'a>(words: &mut impl Iterator<Item = &'a str>, family: Family) -> Option<Action> {
    let target = words.next()?;
    let mut value = |option: &str| if words.next()? == option { words.next() } else { None };
    match target {
        "RETURN" => Some(Action::Accept),
        "DROP" => Some(Action::Drop),
        "REJECT" => (value("--reject-with")? == "tcp-reset").then_some(Action::Reset),
        "REDIRECT" => Some(Action::Redirect(value("--to-ports")?.parse::<Port>().ok()?)),
        "SNAT" => Some(Action::SourceNat(value("--to-source")?.parse().ok()?)),
        "TPROXY" => {
            let port = value("--on-port")?.parse::<Port>().ok()?;
            // What is said when no address is: any.
            value("--on-ip")?.parse::<IpAddr>().ok().filter(IpAddr::is_unspecified)?;
            Some(Action::Intercept(port, mark(value("--tproxy-mark")?)?))
        }
        "MARK" => Some(Action::SetPacketMark(mark(value("--set-xmark")?)?)),
        "CONNMARK" => Some(Action::SetConnectionMark(mark(value("--set-xmark")?)?)),
        "CT" => match (words.next()?, words.next()?) {
            ("--zone", zone) => Some(Action::SetZone(zone.parse().ok()?)),
            ("--timeout", name) if name == timeouts::name(family) => Some(Action::SetTimeouts),
            _ => None,
        },
        _ => None,
    }
}
