//! The time between the request and its answer: nothing is let through before somebody has said yes.

use bytes::Bytes;
use inpod_hbone::{Arrival, Config, Refusal};

use crate::pair::{Pair, quiet, request, settled};
use crate::raw::{CONNECT, DATA, END_STREAM, HEADERS, NO_ERROR, Peer, RST_STREAM, WINDOW_UPDATE, arrivals};

/// What a client sends with its request is for who accepts it, in order, and is not lost.
#[tokio::test(start_paused = true)]
async fn what_a_client_sends_early_is_delivered_after_the_yes() {
    let (mut peer, server) = Peer::of_server(&Config::default()).await;
    let mut arrivals = arrivals(server);
    peer.headers(0, 1, CONNECT).await;
    peer.send(DATA, 0, 1, b"ear").await;
    peer.send(DATA, END_STREAM, 1, b"ly").await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!() };
    assert!(peer.answer(1).await.is_none(), "nobody has said yes");
    let mut tunnel = incoming.accept().unwrap();
    let (recv, _send) = tunnel.split();
    assert_eq!(recv.data().await.unwrap().unwrap(), "ear");
    assert_eq!(recv.data().await.unwrap().unwrap(), "ly");
    assert!(recv.data().await.is_none());
    assert_eq!(peer.answer(1).await.unwrap().status(), Some(200));
}

/// It is held within the stream's window, which does not grow before the yes.
#[tokio::test(start_paused = true)]
async fn what_a_client_sends_early_is_bounded_by_the_window() {
    let config = Config::default().with_stream_window(65_535).unwrap();
    let (mut peer, server) = Peer::of_server(&config).await;
    let mut arrivals = arrivals(server);
    peer.headers(0, 1, CONNECT).await;
    for _ in 0..4 {
        peer.send(DATA, 0, 1, &[7; 16_000]).await;
    }
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!() };
    assert!(peer.next(1).await.is_none(), "no window update");
    let mut tunnel = incoming.accept().unwrap();
    for _ in 0..4 {
        assert_eq!(tunnel.split().0.data().await.unwrap().unwrap().len(), 16_000);
    }
    assert!(settled(tunnel.split().0.data()).await.is_none(), "there is no more");
    let mut kinds = [peer.next(1).await.unwrap().kind, peer.next(1).await.unwrap().kind];
    kinds.sort_unstable();
    assert_eq!(kinds, [HEADERS, WINDOW_UPDATE]);
}

/// What came early for a request that is refused is thrown away, and the connection's window gets it back.
#[tokio::test(start_paused = true)]
async fn what_a_refused_client_sent_early_is_given_back() {
    let config = Config::default().with_connection_window(65_535).unwrap();
    let (mut peer, server) = Peer::of_server(&config).await;
    let mut arrivals = arrivals(server);
    for stream in (1..100).step_by(2) {
        peer.headers(0, stream, CONNECT).await;
        peer.send(DATA, 0, stream, &[7; 16_000]).await;
        let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!("stream {stream}") };
        incoming.refuse(Refusal::Denied);
        assert!(peer.answer(stream).await.unwrap().ends_stream());
        let reset = peer.answer(stream).await.unwrap();
        assert_eq!((reset.kind, reset.code()), (RST_STREAM, NO_ERROR));
    }
    // Fifty times 16000 bytes have passed a window of 65535.
    peer.headers(0, 101, CONNECT).await;
    assert!(matches!(arrivals.next().await, Some(Arrival::Connect(_))));
}

/// A server says nothing at all before its caller has decided.
#[tokio::test(start_paused = true)]
async fn nothing_is_answered_before_the_caller_decides() {
    let (mut peer, server) = Peer::of_server(&Config::default()).await;
    let mut arrivals = arrivals(server);
    peer.headers(0, 1, CONNECT).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!() };
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(peer.next(1).await.is_none());
    drop(incoming);
    assert!(peer.answer(1).await.unwrap().ends_stream(), "and then it is a refusal");
}

/// A client sends no byte of its tunnel before the yes: there is nothing to send with.
#[tokio::test(start_paused = true)]
async fn our_client_sends_nothing_before_the_yes() {
    let (mut peer, client, driver) = Peer::of_client(&Config::default()).await;
    tokio::spawn(driver);
    let opening = tokio::spawn(async move {
        let mut tunnel = client.open(request()).await.unwrap();
        tunnel.split().1.send_all(Bytes::from_static(b"now")).await.unwrap();
        tunnel
    });
    let asked = peer.next(1).await.unwrap();
    assert_eq!((asked.kind, asked.ends_stream()), (HEADERS, false));
    assert!(peer.next(1).await.is_none());
    peer.headers(0, 1, &[(":status", "200")]).await;
    let _tunnel = opening.await.unwrap();
    assert_eq!(peer.answer(1).await.unwrap().payload, b"now");
}

/// A server's first bytes may follow its yes in one packet.
#[tokio::test(start_paused = true)]
async fn a_server_may_speak_first() {
    let mut pair = Pair::new().await;
    let accept = async {
        let mut tunnel = pair.arrivals.recv().await.unwrap().accept().unwrap();
        tunnel.split().1.send_all(Bytes::from_static(b"220 ready")).await.unwrap();
        tunnel
    };
    let (tunnel, _far) = tokio::join!(pair.client.open(request()), accept);
    quiet().await;
    assert_eq!(tunnel.unwrap().split().0.data().await.unwrap().unwrap(), "220 ready");
}
