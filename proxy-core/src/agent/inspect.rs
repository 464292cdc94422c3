//! Inspect: what the kernel would do with a connection of a pod, and who waits for it there. For people who look for a mistake.

use std::net::{IpAddr, SocketAddr};

use redirect::explain::{Explanation, Fate, Here, Origin, Packet, explain};
use redirect::{
    Counters, Intent, InterfaceName, InterfaceNameError, ListError, Listening, Plan, Ports, Verdict,
    VerifyError, counters,
};

use super::asking::ExplainError;
use super::handle::Agent;
use super::kernel::StepError;
use crate::explain::{Account, Query};

/// Where a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its addresses but for loopback, in the order of its interfaces, and the interface that has the first.
    pub here: Here,
    /// The proxy's ports in it.
    pub ports: Ports,
}

/// What is to be looked at in a pod.
#[derive(Debug, Clone)]
pub struct Look {
    /// The pod, as [`Place`] has it.
    pub here: Here,
    /// Packets, and from where they come.
    pub packets: Vec<(Origin, Packet)>,
    /// The application's address, if the pod has it.
    pub application: Option<SocketAddr>,
}

/// What was found in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Whether the rules are those that are meant to be there.
    pub rules: Verdict,
    /// What becomes of each packet.
    pub walks: Vec<Walk>,
    /// Who waits at the application's address.
    pub application: Vec<Listener>,
}

/// What becomes of a packet by the rules that are meant to be there. It is taken for the first of its connection, which no set
/// names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// The rules whose conditions it meets, in order.
    pub met: Vec<Met>,
    /// Where it ends.
    pub fate: Fate,
    /// Who waits for it there.
    pub listeners: Vec<Listener>,
}

/// A rule that a packet meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// Its chain.
    pub chain: String,
    /// Its place in the chain, from 1.
    pub number: usize,
    /// The rule, as `nft` has it.
    pub rule: String,
    /// Why it is there.
    pub why: String,
    /// How many packets have met it so far; none where the rules are not as they are meant to be.
    pub packets: Option<u64>,
}

/// A socket that waits for connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub local: SocketAddr,
    /// Its mark; none where the kernel does not tell.
    pub mark: Option<u32>,
    /// Its user, by the number that the agent sees.
    pub user: u32,
    /// How many connections wait.
    pub waiting: u32,
    /// How many can wait.
    pub most_waiting: u32,
    /// Whether it has the mark of the proxy.
    pub has_proxys_mark: bool,
}

/// Why a pod could not be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// It is not one of ours.
    #[error("the pod is not one of ours, or no longer")]
    Unknown,
    /// Its namespace could not be entered.
    #[error("looking into the pod")]
    Step(#[source] StepError),
    /// Its addresses could not be told.
    #[error("listing its addresses")]
    Addresses(#[source] nix::Error),
    /// It has no address but loopback.
    #[error("it has no address")]
    NoAddress,
    /// Its interface has a name that rules cannot have.
    #[error("its interface's name")]
    Interface(#[source] InterfaceNameError),
    /// Its rules could not be read.
    #[error("reading its rules")]
    Rules(#[source] VerifyError),
    /// Its listeners could not be told.
    #[error("listing who waits for connections")]
    Listeners(#[source] ListError),
}

impl Agent {
    /// Looks where a pod is.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn place(&self, uid: &str) -> Result<Place, InspectError> {
        let pod = self.pod(uid).ok_or(InspectError::Unknown)?;
        let here = self.kernel().visit(&pod.namespace, here).await.map_err(InspectError::Step)??;
        Ok(Place { here, ports: pod.intent.ports() })
    }

    /// Looks what the kernel would do in a pod.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn inspect(&self, uid: &str, look: Look) -> Result<Inspection, InspectError> {
        let pod = self.pod(uid).ok_or(InspectError::Unknown)?;
        let intent = pod.intent.clone();
        let inspected = self.kernel().visit(&pod.namespace, move || inspect(&intent, &look)).await;
        inspected.map_err(InspectError::Step)?
    }

    /// Asks the newest proxy what it would do with a connection, and why.
    ///
    /// # Errors
    /// [`ExplainError`].
    pub async fn explain(&self, query: Query) -> Result<Account, ExplainError> {
        self.asking().ask(query).await
    }
}

/// The addresses of the namespace that the calling thread is in.
fn here() -> Result<Here, InspectError> {
    let (mut outside, mut addresses) = (None, Vec::new());
    for interface in nix::ifaddrs::getifaddrs().map_err(InspectError::Addresses)? {
        let Some(address) = interface.address.as_ref().and_then(ip) else { continue };
        if !address.is_loopback() {
            addresses.push(address);
            outside.get_or_insert(interface.interface_name);
        }
    }
    let outside = InterfaceName::new(outside.ok_or(InspectError::NoAddress)?);
    Ok(Here { addresses, outside: outside.map_err(InspectError::Interface)? })
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

/// In the namespace that the calling thread is in.
fn inspect(intent: &Intent, look: &Look) -> Result<Inspection, InspectError> {
    let plan = Plan::new(intent);
    let rules = redirect::verify(&plan).map_err(InspectError::Rules)?;
    // Counters are told by a rule's place, which means nothing among others.
    let counters = match rules {
        Verdict::Same => Some(counters().map_err(InspectError::Rules)?),
        Verdict::Differs(_) => None,
    };
    let listeners = redirect::tcp_listeners().map_err(InspectError::Listeners)?;
    let at = |address: SocketAddr| {
        let there = listeners.iter().filter(|listener| listener.takes(address));
        there.map(|listening| listener(intent, listening)).collect::<Vec<_>>()
    };
    let walk = |(origin, packet): &(Origin, Packet)| {
        let destination = packet.destination;
        let Explanation { fate, met } = explain(&plan, &look.here, origin, packet.clone());
        let met = met.iter().map(|met| Met {
            chain: met.chain.name.to_string(),
            number: met.number + 1,
            rule: met.rule.to_string(),
            why: met.rule.why().to_owned(),
            packets: counters.as_ref().and_then(|counters: &Counters| Some(counters.of(met)?.packets)),
        });
        let listeners = match &fate {
            Fate::Intercepted(port) => at(SocketAddr::new(destination.ip(), port.number())),
            Fate::Delivered(to) => at(*to),
            _ => Vec::new(),
        };
        Walk { met: met.collect(), fate, listeners }
    };
    Ok(Inspection {
        walks: look.packets.iter().map(walk).collect(),
        rules,
        application: look.application.map(at).unwrap_or_default(),
    })
}

fn listener(intent: &Intent, listening: &Listening) -> Listener {
    let is_proxys = |mark| intent.marks().proxy().is_on(mark);
    Listener {
        local: listening.local(),
        mark: listening.mark(),
        user: listening.user(),
        waiting: listening.waiting(),
        most_waiting: listening.most_waiting(),
        has_proxys_mark: listening.mark().is_some_and(is_proxys),
    }
}
