//! Dial: opens connections from inside a pod's namespace. To an application only with a [`Permit`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use hbone::{Client, Driver};
use netns::SocketOptions;
use rustls::ClientConfig;
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

/// A connection for tunnels to `key`'s hop: TCP, TLS as this pod towards exactly the expected identities, HTTP/2.
pub(crate) async fn tunnel(core: Arc<Core>, key: TunnelKey) -> Result<Client, DialError> {
    let pod = &core.pod;
    let config = pod.credentials.client(&key.expected, SystemTime::now()).map_err(DialError::Credentials)?;
    let stream = plain(pod, key.hop).await?;
    for_tunnels(&stream, &pod.config);
    // A socket that cannot say where it is fails in the handshake.
    let _dialling = stream.local_addr().ok().map(|from| pod.underway.note(from, core.worker));
    let done = secure(pod, config, stream).await;
    let (client, driver) = done.map_err(|source| DialError::Handshake { address: key.hop, source })?;
    spawn(&core, key.hop.to_string(), driver);
    Ok(client)
}

/// TLS and HTTP/2 over `stream`, within the limit of time.
pub(crate) async fn secure<T>(
    pod: &Pod,
    config: Arc<ClientConfig>,
    stream: T,
) -> Result<(Client, Driver<TlsStream<T>>), HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = async {
        let mut tls = TlsConnector::from(config)
            .connect(identity::tls::unnamed(), stream)
            .await
            .map_err(HandshakeError::Tls)?;
        tls.get_mut().1.set_buffer_limit(Some(pod.config.tls_buffer));
        hbone::client::handshake(tls, &pod.config.hbone).await.map_err(HandshakeError::Http2)
    };
    timeout(pod.config.handshake_timeout, handshake).await.unwrap_or(Err(HandshakeError::TimedOut))
}

/// Keeps a connection to `peer` going until it is done, or cut.
pub(crate) fn spawn<T>(core: &Core, peer: String, driver: Driver<T>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let cut = core.cut.clone();
    // Not tracked: it ends with its last stream, and those are tracked.
    tokio::spawn(async move {
        tokio::select! {
            ended = driver => if let Err(error) = ended { tracing::debug!(%peer, %error, "tunnel connection") },
            () = cut.cancelled() => {}
        }
    });
}
