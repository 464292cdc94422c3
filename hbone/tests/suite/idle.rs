//! Limits of time: for what is owed, and for rest.

use std::time::Duration;

use inpod_hbone::{Config, ConnectionError, HandshakeError, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::pair::Pair;

fn a_minute() -> Config {
    Config::default().with_idle_timeout(Some(Duration::from_secs(60)))
}

async fn is_idle(pair: Pair) {
    let end = pair.server.await.unwrap().unwrap_err();
    assert!(matches!(end, ConnectionError::Idle { after } if after.as_secs() == 60), "{end:?}");
    pair.driver.await.unwrap().expect("for the client it is an end in order");
    assert!(pair.client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_is_ended() {
    let start = Instant::now();
    is_idle(Pair::with(&a_minute()).await).await;
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn the_time_begins_when_the_last_tunnel_ends() {
    let mut pair = Pair::with(&a_minute()).await;
    let first = pair.open().await;
    let (near, far) = pair.open().await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(!pair.server.is_finished(), "a quiet tunnel is not cut");
    let start = Instant::now();
    drop(near);
    // Each half counts.
    let (recv, send) = far.into_split();
    drop(send);
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(!pair.server.is_finished());
    drop(recv);
    is_idle(pair).await;
    assert_eq!(start.elapsed().as_secs(), 1060);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_is_not_rest() {
    let config = a_minute().with_open_timeout(Duration::from_secs(3600));
    let mut pair = Pair::with(&config).await;
    let client = pair.client.clone();
    let opening = tokio::spawn(async move { client.open(crate::pair::request()).await });
    let incoming = pair.arrivals.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    let mut far = incoming.accept().unwrap();
    let mut near = opening.await.unwrap().unwrap();
    near.write_all(b"x").await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
}

/// A request that crosses the goodbye is served.
#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_goodbye_is_not_lost() {
    use crate::raw::{CONNECT, GOAWAY, Peer, arrivals};
    let (mut peer, server) = Peer::of_server(&a_minute().with_keepalive(None)).await;
    let mut arrivals = arrivals(server);
    let goodbye = peer.wait_for(GOAWAY).await;
    assert_eq!(
        goodbye.payload[..4],
        [0x7f, 0xff, 0xff, 0xff],
        "no stream is excluded yet (RFC 9113 section 6.8)"
    );
    peer.headers(0, 1, CONNECT).await;
    let Some(inpod_hbone::Arrival::Connect(incoming)) = arrivals.next().await else { panic!("it was lost") };
    let _tunnel = incoming.accept().unwrap();
    assert_eq!(peer.answer(1).await.unwrap().status(), Some(200));
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_ends() {
    let pair = Pair::new().await;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert!(!pair.server.is_finished());
}

/// The client's half of the handshake waits only for its own bytes to leave.
#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_nothing_does_not_hold_a_client_s_handshake() {
    let (near, _stuck) = tokio::io::duplex(1);
    let config = Config::default().with_handshake_timeout(Duration::from_secs(4));
    let start = Instant::now();
    let error = client::handshake(near, &config).await.unwrap_err();
    assert!(matches!(error, HandshakeError::TimedOut { after } if after.as_secs() == 4));
    assert_eq!(start.elapsed().as_secs(), 4);
}
