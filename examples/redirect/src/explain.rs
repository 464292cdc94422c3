//! Explain: what becomes of a packet here, and why.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context as _, Result};
use redirect::explain::{Explanation, Fate, Here, LocalSocket, Origin, Packet, Tracked, explain};
use redirect::{Counters, Family, InterfaceName, Marks, Plan, Protocol, TcpFlags, counters};

/// Who opens a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Application,
    Proxy,
    Peer(IpAddr),
}

/// Who is neither.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("who opens a connection is `app`, `proxy`, or an address")]
pub(crate) struct SourceError;

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        match text {
            "app" => Ok(Self::Application),
            "proxy" => Ok(Self::Proxy),
            address => address.parse().map(Self::Peer).map_err(|_| SourceError),
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) source: Source,
    pub(crate) destination: SocketAddr,
    pub(crate) udp: bool,
}

/// A port of a client: any that is nobody's.
const CLIENT: u16 = 40000;

impl Question {
    /// The answer for the namespace that the calling thread is in.
    pub(crate) fn answer(&self, plan: &Plan) -> Result<String> {
        let here = here()?;
        let origin = match self.source {
            Source::Application | Source::Proxy => Origin::Here,
            Source::Peer(_) => Origin::Interface(here.outside.clone()),
        };
        let explanation = explain(plan, &here, &origin, self.packet(&here)?);
        Ok(text(&explanation, &counters().context("reading the counters")?))
    }

    fn packet(&self, here: &Here) -> Result<Packet> {
        let mark = match self.source {
            Source::Proxy => Marks::ISTIO.proxy().value(),
            Source::Application | Source::Peer(_) => 0,
        };
        Ok(Packet {
            protocol: if self.udp { Protocol::Udp } else { Protocol::Tcp },
            source: SocketAddr::new(self.source_address(here)?, CLIENT),
            destination: self.destination,
            flags: (!self.udp).then_some(TcpFlags::Opens),
            mark,
            dscp: None,
            owner: None,
            cgroup: None,
            socket: match self.source {
                Source::Application | Source::Proxy => Some(LocalSocket { mark, transparent: false }),
                Source::Peer(_) => None,
            },
            connection: Tracked { new: true, reply: false, translated: false, mark: 0 },
        })
    }

    fn source_address(&self, here: &Here) -> Result<IpAddr> {
        let to = self.destination.ip();
        let family = Family::of(to);
        match self.source {
            Source::Peer(address) => Ok(address),
            _ if to.is_loopback() || here.addresses.contains(&to) => Ok(to),
            _ => {
                let own = here.addresses.iter().find(|address| Family::of(**address) == family);
                own.copied().with_context(|| format!("nothing here has an address of family {family}"))
            }
        }
    }
}

/// The addresses of this namespace, and the interface that has the first.
fn here() -> Result<Here> {
    let mut outside = None;
    let mut addresses = Vec::new();
    for found in nix::ifaddrs::getifaddrs().context("asking for addresses")? {
        let Some(address) = found.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        }) else {
            continue;
        };
        if !address.is_loopback() {
            addresses.push(address);
            outside.get_or_insert(found.interface_name);
        }
    }
    let outside = outside.context("nothing here has an address but loopback")?;
    Ok(Here { addresses, outside: InterfaceName::new(outside)? })
}

fn text(explanation: &Explanation<'_>, counters: &Counters) -> String {
    let mut text = String::new();
    for met in &explanation.met {
        let count = counters
            .of(met)
            .map_or_else(|| "not there".into(), |counter| format!("{} packets", counter.packets));
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{} rule {}: {}", met.chain.name, met.number + 1, met.rule);
        let _ = writeln!(text, "    # {} ({count})", met.rule.why());
    }
    let _ = match &explanation.fate {
        Fate::Intercepted(port) => {
            writeln!(text, "=> to the proxy: its socket on port {port} has it, as it is")
        }
        Fate::Delivered(to) => writeln!(text, "=> to the socket here that listens at {to}"),
        Fate::Leaves(by, to) => writeln!(text, "=> it leaves by {by}, for {to}"),
        Fate::Reset => writeln!(text, "=> refused: its sender gets a reset"),
        Fate::Dropped => writeln!(text, "=> it goes nowhere, and nobody is told"),
        other => writeln!(text, "=> {other:?}"),
    };
    text
}
