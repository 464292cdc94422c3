//! Ends: a FIN is a FIN, a reset is a reset, and a vanished peer is neither.

use std::future::poll_fn;
use std::io::ErrorKind;

use bytes::Bytes;
use h2::Reason;
use http::Response;
use inpod_hbone::{Config, RecvHalf, SendHalf, Tunnel, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pair::{Pair, quiet, read_all, request, settled};
use crate::raw::{DATA, END_HEADERS, HEADERS, SETTINGS, frame};

/// Both ends of one tunnel, as (writer and reader) of the client and of the server.
async fn halves(pair: &mut Pair) -> [(RecvHalf, SendHalf); 2] {
    let (near, far) = pair.open().await;
    [near.into_split(), far.into_split()]
}

/// Runs a case with each side as the one that acts.
macro_rules! both_ways {
    ($($name:ident => $case:ident;)*) => {
        mod by_the_client { $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                let mut pair = super::Pair::new().await;
                let [actor, other] = super::halves(&mut pair).await;
                super::$case(actor, other).await;
            }
        )* }
        mod by_the_server { $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                let mut pair = super::Pair::new().await;
                let [other, actor] = super::halves(&mut pair).await;
                super::$case(actor, other).await;
            }
        )* }
    };
}

both_ways! {
    a_fin_ends_one_direction => finish_goes_one_way;
    a_reset_is_not_an_end => reset_cuts;
    a_dropped_writer_is_a_reset => drop_cuts;
    a_dropped_tunnel_is_a_reset => drop_of_both_cuts;
    an_end_stays_an_end_when_the_tunnel_is_dropped => finished_then_dropped;
    a_dropped_reader_leaves_the_writer => writer_outlives_reader;
    an_idle_writer_hears_of_a_reset => idle_writer_hears;
    a_finished_writer_takes_no_more => finished_is_finished;
}

async fn finish_goes_one_way(actor: (RecvHalf, SendHalf), other: (RecvHalf, SendHalf)) {
    let ((mut actor_recv, mut actor_send), (mut other_recv, mut other_send)) = (actor, other);
    actor_send.send_all(Bytes::from_static(b"last words")).await.unwrap();
    actor_send.finish().unwrap();
    assert_eq!(read_all(&mut other_recv).await.unwrap(), b"last words");
    assert!(other_recv.data().await.is_none(), "an end stays an end");

    assert!(settled(actor_recv.data()).await.is_none(), "the other direction is open");
    other_send.send_all(Bytes::from_static(b"and mine")).await.unwrap();
    other_send.finish().unwrap();
    assert_eq!(read_all(&mut actor_recv).await.unwrap(), b"and mine");
}

async fn reset_cuts(actor: (RecvHalf, SendHalf), other: (RecvHalf, SendHalf)) {
    let ((mut actor_recv, mut actor_send), (mut other_recv, mut other_send)) = (actor, other);
    actor_send.send_all(Bytes::from_static(b"half a sen")).await.unwrap();
    assert_eq!(other_recv.data().await.unwrap().unwrap(), "half a sen");
    actor_send.reset();
    let error = other_recv.data().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = other_send.capacity(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(other_send.finish().is_err());

    let error = actor_recv.data().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "for the side that did it");
    assert_eq!(actor_send.capacity(1).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

async fn drop_cuts((_recv, send): (RecvHalf, SendHalf), (mut other_recv, _send): (RecvHalf, SendHalf)) {
    drop(send);
    let error = other_recv.data().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn drop_of_both_cuts(actor: (RecvHalf, SendHalf), (mut recv, mut send): (RecvHalf, SendHalf)) {
    drop(actor);
    assert_eq!(recv.data().await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(send.capacity(1).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

async fn finished_then_dropped(
    (recv, mut send): (RecvHalf, SendHalf),
    (mut other_recv, mut other_send): (RecvHalf, SendHalf),
) {
    send.send_all(Bytes::from(vec![7; 100_000])).await.unwrap();
    send.finish().unwrap();
    quiet().await;
    drop((recv, send));
    assert_eq!(read_all(&mut other_recv).await.unwrap().len(), 100_000);
    // Nobody is left to read what comes back.
    let error = settled(poll_fn(|cx| other_send.poll_reset(cx))).await.expect("the writer hears of it");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(other_recv.data().await.is_none(), "the end was an end before the reset");
}

async fn writer_outlives_reader((recv, mut send): (RecvHalf, SendHalf), other: (RecvHalf, SendHalf)) {
    let (mut other_recv, mut other_send) = other;
    other_send.send_all(Bytes::from_static(b"never read")).await.unwrap();
    drop(recv);
    send.send_all(Bytes::from_static(b"still here")).await.unwrap();
    send.finish().unwrap();
    assert_eq!(read_all(&mut other_recv).await.unwrap(), b"still here");
}

async fn idle_writer_hears(
    (_recv, send): (RecvHalf, SendHalf),
    (_other_recv, mut other): (RecvHalf, SendHalf),
) {
    assert!(settled(poll_fn(|cx| other.poll_reset(cx))).await.is_none());
    drop(send);
    let error = settled(poll_fn(|cx| other.poll_reset(cx))).await.unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn finished_is_finished((_recv, mut send): (RecvHalf, SendHalf), _other: (RecvHalf, SendHalf)) {
    send.finish().unwrap();
    send.finish().expect("again is harmless");
    assert_eq!(send.capacity(1).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(send.send(Bytes::from_static(b"x")).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

/// RFC 9113 section 8.1: a server may answer, and then not want the rest of the request.
#[tokio::test(start_paused = true)]
async fn what_a_server_finished_leaves_although_its_tunnel_is_dropped() {
    let mut pair = Pair::new().await;
    let [(mut recv, mut near_send), (far_recv, mut send)] = halves(&mut pair).await;
    send.send_all(Bytes::from(vec![7; 100_000])).await.unwrap();
    send.finish().unwrap();
    drop((far_recv, send));
    assert_eq!(read_all(&mut recv).await.unwrap().len(), 100_000);
    assert_eq!(near_send.capacity(1).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn as_a_plain_stream_it_ends_and_breaks_the_same() {
    let mut pair = Pair::new().await;
    let (mut near, mut far) = pair.open().await;
    near.write_all(b"bye").await.unwrap();
    near.shutdown().await.unwrap();
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"bye");
    drop(far);
    assert_eq!(near.read(&mut [0; 9]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Some servers cut with a code that sounds harmless; without END_STREAM it is no end all the same.
#[tokio::test(start_paused = true)]
async fn a_reset_with_no_error_is_still_a_reset() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::STREAM_CLOSED] {
        let mut tunnel = tunnel_to_raw_server(move |stream| {
            stream.send_data(Bytes::from_static(b"part"), false).unwrap();
            stream.send_reset(reason);
        })
        .await;
        let error = tunnel.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{reason:?}");
        let inner = error.get_ref().unwrap().downcast_ref::<h2::Error>().unwrap();
        assert_eq!(inner.reason(), Some(reason));
    }
}

#[tokio::test(start_paused = true)]
async fn a_vanished_peer_fails_the_tunnels_of_either_side() {
    let mut pair = Pair::new().await;
    let (near, far) = pair.open().await;
    let ((mut near_recv, mut near_send), (mut far_recv, mut far_send)) =
        (near.into_split(), far.into_split());
    pair.server.abort();
    for recv in [&mut near_recv, &mut far_recv] {
        let error = settled(recv.data()).await.expect("it does not hang").unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    }
    for send in [&mut near_send, &mut far_send] {
        let error = settled(send.capacity(1)).await.expect("it does not hang").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    }
    assert!(pair.client.is_closed());
    let error = pair.client.open(request()).await.unwrap_err();
    assert!(error.is_not_processed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_driver_fails_the_tunnels_of_either_side() {
    let mut pair = Pair::new().await;
    let (mut near, mut far) = pair.open().await;
    pair.driver.abort();
    for tunnel in [&mut near, &mut far] {
        let error = settled(tunnel.read(&mut [0; 9])).await.expect("it does not hang").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_taken_back_is_heard_of() {
    let mut pair = Pair::new().await;
    let open = pair.client.open(request());
    assert!(settled(open).await.is_none());
    let mut incoming = pair.arrivals.recv().await.unwrap();
    let error = settled(incoming.reset()).await.expect("the server hears of it");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(incoming.accept().is_err());
}

/// What a peer had under way for a tunnel that was cut comes late; it is no reason to end the connection.
#[tokio::test(start_paused = true)]
async fn late_data_of_many_cut_tunnels_does_not_end_the_connection() {
    let (near, mut far) = tokio::io::duplex(4 << 20);
    let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
    let driver = tokio::spawn(driver);
    far.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
    // Twice the errors that are forgiven in the life of a connection.
    for stream in (1..3800).step_by(2) {
        let answer = async {
            quiet().await;
            far.write_all(&frame(HEADERS, END_HEADERS, stream, STATUS_200)).await.unwrap();
        };
        let (tunnel, ()) = tokio::join!(client.open(request()), answer);
        drop(tunnel.unwrap());
        quiet().await;
        far.write_all(&frame(DATA, 0, stream, b"late")).await.unwrap();
        quiet().await;
    }
    assert!(!client.is_closed() && !driver.is_finished());
}

/// Entry 8 of the static table, RFC 7541 appendix A.
const STATUS_200: &[u8] = &[0x88];

async fn tunnel_to_raw_server(act: impl FnOnce(&mut h2::SendStream<Bytes>)) -> Tunnel {
    let (near, far) = tokio::io::duplex(4096);
    let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
    tokio::spawn(driver);
    let serve = async {
        let mut peer = h2::server::handshake(far).await.unwrap();
        let (request, mut respond) = peer.accept().await.unwrap().unwrap();
        let stream = respond.send_response(Response::new(()), false).unwrap();
        tokio::spawn(async move { while peer.accept().await.is_some() {} });
        (request, stream)
    };
    let (tunnel, (_request, mut stream)) = tokio::join!(client.open(request()), serve);
    act(&mut stream);
    tunnel.unwrap()
}
