//! Pings: for a quiet peer, not for a busy one, and not for ever.

use std::io::ErrorKind;
use std::time::Duration;

use inpod_hbone::{Arrival, Config, ConnectionError, client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use crate::pair::{Pair, request};
use crate::raw::{ACK, PING, PREFACE};

const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// A WINDOW_UPDATE of one byte for the connection: the smallest sign of life that is not an answer.
const SIGN_OF_LIFE: &[u8] = &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_after_ten_and_twenty_seconds() {
    let (near, _silent) = tokio::io::duplex(1 << 20);
    let config = Config::default().with_open_timeout(Duration::from_secs(3600));
    let (client, mut driver) = client::handshake(near, &config).await.unwrap();
    let start = Instant::now();
    let open = tokio::spawn(async move { client.open(request()).await });
    // Kept after its end, as some executors do.
    let end = (&mut driver).await.unwrap_err();
    assert!(matches!(end, ConnectionError::Silent { dead_after } if dead_after == Duration::from_secs(20)));
    assert!(open.await.unwrap().is_err());
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up_and_its_tunnels_fail() {
    let FrozenClient { mut server, mut tunnel, _open } = FrozenClient::new().await;
    let start = Instant::now();
    let mut buffer = [0; 9];
    let (end, read) = tokio::join!(server.next(), tunnel.read(&mut buffer));
    assert!(matches!(end, Some(Err(ConnectionError::Silent { .. }))), "{end:?}");
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert!(server.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_but_living_connection_stays() {
    let mut pair = Pair::new().await;
    let (mut near, mut far) = pair.open().await;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    near.write_all(b"x").await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
    assert!(!pair.driver.is_finished() && !pair.server.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_is_not_pinged() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (_client, driver) = client::handshake(near, &Config::default()).await.unwrap();
    let driver = tokio::spawn(driver);
    far.write_all(EMPTY_SETTINGS).await.unwrap();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        far.write_all(SIGN_OF_LIFE).await.unwrap();
    }
    assert!(!driver.is_finished());
    let quiet_since = Instant::now();
    let frames = frames_until_closed(far).await;
    assert_eq!(frames.iter().filter(|kind| **kind == PING).count(), 1, "only after it fell silent");
    assert_eq!(quiet_since.elapsed().as_secs(), 30);
    assert!(driver.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_answering_peer_is_pinged_every_ten_seconds() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (_client, driver) = client::handshake(near, &Config::default()).await.unwrap();
    let _driver = tokio::spawn(driver);
    far.write_all(EMPTY_SETTINGS).await.unwrap();
    let answer_pings = async {
        let mut pings = 0;
        far.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
        let mut head = [0; 9];
        while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(15), far.read_exact(&mut head)).await {
            let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
            far.read_exact(&mut payload).await.unwrap();
            if head[3] == PING {
                pings += 1;
                head[4] = ACK;
                far.write_all(&head).await.unwrap();
                far.write_all(&payload).await.unwrap();
            }
            if pings == 6 {
                break;
            }
        }
        pings
    };
    let start = Instant::now();
    assert_eq!(answer_pings.await, 6);
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn without_a_policy_silence_is_endured() {
    let (near, _silent) = tokio::io::duplex(1 << 20);
    let (_client, driver) = client::handshake(near, &Config::default().with_keepalive(None)).await.unwrap();
    let day = Duration::from_secs(24 * 3600);
    assert!(tokio::time::timeout(day, driver).await.is_err());
}

/// A server with a tunnel, whose client has stopped for good without closing.
struct FrozenClient {
    server: inpod_hbone::Server<DuplexStream>,
    tunnel: inpod_hbone::Tunnel,
    _open: tokio::task::JoinHandle<()>,
}

impl FrozenClient {
    async fn new() -> Self {
        let (near, far) = tokio::io::duplex(1 << 20);
        let config = Config::default().with_keepalive(None);
        let (client, driver) = client::handshake(near, &config).await.unwrap();
        let mut server = server::handshake(far, &Config::default()).await.unwrap();
        // Polled once only, so that its request leaves and nothing is read ever after.
        let open = tokio::spawn(async move {
            let mut driver = Box::pin(driver);
            let mut open = Box::pin(client.open(request()));
            std::future::poll_fn(|cx| {
                let _ = open.as_mut().poll(cx);
                let _ = driver.as_mut().poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
            std::future::pending::<()>().await;
            drop((open, driver));
        });
        let Some(Ok(Arrival::Connect(incoming))) = server.next().await else { panic!("no request") };
        Self { server, tunnel: incoming.accept().unwrap(), _open: open }
    }
}

/// The types of the frames that a client sent, after its preface.
async fn frames_until_closed(mut io: DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await.unwrap();
    let mut rest = bytes.strip_prefix(PREFACE).unwrap();
    let mut kinds = Vec::new();
    while let [a, b, c, kind, ..] = *rest {
        kinds.push(kind);
        rest = &rest[9 + usize::from(a) * 65_536 + usize::from(b) * 256 + usize::from(c)..];
    }
    kinds
}
