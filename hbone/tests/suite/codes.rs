//! Error codes of RST_STREAM: what we say with which, and what we make of each.

use std::io::ErrorKind;

use inpod_hbone::{Arrival, Config, Refusal, Tunnel};

use crate::pair::{quiet, request, settled};
use crate::raw::{
    Arrivals, CANCEL, CONNECT, CONNECT_ERROR, DATA, END_STREAM, NO_ERROR, Peer, REFUSED_STREAM, RST_STREAM,
    arrivals,
};

/// A tunnel of our server with a raw client.
async fn serving() -> (Peer, Arrivals, Tunnel) {
    let (mut peer, server) = Peer::of_server(&Config::default()).await;
    let mut arrivals = arrivals(server);
    peer.headers(0, 1, CONNECT).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!() };
    let tunnel = incoming.accept().unwrap();
    assert_eq!(peer.answer(1).await.unwrap().status(), Some(200));
    (peer, arrivals, tunnel)
}

/// A tunnel of our client with a raw server.
async fn asking() -> (Peer, inpod_hbone::Client, Tunnel) {
    let (mut peer, client, driver) = Peer::of_client(&Config::default()).await;
    tokio::spawn(driver);
    let ours = client.clone();
    let opening = tokio::spawn(async move { ours.open(request()).await.unwrap() });
    peer.answer(1).await.unwrap();
    peer.headers(0, 1, &[(":status", "200")]).await;
    (peer, client, opening.await.unwrap())
}

async fn is_reset_with(peer: &mut Peer, code: u32) {
    let reset = peer.answer(1).await.unwrap();
    assert_eq!((reset.kind, reset.code()), (RST_STREAM, code));
}

/// RFC 9113 section 7: all that are assigned, one that is not, and the largest.
const CODES: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0x1234, u32::MAX];

async fn every_code_is_a_reset(mut peer: Peer, mut tunnel: Tunnel, code: u32) {
    peer.send(DATA, 0, 1, b"part").await;
    peer.send(RST_STREAM, 0, 1, &code.to_be_bytes()).await;
    quiet().await;
    let (recv, send) = tunnel.split();
    let error = loop {
        match settled(recv.data()).await.expect("it does not hang").expect("it is no end") {
            Ok(chunk) => assert_eq!(chunk, "part"),
            Err(error) => break error,
        }
    };
    for error in [error, send.capacity(1).await.unwrap_err(), send.finish().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{code}");
        let inner = error.get_ref().unwrap().downcast_ref::<h2::Error>().unwrap();
        assert_eq!(inner.reason().map(u32::from), Some(code));
    }
}

#[tokio::test(start_paused = true)]
async fn every_code_of_a_client_is_a_reset_for_our_server() {
    for code in CODES {
        let (peer, _arrivals, tunnel) = serving().await;
        every_code_is_a_reset(peer, tunnel, code).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_code_of_a_server_is_a_reset_for_our_client() {
    for code in CODES {
        let (peer, _client, tunnel) = asking().await;
        every_code_is_a_reset(peer, tunnel, code).await;
    }
}

/// RFC 9113 section 8.5: a failed connection is CONNECT_ERROR.
#[tokio::test(start_paused = true)]
async fn a_cut_tunnel_is_connect_error() {
    let (mut peer, _arrivals, tunnel) = serving().await;
    drop(tunnel);
    is_reset_with(&mut peer, CONNECT_ERROR).await;
    let (mut peer, _client, tunnel) = asking().await;
    drop(tunnel);
    is_reset_with(&mut peer, CONNECT_ERROR).await;
    let (mut peer, _arrivals, mut tunnel) = serving().await;
    tunnel.split().1.reset();
    is_reset_with(&mut peer, CONNECT_ERROR).await;
}

/// A cut after the peer's end is still told, because ours is missing.
#[tokio::test(start_paused = true)]
async fn a_cut_after_the_peer_has_finished_is_connect_error() {
    let (mut peer, _arrivals, mut tunnel) = serving().await;
    peer.send(DATA, END_STREAM, 1, b"").await;
    assert!(tunnel.split().0.data().await.is_none());
    drop(tunnel);
    is_reset_with(&mut peer, CONNECT_ERROR).await;
}

/// RFC 9113 section 7: CANCEL is for what is no longer needed.
#[tokio::test(start_paused = true)]
async fn a_request_taken_back_is_cancel() {
    let (mut peer, client, driver) = Peer::of_client(&Config::default()).await;
    tokio::spawn(driver);
    assert!(settled(client.open(request())).await.is_none());
    peer.answer(1).await.unwrap();
    is_reset_with(&mut peer, CANCEL).await;
}

/// RFC 9113 section 8.1: who has answered and wants nothing more says NO_ERROR.
#[tokio::test(start_paused = true)]
async fn a_server_that_has_finished_and_reads_no_more_is_no_error() {
    let (mut peer, _arrivals, mut tunnel) = serving().await;
    tunnel.split().1.finish().unwrap();
    assert!(peer.answer(1).await.unwrap().ends_stream());
    drop(tunnel);
    is_reset_with(&mut peer, NO_ERROR).await;

    let (mut peer, server) = Peer::of_server(&Config::default()).await;
    let mut arrivals = arrivals(server);
    peer.headers(0, 1, CONNECT).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!() };
    incoming.refuse(Refusal::Denied);
    assert!(peer.answer(1).await.unwrap().ends_stream());
    is_reset_with(&mut peer, NO_ERROR).await;
}

/// A client that has finished and reads no more takes nothing from the peer's view but the rest of its answer.
#[tokio::test(start_paused = true)]
async fn a_client_that_has_finished_and_reads_no_more_is_cancel() {
    let (mut peer, _client, mut tunnel) = asking().await;
    tunnel.split().1.finish().unwrap();
    assert!(peer.answer(1).await.unwrap().ends_stream());
    drop(tunnel);
    is_reset_with(&mut peer, CANCEL).await;
}

/// A tunnel that both have finished leaves nothing to say.
#[tokio::test(start_paused = true)]
async fn a_tunnel_that_has_ended_is_not_reset() {
    let (mut peer, _arrivals, mut tunnel) = serving().await;
    peer.send(DATA, END_STREAM, 1, b"").await;
    let (recv, send) = tunnel.split();
    assert!(recv.data().await.is_none());
    send.finish().unwrap();
    drop(tunnel);
    assert!(peer.answer(1).await.unwrap().ends_stream());
    assert!(peer.answer(1).await.is_none());
}

/// RFC 9113 section 5.1.2: a stream beyond the limit was not looked at.
#[tokio::test(start_paused = true)]
async fn a_stream_beyond_the_limit_is_refused_stream() {
    let config = Config::default().with_max_concurrent_streams(1);
    let (mut peer, server) = Peer::of_server(&config).await;
    let mut arrivals = arrivals(server);
    peer.headers(0, 1, CONNECT).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!() };
    let _tunnel = incoming.accept().unwrap();
    peer.headers(0, 3, CONNECT).await;
    let reset = peer.answer(3).await.unwrap();
    assert_eq!((reset.kind, reset.code()), (RST_STREAM, REFUSED_STREAM));
    assert!(arrivals.next().await.is_none());
}
