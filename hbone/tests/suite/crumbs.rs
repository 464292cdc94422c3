//! Many small frames: an application that writes byte by byte means no harm, and neither does one that reads late.

use std::future::poll_fn;
use std::task::Poll;

use inpod_hbone::{Arrival, Config, Incoming, Server};
use tokio::io::DuplexStream;

use crate::pair::{pattern, quiet, read_all, settled};
use crate::raw::{ACK, Arrivals, CONNECT, DATA, END_STREAM, Peer, SETTINGS, arrivals};

/// More than h2 holds by itself.
const MANY: usize = 60_000;

async fn requested(peer: &mut Peer, arrivals: &mut Arrivals, stream: u32) -> Incoming {
    peer.headers(0, stream, CONNECT).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!("a request") };
    incoming
}

async fn server() -> (Peer, Arrivals) {
    let (mut peer, server): (_, Server<DuplexStream>) = Peer::of_server(&Config::default()).await;
    peer.send(SETTINGS, ACK, 0, b"").await;
    (peer, arrivals(server))
}

/// Of a request that has no answer yet, and of a tunnel whose reader is late.
#[tokio::test(start_paused = true)]
async fn a_late_reader_of_many_small_frames_gets_them_all() {
    for accepted_first in [true, false] {
        let (mut peer, mut arrivals) = server().await;
        let incoming = requested(&mut peer, &mut arrivals, 1).await;
        let (early, waiting) =
            if accepted_first { (Some(incoming.accept().unwrap()), None) } else { (None, Some(incoming)) };
        let sent = pattern(MANY + 40_000);
        let (small, large) = sent.split_at(MANY);
        for (turn, byte) in small.iter().enumerate() {
            peer.send(DATA, 0, 1, &[*byte]).await;
            if turn % 1000 == 0 {
                quiet().await;
            }
        }
        for chunk in large.chunks(10_000) {
            peer.send(DATA, 0, 1, chunk).await;
        }
        peer.send(DATA, END_STREAM, 1, b"").await;
        quiet().await;
        let tunnel = early.unwrap_or_else(|| waiting.unwrap().accept().unwrap());
        let (mut recv, _send) = tunnel.into_split();
        assert!(read_all(&mut recv).await.unwrap() == sent, "every byte, in order, and the end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_before_many_small_frames_stops_nobody_else() {
    let (mut peer, mut arrivals) = server().await;
    let _stalled = requested(&mut peer, &mut arrivals, 1).await.accept().unwrap();
    let (mut recv, _send) = requested(&mut peer, &mut arrivals, 3).await.accept().unwrap().into_split();
    for turn in 0..MANY {
        peer.send(DATA, 0, 1, b"x").await;
        if turn % 1000 == 0 {
            peer.send(DATA, 0, 3, b"through").await;
            assert_eq!(settled(recv.data()).await.expect("it comes").unwrap().unwrap(), "through");
        }
    }
}

/// A reader that waits is woken by what comes, however often others' frames were put together.
#[tokio::test(start_paused = true)]
async fn who_waits_beside_many_small_frames_is_woken() {
    let (mut peer, mut arrivals) = server().await;
    let _stalled = requested(&mut peer, &mut arrivals, 1).await.accept().unwrap();
    let (mut recv, _send) = requested(&mut peer, &mut arrivals, 3).await.accept().unwrap().into_split();
    let waiting = tokio::spawn(async move { recv.data().await.unwrap().unwrap() });
    quiet().await;
    for _ in 0..5000 {
        peer.send(DATA, 0, 1, b"x").await;
    }
    quiet().await;
    assert!(!waiting.is_finished());
    peer.send(DATA, 0, 3, b"at last").await;
    assert_eq!(settled(waiting).await.expect("it is woken").unwrap(), "at last");
}

/// What is put together is not read: its room is given back only when it is.
#[tokio::test(start_paused = true)]
async fn small_frames_that_nobody_reads_fill_the_window() {
    let (mut peer, mut arrivals) = server().await;
    let (mut recv, _send) = requested(&mut peer, &mut arrivals, 1).await.accept().unwrap().into_split();
    for _ in 0..MANY {
        peer.send(DATA, 0, 1, b"xx").await;
    }
    assert!(peer.answer(1).await.is_some(), "the yes");
    assert!(peer.next(1).await.is_none(), "no room is given for what nobody has read");
    let mut read = 0;
    while let Some(chunk) = settled(recv.data()).await {
        read += chunk.unwrap().unwrap().len();
    }
    assert_eq!(read, 2 * MANY);
    assert!(peer.next(1).await.is_some(), "now it is");
}

/// What one connection has to read is read in turns with everything else that its runtime does.
#[tokio::test(start_paused = true)]
async fn a_connection_with_much_to_read_lets_others_go_on() {
    let (mut peer, server) = Peer::of_server(&Config::default()).await;
    peer.headers(0, 1, CONNECT).await;
    for _ in 0..MANY {
        peer.send(DATA, 0, 1, b"x").await;
    }
    peer.send(DATA, END_STREAM, 1, b"").await;
    // All of it is there before any of it is read.
    let mut arrivals = arrivals(server);
    let reading = tokio::spawn(async move {
        let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!("a request") };
        let (mut recv, send) = incoming.accept().unwrap().into_split();
        while recv.data().await.is_some() {}
        drop((send, arrivals));
    });
    let mut turns = 0;
    poll_fn(|cx| {
        turns += 1;
        cx.waker().wake_by_ref();
        if reading.is_finished() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    // Its turns are of some 128 frames.
    assert!(turns > MANY / 256, "others had {turns} turns");
}

/// Whatever was under way for tunnels that were cut: it costs nothing, so it is nobody's fault.
#[tokio::test(start_paused = true)]
async fn small_frames_that_come_late_for_tunnels_that_were_cut_are_forgotten() {
    let (mut peer, mut arrivals) = server().await;
    for turn in 0..200 {
        let stream = 2 * turn + 1;
        drop(requested(&mut peer, &mut arrivals, stream).await.accept().unwrap());
        for _ in 0..200 {
            peer.send(DATA, 0, stream, b"late").await;
        }
    }
    let (mut recv, _send) = requested(&mut peer, &mut arrivals, 401).await.accept().unwrap().into_split();
    peer.send(DATA, 0, 401, b"through").await;
    assert_eq!(settled(recv.data()).await.expect("it comes").unwrap().unwrap(), "through");
}

/// And requests: each is a task to begin, and an application to be dialled.
#[tokio::test(start_paused = true)]
async fn a_connection_with_many_requests_lets_others_go_on() {
    let (mut peer, server) = Peer::of_server(&Config::default()).await;
    for turn in 0..200 {
        peer.headers(0, 2 * turn + 1, CONNECT).await;
    }
    let mut arrivals = arrivals(server);
    let taking = tokio::spawn(async move {
        let mut taken = Vec::new();
        while taken.len() < 200 {
            taken.extend(arrivals.next().await);
        }
    });
    let mut turns = 0;
    poll_fn(|cx| {
        turns += 1;
        cx.waker().wake_by_ref();
        if taking.is_finished() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    // Its turns are of some 20.
    assert!(turns >= 8, "others had {turns} turns");
}
