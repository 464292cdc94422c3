//! Dial: opens connections from inside a pod's namespace. To an application only with a [`Permit`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hbone::{Client, Driver};
use identity::Role;
use netns::SocketOptions;
use socket2::{SockRef, Socket};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::{ClientAddr, HopAddr};
use crate::config::Config;
use crate::error::{DialError, HandshakeError};
use crate::pod::{Core, Pod, TunnelKey};
use crate::policy::Permit;
use crate::standings::Seat;

/// Plain TCP to a hop, as the pod.
pub(crate) async fn plain(pod: &Pod, hop: HopAddr) -> Result<TcpStream, DialError> {
    let options = options(pod);
    connect(pod, hop.socket_addr(), &options).await
}

/// TCP to the pod's application, showing the client's address. The mark makes the rules send the replies back here.
pub(crate) async fn application(
    pod: &Pod,
    permit: &Permit,
    client: ClientAddr,
) -> Result<TcpStream, DialError> {
    let destination = permit.destination();
    let options = options(pod);
    // A pod that calls itself, and a client on loopback, already is who it must appear to be.
    let options = if client.ip() == destination.ip() || client.ip().is_loopback() {
        options
    } else {
        options.transparent().bind(SocketAddr::new(client.ip(), 0))
    };
    connect(pod, destination, &options).await
}

/// Prepares a connection that will carry tunnels, on either side.
pub(crate) fn for_tunnels(stream: &TcpStream, config: &Config) {
    // Only a matter of speed, so a kernel that refuses is no error.
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(config.unsent);
}

fn options(pod: &Pod) -> SocketOptions {
    SocketOptions::default().mark(pod.config.mark).from_home(pod.home.clone())
}

async fn connect(pod: &Pod, address: SocketAddr, options: &SocketOptions) -> Result<TcpStream, DialError> {
    let socket = pod.namespace.tcp_socket(address.ip(), options).map_err(DialError::Socket)?;
    let attempt = timeout(pod.config.connect_timeout, from_socket(socket).connect(address)).await;
    let connected = attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(|source| DialError::Connect { address: HopAddr::new(address), source })
}

fn from_socket(socket: Socket) -> TcpSocket {
    TcpSocket::from_std_stream(socket.into())
}

/// A connection for tunnels to `key`'s hop: TCP, TLS as this pod towards exactly the expected identities, HTTP/2.
pub(crate) async fn tunnel(core: Arc<Core>, key: TunnelKey) -> Result<Client, DialError> {
    let pod = &core.pod;
    let stream = plain(pod, key.hop).await?;
    for_tunnels(&stream, &pod.config);
    // A socket that cannot say where it is fails in the handshake.
    let _dialling = stream.local_addr().ok().map(|from| pod.underway.note(from, core.worker));
    let done = timeout(pod.config.handshake_timeout, secure(&core, &key, stream)).await;
    let secured = done.unwrap_or(Err(HandshakeError::TimedOut));
    let (seat, client, driver) =
        secured.map_err(|source| DialError::Handshake { address: key.hop, source })?;
    let standing = Arc::clone(seat.standing());
    let hop = key.hop;
    // Not tracked: it ends with its last stream, and those are tracked.
    tokio::spawn(async move {
        tokio::select! {
            ended = driver => if let Err(error) = ended { tracing::debug!(%hop, %error, "tunnel connection") },
            () = seat.standing().cut().cancelled() => {}
        }
    });
    Ok(client.with_note(standing))
}

/// TLS as the pod, with a peer that proves one of the expected identities, then HTTP/2.
async fn secure(
    core: &Core,
    key: &TunnelKey,
    stream: TcpStream,
) -> Result<(Seat, Client, Driver<TlsStream<TcpStream>>), HandshakeError> {
    let credentials = &core.pod.credentials;
    let config = credentials.client(&key.expected).await.map_err(HandshakeError::Credentials)?;
    let standings = credentials.authority().standings();
    let before = standings.moment();
    let connecting = TlsConnector::from(config).connect(identity::tls::unnamed(), stream);
    let mut tls = connecting.await.map_err(HandshakeError::Tls)?;
    let session = tls.get_mut().1;
    session.set_buffer_limit(Some(core.pod.config.tls_buffer));
    let proof = identity::tls::peer_proof(session, Role::Server).ok_or(HandshakeError::NoIdentity)?;
    let seat = standings.enter(proof, before, &core.cut).map_err(HandshakeError::Distrusted)?;
    let (client, driver) =
        hbone::client::handshake(tls, &core.pod.config.hbone).await.map_err(HandshakeError::Http2)?;
    Ok((seat, client, driver))
}
