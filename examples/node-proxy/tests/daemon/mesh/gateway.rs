//! Gateway: what stands between two networks, as small as it can be. It ends the outer layer of tunnels, dials for each of them
//! what it leads to, and passes the inner layer's bytes on.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hbone::{Arrival, Config, Incoming, Refusal, Server};
use identity::{Ca, Expected, SpiffeId, TrustDomain};
use netns::Namespace;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Files, Member, Result};

/// It runs until it is dropped.
pub(crate) struct Gateway {
    shared: Arc<Shared>,
    goodbye: watch::Sender<()>,
    _runtime: Runtime,
}

struct Shared {
    namespace: Namespace,
    tls: Arc<ServerConfig>,
    /// What it is asked for, and where that is.
    route: (String, SocketAddr),
    met: Mutex<Met>,
}

/// Who came, what for, and what passed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Met {
    /// One for each connection.
    pub(crate) peers: Vec<SpiffeId>,
    /// One for each tunnel, with `x-forwarded-network`, which says something of the inner layer only.
    pub(crate) targets: Vec<(String, bool)>,
    /// Bytes of all tunnels, as they came.
    pub(crate) passed: Vec<u8>,
}

impl Gateway {
    /// In `pod`, as the service account `name`; leads from `target` to `destination`.
    pub(crate) fn start(
        files: &Files,
        pod: &Member,
        name: &str,
        target: &str,
        destination: SocketAddr,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener =
            pod.namespace.run(|| std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 15008)))??;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            namespace: pod.namespace.clone(),
            tls: Arc::new(server_config(files, name)?),
            route: (target.to_owned(), destination),
            met: Mutex::default(),
        });
        let (goodbye, heard) = watch::channel(());
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(listener, Arc::clone(&shared), heard));
        Ok(Self { shared, goodbye, _runtime: runtime })
    }

    pub(crate) fn met(&self) -> Met {
        self.shared.met.lock().unwrap().clone()
    }

    /// Takes no more tunnels on the connections that there are.
    pub(crate) fn say_goodbye(&self) -> Result<()> {
        Ok(self.goodbye.send(())?)
    }
}

fn server_config(files: &Files, name: &str) -> Result<ServerConfig> {
    let trust_domain: TrustDomain = "cluster.local".parse()?;
    let ca = Ca::from_pem(trust_domain.clone(), &fs::read(files.ca_cert())?, &fs::read(files.ca_key())?)?;
    let id = format!("spiffe://{trust_domain}/ns/test/sa/{name}").parse()?;
    let svid = ca.issue(&id, Duration::from_secs(600), SystemTime::now())?;
    let peers = Arc::new(Expected::in_trust_domain(trust_domain));
    let mut config = identity::tls::server_config(&identity::tls::aws_lc_rs(), &svid, ca.bundle(), peers)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, goodbye: watch::Receiver<()>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&shared), goodbye.clone()));
    }
}

/// One connection of the outer layer.
async fn connection(
    stream: TcpStream,
    shared: Arc<Shared>,
    mut goodbye: watch::Receiver<()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let tls = TlsAcceptor::from(Arc::clone(&shared.tls)).accept(stream).await?;
    let peer = identity::tls::peer_id(tls.get_ref().1).ok_or("a peer without an identity")?;
    shared.met.lock().unwrap().peers.push(peer);
    let mut server: Server<TlsStream<TcpStream>> = hbone::server::handshake(tls, &Config::default()).await?;
    goodbye.mark_unchanged();
    loop {
        tokio::select! {
            arrival = server.next() => match arrival {
                Some(Ok(Arrival::Connect(incoming))) => drop(tokio::spawn(pass(incoming, Arc::clone(&shared)))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            Ok(()) = goodbye.changed() => server.drain(),
        }
    }
}

/// One tunnel of the outer layer.
async fn pass(
    incoming: Incoming,
    shared: Arc<Shared>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let target = incoming.request().target().to_string();
    let has_network = incoming.request().headers().contains_key("x-forwarded-network");
    shared.met.lock().unwrap().targets.push((target.clone(), has_network));
    if target != shared.route.0 {
        incoming.refuse(Refusal::Unavailable);
        return Ok(());
    }
    // Dropped, a request is refused as unavailable.
    let destination = shared.route.1;
    let far = shared.namespace.run(|| std::net::TcpStream::connect(destination))??;
    far.set_nonblocking(true)?;
    let mut far = TcpStream::from_std(far)?;
    let (mut far_read, mut far_write) = far.split();
    let (mut read, mut write) = tokio::io::split(incoming.accept()?);
    let up = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let taken = read.read(&mut buffer).await?;
            if taken == 0 {
                return far_write.shutdown().await;
            }
            let bytes = buffer.get(..taken).unwrap_or_default();
            shared.met.lock().unwrap().passed.extend_from_slice(bytes);
            far_write.write_all(bytes).await?;
        }
    };
    let down = async {
        tokio::io::copy(&mut far_read, &mut write).await?;
        write.shutdown().await
    };
    tokio::try_join!(up, down)?;
    Ok(())
}
