//! Inbound: one connection of a peer to the pod's HBONE port, and each tunnel in it, top to bottom.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use hbone::{Arrival, Incoming, Refusal, Server, Target};
use identity::Role;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::address::{ClientAddr, LocalAddr};
use crate::config::Ports;
use crate::dial;
use crate::error::{ConnectionError, HandshakeError};
use crate::hand_over::HandOver;
use crate::listen::Accepted;
use crate::pod::Core;
use crate::policy::{Permit, Principal, Question};
use crate::relay;
use crate::report::{Direction, Ongoing, Relayed};
use crate::standings::Seat;
use crate::workload::{Admission, Snapshot, Workload};

/// Who is at the other end of a connection, and which of our addresses it came to.
#[derive(Debug)]
struct Peer {
    client: ClientAddr,
    principal: Principal,
    local: LocalAddr,
    seat: Seat,
}

/// What comes of a request that may pass.
struct Admitted {
    permit: Permit,
    admission: Admission,
    hand_over: HandOver,
}

/// Serves one accepted connection: each of its tunnels is reported by itself, the connection only if it never came to be.
pub(crate) async fn serve(core: Arc<Core>, accepted: Accepted) {
    let ongoing = Ongoing::begin(Direction::Inbound, &core.pod.name, accepted.client);
    let limit = core.pod.config.handshake_timeout;
    let secured = timeout(limit, secure(&core, accepted)).await.unwrap_or(Err(HandshakeError::TimedOut));
    match secured {
        Ok((peer, server)) => tunnels(&core, &Arc::new(peer), server).await,
        Err(error) => {
            let outcome = Err(ConnectionError::Handshake(Arc::new(error)));
            ongoing.end(outcome, core.pod.observer.as_ref());
        }
    }
}

/// TLS with an identity on each side, then HTTP/2.
async fn secure(
    core: &Core,
    accepted: Accepted,
) -> Result<(Peer, Server<TlsStream<TcpStream>>), HandshakeError> {
    let credentials = &core.pod.credentials;
    let config = credentials.server().await.map_err(HandshakeError::Credentials)?;
    let standings = credentials.authority().standings();
    let before = standings.moment();
    let local = accepted.stream.local_addr().map(LocalAddr::new).map_err(HandshakeError::Tls)?;
    dial::for_tunnels(&accepted.stream, &core.pod.config);
    let mut tls = TlsAcceptor::from(config).accept(accepted.stream).await.map_err(HandshakeError::Tls)?;
    let session = tls.get_mut().1;
    session.set_buffer_limit(Some(core.pod.config.tls_buffer));
    let proof = identity::tls::peer_proof(session, Role::Client).ok_or(HandshakeError::NoIdentity)?;
    let seat = standings.enter(proof, before, &core.cut).map_err(HandshakeError::Distrusted)?;
    let principal = credentials.principal(seat.standing().id().clone());
    let server =
        hbone::server::handshake(tls, &core.pod.config.hbone).await.map_err(HandshakeError::Http2)?;
    Ok((Peer { client: accepted.client, principal, local, seat }, server))
}

/// Takes tunnels until the peer is done, or until we are and those that run have ended.
async fn tunnels(core: &Arc<Core>, peer: &Arc<Peer>, mut server: Server<TlsStream<TcpStream>>) {
    let drain = &core.pod.drain;
    let mut closing = pin!(drain.closing().cancelled());
    let mut cut = pin!(peer.seat.standing().cut().cancelled());
    let mut told = false;
    loop {
        let arrival = tokio::select! {
            arrival = server.next() => arrival,
            () = &mut closing, if !told => {
                told = true;
                server.drain();
                continue;
            }
            () = &mut cut => return,
        };
        match arrival {
            Some(Ok(Arrival::Connect(incoming))) => {
                tokio::spawn(drain.track(tunnel(Arc::clone(core), Arc::clone(peer), incoming)));
            }
            Some(Ok(Arrival::Malformed(malformed))) => {
                let error = ConnectionError::Malformed(malformed.to_string());
                begin(core, peer).end(Err(error), core.pod.observer.as_ref());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(peer = %peer.principal.id(), %error, "tunnel connection");
                return;
            }
            None => return,
        }
    }
}

/// Serves one tunnel and reports it.
async fn tunnel(core: Arc<Core>, peer: Arc<Peer>, incoming: Incoming) {
    let mut ongoing = begin(&core, &peer);
    let relayed = forward(&core, &peer, incoming, &mut ongoing).await;
    ongoing.end(relayed, core.pod.observer.as_ref());
}

fn begin(core: &Core, peer: &Peer) -> Ongoing {
    let mut ongoing = Ongoing::begin(Direction::Inbound, &core.pod.name, peer.client);
    ongoing.report.peer = Some(peer.principal.id().clone());
    ongoing
}

async fn forward(
    core: &Core,
    peer: &Peer,
    incoming: Incoming,
    ongoing: &mut Ongoing,
) -> Result<Relayed, ConnectionError> {
    let Admitted { permit, admission, hand_over } = match admit(core, peer, incoming.request().target()) {
        Ok(admitted) => admitted,
        Err(error) => return refuse(incoming, error),
    };
    ongoing.report.destination = Some(permit.destination());
    let application = match dial::application(&core.pod, &permit, peer.client, &hand_over).await {
        Ok(application) => application,
        Err(error) => return refuse(incoming, ConnectionError::dial(error)),
    };
    let tunnel = incoming.accept().map_err(|error| ConnectionError::Accept(Arc::new(error)))?;
    let (moved, outcome) = relay::from_tunnel(tunnel, application, admission.cut()).await;
    let outcome = admission.denied().map_or(outcome, |denied| Err(ConnectionError::Denied(denied)));
    Ok((moved, peer.seat.standing().told(outcome)))
}

/// Everything that is asked before the application hears of a tunnel.
fn admit(core: &Core, peer: &Peer, target: &Target) -> Result<Admitted, ConnectionError> {
    let snapshot = core.pod.facts.load();
    let workload = snapshot.workload_named(&core.pod.name).ok_or(ConnectionError::UnknownPod)?;
    let destination = our_address(&snapshot, workload, core.pod.config.ports, peer.local, target)?;
    let from = (peer.client, peer.principal.id());
    let hand_over = HandOver::of_tunnel(&snapshot, workload, from, target, destination);
    let hand_over = hand_over.map_err(ConnectionError::HandOver)?;
    let question = Question { client: peer.client, peer: Some(&peer.principal), destination };
    let cut = peer.seat.standing().cut();
    let (permit, admission) = core.pod.facts.admit(&core.pod.name, &question, cut)?;
    Ok(Admitted { permit, admission, hand_over })
}

/// The address in this pod that `target` means: the one that the peer dialled (`local`), at the target's port.
pub(crate) fn our_address(
    snapshot: &Snapshot,
    workload: &Workload,
    ports: Ports,
    local: LocalAddr,
    target: &Target,
) -> Result<SocketAddr, ConnectionError> {
    let not_ours = || ConnectionError::NotOurs { target: target.to_string() };
    let port = match target {
        Target::Address(address) if address.ip().to_canonical() == local.ip() => address.port(),
        Target::Address(_) => return Err(not_ours()),
        Target::Host { host, port } => {
            let service = snapshot.service_named(&workload.name.namespace, host.as_str());
            let port = service.and_then(|service| snapshot.target_port(service, workload, *port));
            port.ok_or_else(not_ours)?
        }
    };
    if port == 0 || ports.contains(port) {
        return Err(not_ours());
    }
    Ok(SocketAddr::new(local.ip(), port))
}

/// Answers with the status that the error means.
fn refuse(incoming: Incoming, error: ConnectionError) -> Result<Relayed, ConnectionError> {
    incoming.refuse(refusal(&error));
    Err(error)
}

/// The one place that says what a peer is told.
fn refusal(error: &ConnectionError) -> Refusal {
    match error {
        ConnectionError::NotOurs { .. } | ConnectionError::Malformed(_) => Refusal::Malformed,
        ConnectionError::Denied(_) | ConnectionError::Distrusted(_) => Refusal::Denied,
        ConnectionError::NotCaptured
        | ConnectionError::UnknownPod
        | ConnectionError::NoRoute(_)
        | ConnectionError::Dial(_)
        | ConnectionError::Open(_)
        | ConnectionError::Double(_)
        | ConnectionError::HandOver(_)
        | ConnectionError::Exhausted(_)
        | ConnectionError::Accept(_)
        | ConnectionError::Handshake(_)
        | ConnectionError::Relay { .. }
        | ConnectionError::Cut => Refusal::Unavailable,
    }
}
