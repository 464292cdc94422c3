//! Gather: asks the kernel and the proxy. The only part that acts.

use std::net::SocketAddr;

use proxy_core::agent::{Agent, ExplainError, InspectError, Look, Place};
use proxy_core::explain::{Query, Way as Direction};
use proxy_core::{ClientAddr, OriginalDst};
use redirect::explain::{Here, LocalSocket, Origin, Packet, Tracked};
use redirect::{Ports, Protocol, TcpFlags};

use super::differs::differs;
use super::question::{Connection, Question};
use super::verdict::verdict;
use super::view::{Answer, Kind, Proxy, Refusal, Way, Why};
use crate::view::{PodView, View};

/// Longest answer, in bytes. 1 MiB: some hundred policies, rules and sockets.
const MAX_ANSWER: usize = 1 << 20;

/// The answer to a question, as JSON.
pub(crate) async fn answer(agent: &Agent, question: &Question) -> serde_json::Result<Vec<u8>> {
    let told = match why(agent, question).await {
        Ok(why) => Answer::Why(Box::new(why)),
        Err(refusal) => Answer::Refused(refusal),
    };
    let bytes = serde_json::to_vec(&told)?;
    if bytes.len() <= MAX_ANSWER {
        return Ok(bytes);
    }
    serde_json::to_vec(&Answer::Refused(Refusal::TooLong { bytes: bytes.len(), limit: MAX_ANSWER }))
}

/// The answer to what is no question.
pub(crate) fn no_question(error: &serde_json::Error) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Answer::Refused(Refusal::NoQuestion { error: error.to_string() }))
}

async fn why(agent: &Agent, question: &Question) -> Result<Why, Refusal> {
    let pods: Vec<PodView> = View::new(agent.status(), Default::default()).pods;
    let pod = question.find(&pods)?.clone();
    let Place { here, ports } = agent.place(&pod.uid).await.map_err(unseen)?;
    let connection = question.connection(&here.addresses)?;
    let (kinds, packets): (Vec<Kind>, Vec<_>) = packets(connection, &here, ports).into_iter().unzip();
    let application = (connection.way == Way::Inbound).then_some(connection.destination);
    let look = Look { here: here.clone(), packets, application };
    let inspection = agent.inspect(&pod.uid, look).await.map_err(unseen)?;
    let proxy = asked(agent, &pod, connection).await;
    let mut why = Why::new(pod, connection, here.addresses, (ports, &kinds), inspection, proxy);
    why.verdict = verdict(&why);
    why.differs = differs(&why);
    Ok(why)
}

async fn asked(agent: &Agent, pod: &PodView, connection: Connection) -> Proxy {
    let way = match connection.way {
        Way::Outbound => Direction::Out,
        Way::Inbound => Direction::In { peer: None },
    };
    let query = Query {
        uid: pod.uid.clone(),
        way,
        client: ClientAddr::new(connection.source),
        destination: OriginalDst::new(connection.destination),
    };
    match agent.explain(query).await {
        Ok(account) => Proxy::Told(Box::new(account.into())),
        Err(ExplainError::NotUnderstood) => Proxy::DoesNotTell,
        Err(error) => Proxy::Silent { error: chain(&error) },
    }
}

fn unseen(error: InspectError) -> Refusal {
    Refusal::Kernel { error: chain(&error) }
}

/// An error and its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The first packets by which the connection may come.
fn packets(connection: Connection, here: &Here, ports: Ports) -> Vec<(Kind, (Origin, Packet))> {
    let Connection { way, source, destination } = connection;
    let from_outside = || Origin::Interface(here.outside.clone());
    match way {
        Way::Outbound => {
            let socket = LocalSocket { mark: 0, transparent: false };
            let packet = Packet { socket: Some(socket), ..opening(source, destination) };
            vec![(Kind::Captured, (Origin::Here, packet))]
        }
        Way::Inbound => {
            let tunnel = SocketAddr::new(destination.ip(), ports.inbound_hbone.number());
            vec![
                (Kind::Tunnel, (from_outside(), opening(source, tunnel))),
                (Kind::Plaintext, (from_outside(), opening(source, destination))),
            ]
        }
    }
}

fn opening(source: SocketAddr, destination: SocketAddr) -> Packet {
    Packet {
        protocol: Protocol::Tcp,
        source,
        destination,
        flags: Some(TcpFlags::Opens),
        mark: 0,
        dscp: None,
        owner: None,
        cgroup: None,
        socket: None,
        connection: Tracked { new: true, reply: false, translated: false, mark: 0 },
    }
}
