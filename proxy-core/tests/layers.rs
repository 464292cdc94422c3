//! A tunnel in a tunnel, each in mutual TLS: the outer one ends at a gateway, which passes on the bytes of the inner one. All in memory,
//! with the two crates that make it, and nothing of the proxy.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hbone::{Arrival, Client, Config, ConnectRequest, Incoming, Refusal, Tunnel};
use identity::{Ca, Expected, SpiffeId, Svid, TrustDomain};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const TARGET: &str = "web.shop:80";
/// No step takes longer; one that does has failed.
const LIMIT: Duration = Duration::from_secs(15);
const PIPE: usize = 64 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// A CA, and what is made with it.
struct Root(Ca);

impl Root {
    fn new() -> Self {
        Self(Ca::generate(trust_domain()).unwrap())
    }

    fn svid(&self, name: &str) -> Svid {
        self.0.issue(&id(name), Duration::from_secs(600), SystemTime::now()).unwrap()
    }

    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let peers = Arc::new(Expected::in_trust_domain(trust_domain()));
        let provider = identity::tls::aws_lc_rs();
        let config = identity::tls::server_config(&provider, &self.svid(name), self.0.bundle(), peers);
        let mut config = config.unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    fn client(&self, name: &str, expected: &str) -> Arc<ClientConfig> {
        let expected = Arc::new(Expected::any_of([id(expected)]));
        let provider = identity::tls::aws_lc_rs();
        let config = identity::tls::client_config(&provider, &self.svid(name), self.0.bundle(), expected);
        let mut config = config.unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

fn trust_domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

fn id(name: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{name}").parse().unwrap()
}

/// One layer's connection, seen from the client. A failure is the handshake's.
async fn connect(io: impl Stream, config: Arc<ClientConfig>) -> std::io::Result<(Client, AbortHandle)> {
    let tls = TlsConnector::from(config).connect(identity::tls::unnamed(), io).await?;
    let (client, driver) = hbone::client::handshake(tls, &Config::default()).await.unwrap();
    Ok((client, tokio::spawn(driver).abort_handle()))
}

/// What is asked for on one layer's connection, and by whom.
type Asked = mpsc::UnboundedReceiver<(SpiffeId, Incoming)>;

/// The other end of it, until `goodbye` is said, and then until what is open has ended.
fn serve(io: impl Stream, config: Arc<ServerConfig>, goodbye: watch::Receiver<()>) -> Asked {
    let (asked, asking) = mpsc::unbounded_channel();
    tokio::spawn(serving(io, config, goodbye, asked));
    asking
}

async fn serving(
    io: impl Stream,
    config: Arc<ServerConfig>,
    mut goodbye: watch::Receiver<()>,
    asked: mpsc::UnboundedSender<(SpiffeId, Incoming)>,
) -> Option<()> {
    let tls = TlsAcceptor::from(config).accept(io).await.ok()?;
    let peer = identity::tls::peer_id(tls.get_ref().1).unwrap();
    let mut server = hbone::server::handshake(tls, &Config::default()).await.ok()?;
    loop {
        tokio::select! {
            arrival = server.next() => if let Arrival::Connect(incoming) = arrival?.ok()? {
                asked.send((peer.clone(), incoming)).ok()?;
            },
            Ok(()) = goodbye.changed() => server.drain(),
        }
    }
}

/// Both layers, up to the far end.
struct Layers {
    outer: Client,
    inner: Client,
    /// What the far end is asked for.
    asked: Asked,
    gateway: Arc<Mutex<Passed>>,
    goodbyes: [watch::Sender<()>; 2],
    /// Ends the outer connection without a word.
    cut: AbortHandle,
}

/// What the gateway has met.
#[derive(Default)]
struct Passed {
    peers: Vec<SpiffeId>,
    bytes: Vec<u8>,
}

impl Layers {
    async fn new() -> Self {
        let root = Root::new();
        let (near, far) = (root.client("client", "gateway"), root.server("server"));
        Self::of(&root, near, far, "gateway").await.unwrap()
    }

    /// The far end is expected to be `server`.
    async fn of(
        root: &Root,
        outer: Arc<ClientConfig>,
        far: Arc<ServerConfig>,
        gateway: &str,
    ) -> std::io::Result<Self> {
        let (near_end, gateway_end) = duplex(PIPE);
        let (goodbye, heard) = watch::channel(());
        let (far_goodbye, far_heard) = watch::channel(());
        let passed = Arc::new(Mutex::new(Passed::default()));
        let (dialled, mut dials) = mpsc::unbounded_channel();
        let outer_asked = serve(gateway_end, root.server(gateway), heard);
        tokio::spawn(pass(outer_asked, Arc::clone(&passed), dialled));
        let (outer, cut) = connect(near_end, outer).await?;
        let tunnel = outer.open(ConnectRequest::new(TARGET.parse().unwrap())).await.unwrap();
        let asked = serve(dials.recv().await.unwrap(), far, far_heard);
        let (inner, _) = connect(tunnel, root.client("client", "server")).await?;
        let goodbyes = [goodbye, far_goodbye];
        Ok(Self { outer, inner, asked, gateway: passed, goodbyes, cut })
    }

    /// A tunnel of the inner layer, seen from both ends.
    async fn open(&mut self) -> (Tunnel, Tunnel) {
        let open = self.inner.open(ConnectRequest::new(TARGET.parse().unwrap()));
        let accept = async {
            let (peer, incoming) = self.asked.recv().await.unwrap();
            assert_eq!((peer, incoming.request().target().to_string().as_str()), (id("client"), TARGET));
            incoming.accept().unwrap()
        };
        let (near, far) = timeout(LIMIT, async { tokio::join!(open, accept) }).await.unwrap();
        (near.unwrap(), far)
    }
}

/// The gateway: each outer tunnel leads to a far end of its own.
async fn pass(mut asked: Asked, passed: Arc<Mutex<Passed>>, dialled: mpsc::UnboundedSender<DuplexStream>) {
    while let Some((peer, incoming)) = asked.recv().await {
        if incoming.request().target().to_string() != TARGET {
            incoming.refuse(Refusal::Unavailable);
            continue;
        }
        passed.lock().unwrap().peers.push(peer);
        let (near, far) = duplex(PIPE);
        dialled.send(far).unwrap();
        let tunnel = incoming.accept().unwrap();
        tokio::spawn(splice(tunnel, near, Arc::clone(&passed)));
    }
}

/// Passes bytes on, and keeps a copy of what goes up.
async fn splice(tunnel: Tunnel, far: DuplexStream, passed: Arc<Mutex<Passed>>) -> std::io::Result<()> {
    let (mut read, mut write) = tokio::io::split(tunnel);
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let up = async {
        let mut buffer = vec![0; PIPE];
        loop {
            let taken = read.read(&mut buffer).await?;
            let bytes = buffer.get(..taken).unwrap_or_default();
            if bytes.is_empty() {
                return far_write.shutdown().await;
            }
            passed.lock().unwrap().bytes.extend_from_slice(bytes);
            far_write.write_all(bytes).await?;
        }
    };
    let down = async {
        tokio::io::copy(&mut far_read, &mut write).await?;
        write.shutdown().await
    };
    tokio::try_join!(up, down).map(drop)
}

async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut bytes)).await.unwrap().map(|_| bytes)
}

#[tokio::test]
async fn each_layer_proves_its_own_identity() {
    const CANARY: &[u8] = b"a canary that the gateway does not see";
    let mut layers = Layers::new().await;
    let (mut near, mut far) = layers.open().await;
    near.write_all(CANARY).await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut far).await.unwrap(), CANARY);
    let passed = layers.gateway.lock().unwrap();
    assert_eq!(passed.peers, [id("client")]);
    assert!(passed.bytes.len() > CANARY.len());
    assert!(!passed.bytes.windows(CANARY.len()).any(|window| window == CANARY));
}

#[tokio::test]
async fn a_gateway_that_is_another_is_refused() {
    let root = Root::new();
    let (near, far) = (root.client("client", "gateway"), root.server("server"));
    let refused = Layers::of(&root, near, far, "impostor").await.err().unwrap();
    assert!(format!("{refused:?}").contains("impostor"), "{refused:?}");
}

/// Also when it is the gateway itself that ends the inner layer.
#[tokio::test]
async fn a_far_end_that_is_another_is_refused() {
    for name in ["impostor", "gateway"] {
        let root = Root::new();
        let (near, far) = (root.client("client", "gateway"), root.server(name));
        let refused = Layers::of(&root, near, far, "gateway").await.err().unwrap();
        assert!(format!("{refused:?}").contains(name), "{refused:?}");
    }
    // Nor one that another root vouches for.
    let root = Root::new();
    let (near, far) = (root.client("client", "gateway"), Root::new().server("server"));
    assert!(Layers::of(&root, near, far, "gateway").await.is_err());
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let mut layers = Layers::new().await;
    let (mut near, mut far) = layers.open().await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut far).await.unwrap(), b"question");
    far.write_all(b"answer").await.unwrap();
    far.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut near).await.unwrap(), b"answer");
}

#[tokio::test]
async fn a_reset_is_one_and_leaves_the_other_tunnels() {
    let mut layers = Layers::new().await;
    let (mut other_near, mut other_far) = layers.open().await;
    let (mut near, mut far) = layers.open().await;
    near.write_all(b"half").await.unwrap();
    far.read_exact(&mut [0; 4]).await.unwrap();
    drop(near);
    assert_eq!(read_to_end(&mut far).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (mut near, far) = layers.open().await;
    drop(far);
    assert_eq!(read_to_end(&mut near).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    other_near.write_all(b"whole").await.unwrap();
    other_near.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut other_far).await.unwrap(), b"whole");
}

#[tokio::test]
async fn a_cut_of_the_outer_layer_is_no_end_of_the_inner_one() {
    let mut layers = Layers::new().await;
    let (mut near, mut far) = layers.open().await;
    near.write_all(b"half").await.unwrap();
    far.read_exact(&mut [0; 4]).await.unwrap();
    layers.cut.abort();
    assert_eq!(read_to_end(&mut near).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(read_to_end(&mut far).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert!(layers.inner.is_closed());
}

#[tokio::test]
async fn much_passes_both_ways_at_once() {
    let mut layers = Layers::new().await;
    let (near, far) = layers.open().await;
    let much = |factor: u64| -> Vec<u8> {
        (0..1_000_000_u64).flat_map(|at| at.wrapping_mul(factor).to_le_bytes()).collect()
    };
    let (up, down) = (much(0x9e37_79b9_7f4a_7c15), much(0xd1b5_4a32_d192_ed03));
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
        (tokio::io::split(near), tokio::io::split(far));
    let sending_up = async { near_write.write_all(&up).await.and(near_write.shutdown().await) };
    let sending_down = async { far_write.write_all(&down).await.and(far_write.shutdown().await) };
    let receiving = async { tokio::join!(read_to_end(&mut far_read), read_to_end(&mut near_read)) };
    let (sent_up, sent_down, (got_up, got_down)) = tokio::join!(sending_up, sending_down, receiving);
    sent_up.and(sent_down).unwrap();
    assert!(got_up.unwrap() == up && got_down.unwrap() == down, "what came is what was sent");
}

#[tokio::test]
async fn a_goodbye_of_either_layer_lets_tunnels_end() {
    for layer in [0, 1] {
        let mut layers = Layers::new().await;
        let (mut near, mut far) = layers.open().await;
        layers.goodbyes.get(layer).unwrap().send(()).unwrap();
        let goes = if layer == 0 { &layers.outer } else { &layers.inner };
        timeout(LIMIT, async {
            while !goes.is_closed() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert_eq!(layers.inner.is_closed(), layer == 1, "the inner layer hears only of its own end");
        let carried = layers.inner.clone().carried_by(layers.outer.clone());
        assert!(carried.is_closed(), "unless it is told what carries it");
        near.write_all(b"late").await.unwrap();
        near.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut far).await.unwrap(), b"late");
        far.write_all(b"answer").await.unwrap();
        far.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut near).await.unwrap(), b"answer");
    }
}
