//! Dial: opens connections from inside a pod's namespace. To an application only with a [`Permit`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hbone::{Client, ConnectRequest, Driver, PoolError, Pooled};
use identity::{Role, SpiffeId};
use netns::SocketOptions;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::{ClientAddr, HopAddr};
use crate::config::Config;
use crate::error::{DialError, HandshakeError};
use crate::hand_over::HandOver;
use crate::pod::{Core, Pod, TunnelKey};
use crate::policy::Permit;
use crate::standings::Seat;

/// Plain TCP to a hop, as the pod.
pub(crate) async fn plain(pod: &Pod, hop: HopAddr) -> Result<TcpStream, DialError> {
    let options = options(pod);
    connect(pod, hop.socket_addr(), &options).await
}

/// TCP to the pod's application, showing the client's address, with what it asks to be told written. The mark makes the rules send
/// the replies back here.
pub(crate) async fn application(
    pod: &Pod,
    permit: &Permit,
    client: ClientAddr,
    hand_over: &HandOver,
) -> Result<TcpStream, DialError> {
    let destination = hand_over.place(permit.destination());
    let options = options(pod);
    // A pod that calls itself, and a client on loopback, already is who it must appear to be.
    let options = if client.ip() == destination.ip() || client.ip().is_loopback() {
        options
    } else {
        options.transparent().bind(SocketAddr::new(client.ip(), 0))
    };
    let mut stream = connect(pod, destination, &options).await?;
    let written = stream.write_all(&hand_over.preamble).await;
    written.map_err(|source| DialError::Preamble { address: HopAddr::new(destination), source })?;
    Ok(stream)
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

/// A tunnel of the hop's, from this core's pool of connections, over a new one if none has room.
pub(crate) async fn pooled(
    core: &Arc<Core>,
    key: TunnelKey,
    request: ConnectRequest,
) -> Result<Pooled, PoolError<DialError>> {
    let dial = || tunnel(Arc::clone(core), key.clone());
    core.pool.open(&key, request, dial).await
}

/// A connection for tunnels to `key`'s hop: TCP, TLS as this pod towards exactly the expected identities, HTTP/2.
async fn tunnel(core: Arc<Core>, key: TunnelKey) -> Result<Client, DialError> {
    let pod = &core.pod;
    let stream = plain(pod, key.hop).await?;
    for_tunnels(&stream, &pod.config);
    // A socket that cannot say where it is fails in the handshake.
    let _dialling = stream.local_addr().ok().map(|from| pod.underway.note(from, core.worker));
    let secured = secure(&core, &key.expected, key.hop.to_string(), stream).await;
    secured.map_err(|source| DialError::Handshake { address: key.hop, source })
}

/// A connection for tunnels over `stream`, within the limit of time: TLS as the pod, with a peer that proves one of the expected identities,
/// then HTTP/2. It is kept going until it is done, or cut, and has its [`Standing`](crate::standings::Standing) as its note.
pub(crate) async fn secure<T>(
    core: &Core,
    expected: &[SpiffeId],
    peer: String,
    stream: T,
) -> Result<Client, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = timeout(core.pod.config.handshake_timeout, handshake(core, expected, stream));
    let (seat, client, driver) = handshake.await.unwrap_or(Err(HandshakeError::TimedOut))?;
    let standing = Arc::clone(seat.standing());
    // Not tracked: it ends with its last stream, and those are tracked.
    tokio::spawn(async move {
        tokio::select! {
            ended = driver => if let Err(error) = ended { tracing::debug!(%peer, %error, "tunnel connection") },
            () = seat.standing().cut().cancelled() => {}
        }
    });
    Ok(client.with_note(standing))
}

async fn handshake<T>(
    core: &Core,
    expected: &[SpiffeId],
    stream: T,
) -> Result<(Seat, Client, Driver<TlsStream<T>>), HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let credentials = &core.pod.credentials;
    let config = credentials.client(expected).await.map_err(HandshakeError::Credentials)?;
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
