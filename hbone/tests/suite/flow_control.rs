//! Back-pressure: what one reader does not take, its writer cannot send, and nobody else pays.

use bytes::Bytes;
use inpod_hbone::{Client, Config, RecvHalf, SendHalf, Tunnel};

use crate::pair::{Pair, pattern, quiet, read_all, request, settled};
use crate::raw::{HEADERS, Peer, SETTINGS, WINDOW_UPDATE};

const STREAM: usize = 128 * 1024;
const CONNECTION: usize = 4 * STREAM;
const BUFFER: usize = 64 * 1024;
/// Of which several fit into each window.
const CHUNK: usize = 16 * 1024;

fn small() -> Config {
    Config::default()
        .with_stream_window(u32::try_from(STREAM).unwrap())
        .and_then(|config| config.with_connection_window(u32::try_from(CONNECTION).unwrap()))
        .and_then(|config| config.with_max_send_buffer_size(u32::try_from(BUFFER).unwrap()))
        .unwrap()
}

/// Sends until nothing more is taken, and says how much was.
async fn fill(send: &mut SendHalf) -> usize {
    let mut sent = 0;
    while let Some(room) = settled(send.capacity(CHUNK)).await {
        let room = room.unwrap();
        assert!((1..=CHUNK).contains(&room));
        send.send(Bytes::from(vec![7; room])).unwrap();
        sent += room;
    }
    sent
}

/// A tunnel whose reader is at the server: how to write, how to read, and what else keeps it open.
async fn one(pair: &mut Pair) -> (SendHalf, RecvHalf, impl Sized + use<>) {
    let (near, far) = pair.open().await;
    let ((near_recv, near_send), (far_recv, far_send)) = (near.into_split(), far.into_split());
    (near_send, far_recv, (near_recv, far_send))
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_stops_its_writer_within_the_window() {
    let mut pair = Pair::with(&small()).await;
    let (mut send, mut recv, _rest) = one(&mut pair).await;
    // h2 grants what fits both the window and the buffer, so what waits locally is part of the window.
    let sent = fill(&mut send).await;
    assert_eq!(sent, STREAM);

    // Everything that was sent is read, then the writer goes on.
    let mut read = 0;
    while let Some(chunk) = settled(recv.data()).await {
        read += chunk.unwrap().unwrap().len();
    }
    assert_eq!(read, sent);
    assert!(fill(&mut send).await > 0);
}

#[tokio::test(start_paused = true)]
async fn at_most_one_chunk_is_out_beyond_the_window() {
    let mut pair = Pair::with(&small()).await;
    let (mut send, mut recv, _rest) = one(&mut pair).await;
    let filled = fill(&mut send).await;
    let held = recv.data().await.unwrap().unwrap();
    assert_eq!(fill(&mut send).await, 0, "a chunk in the reader's hand has not left the window");
    let mut chunks = vec![held];
    // Half a window goes back before HTTP/2 tells the peer.
    while chunks.iter().map(Bytes::len).sum::<usize>() < filled {
        chunks.push(recv.data().await.unwrap().unwrap());
    }
    assert!(fill(&mut send).await > 0);
}

#[tokio::test(start_paused = true)]
async fn stalled_streams_do_not_stop_the_others() {
    let mut pair = Pair::with(&small()).await;
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut stream = one(&mut pair).await;
        fill(&mut stream.0).await;
        stalled.push(stream);
    }
    let (mut send, mut recv, _rest) = one(&mut pair).await;
    goes_on(&mut send, &mut recv, 10 * CONNECTION).await;
}

/// The same with the reader at the client.
async fn one_back(pair: &mut Pair) -> (SendHalf, RecvHalf, impl Sized + use<>) {
    let (near, far) = pair.open().await;
    let ((near_recv, near_send), (far_recv, far_send)) = (near.into_split(), far.into_split());
    (far_send, near_recv, (far_recv, near_send))
}

/// All streams that there may be, of which the last has a reader.
macro_rules! all_but_one_stall {
    ($($name:ident => $one:ident;)*) => { $(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            let mut pair = Pair::new().await;
            let mut stalled = Vec::new();
            for _ in 0..199 {
                let (send, recv, rest) = $one(&mut pair).await;
                tokio::spawn(pour(send));
                quiet().await;
                stalled.push((recv, rest));
            }
            let (mut send, mut recv, _rest) = $one(&mut pair).await;
            goes_on(&mut send, &mut recv, 3 << 20).await;
            // Each that stalled had room of its own, and goes on when its reader does.
            for (recv, _) in &mut stalled {
                let mut read = 0;
                while read < 3 * CHUNK {
                    read += settled(recv.data()).await.expect("it moves").unwrap().unwrap().len();
                }
            }
        }
    )* };
}

all_but_one_stall! {
    any_number_of_stalled_readers_at_the_server_stop_nobody_else => one;
    any_number_of_stalled_readers_at_the_client_stop_nobody_else => one_back;
}

/// Writes for ever.
async fn pour(mut send: SendHalf) {
    while send.send_all(Bytes::from_static(&[7; CHUNK])).await.is_ok() {}
}

/// So many bytes go through.
async fn goes_on(send: &mut SendHalf, recv: &mut RecvHalf, bytes: usize) {
    let write = async { send.send_all(Bytes::from(vec![7; bytes])).await.unwrap() };
    let read = async {
        let mut read = 0;
        while read < bytes {
            read += recv.data().await.unwrap().unwrap().len();
        }
        assert_eq!(read, bytes);
    };
    settled(async { tokio::join!(write, read) }).await.expect("it moves");
}

/// A tunnel of our client's on that stream.
async fn accepted(peer: &mut Peer, client: &Client, stream: u32) -> (RecvHalf, SendHalf) {
    let accept = async {
        assert_eq!(peer.answer(stream).await.map(|frame| frame.kind), Some(HEADERS));
        peer.headers(0, stream, &[(":status", "200")]).await;
    };
    tokio::join!(client.open(request()), accept).0.unwrap().into_split()
}

/// The peer takes one frame and nothing more. There is room then for two who wait, of whom the first does not any more.
#[tokio::test(start_paused = true)]
async fn room_that_somebody_does_not_take_is_the_next_ones() {
    let (mut peer, client, driver) = Peer::of_client(&small()).await;
    tokio::spawn(driver);
    let wide = (1_u32 << 24).to_be_bytes();
    peer.send(SETTINGS, 0, 0, &[&[0, 4], &wide[..]].concat()).await;
    peer.send(WINDOW_UPDATE, 0, 0, &wide).await;
    let [(_recv, mut fills), (_other, mut waits)] =
        [accepted(&mut peer, &client, 1).await, accepted(&mut peer, &client, 3).await];
    // Waits for room in the end, and then no longer.
    fill(&mut fills).await;
    let waiter = tokio::spawn(async move { waits.capacity(CHUNK).await });
    quiet().await;
    assert!(!waiter.is_finished());
    assert_eq!(peer.next(1).await.map(|frame| frame.payload.len()), Some(CHUNK));
    assert_eq!(settled(waiter).await.expect("there is room").unwrap().unwrap(), CHUNK);
}

#[tokio::test(start_paused = true)]
async fn unread_data_of_tunnels_that_are_gone_is_given_back() {
    let mut pair = Pair::with(&small()).await;
    for round in 0..40 {
        let (mut send, mut recv, rest) = one(&mut pair).await;
        assert!(fill(&mut send).await > 0, "round {round}");
        let held = recv.data().await.unwrap().unwrap();
        match round % 3 {
            0 => drop((recv, send, rest)),
            1 => drop((send, recv, rest)),
            _ => drop((rest, recv, send)),
        }
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_for_a_dropped_reader_is_given_back() {
    let mut pair = Pair::with(&small()).await;
    let (mut into_the_void, recv, _rest) = one(&mut pair).await;
    into_the_void.send_all(Bytes::from(vec![7; CHUNK])).await.unwrap();
    drop(recv);
    // Its stream's own window is not opened again, but the connection's is.
    fill(&mut into_the_void).await;
    let (mut send, mut recv, _rest) = one(&mut pair).await;
    let write = async { send.send_all(Bytes::from(vec![7; 4 * CONNECTION])).await.unwrap() };
    let read = async {
        let mut read = 0;
        while read < 4 * CONNECTION {
            read += recv.data().await.unwrap().unwrap().len();
        }
    };
    settled(async { tokio::join!(write, read) }).await.expect("the connection moves");
}

#[tokio::test(start_paused = true)]
async fn a_chunk_in_the_hand_of_a_dropped_reader_is_given_back() {
    let mut pair = Pair::with(&small()).await;
    let mut writers = Vec::new();
    for _ in 0..2 * CONNECTION / CHUNK {
        let (mut send, mut recv, rest) = one(&mut pair).await;
        settled(send.send_all(Bytes::from(vec![7; CHUNK]))).await.expect("there is room").unwrap();
        let chunk = settled(recv.data()).await.unwrap().unwrap().unwrap();
        assert_eq!(chunk.len(), CHUNK);
        drop(recv);
        writers.push((send, rest));
    }
}

#[tokio::test(start_paused = true)]
async fn room_that_is_not_used_is_no_more_than_was_asked_for() {
    let config = small().with_connection_window(u32::try_from(STREAM).unwrap()).unwrap();
    let mut pair = Pair::with(&config).await;
    let (mut asks, _recv, _rest) = one(&mut pair).await;
    assert_eq!(asks.capacity(10).await.unwrap(), 10);
    let (mut sends, _recv, _rest) = one(&mut pair).await;
    assert_eq!(fill(&mut sends).await, STREAM - 10);
    asks.send(Bytes::from_static(b"ten bytes.")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn room_is_asked_for_before_it_is_used() {
    let mut pair = Pair::with(&small()).await;
    let (mut send, mut recv, _rest) = one(&mut pair).await;
    let refused = send.send(Bytes::from_static(b"unasked")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(send.capacity(0).await.unwrap(), 0);
    assert_eq!(send.capacity(3).await.unwrap(), 3);
    assert!(send.send(Bytes::from_static(b"four")).is_err());
    send.send(Bytes::from_static(b"on")).unwrap();
    send.send(Bytes::from_static(b"e")).unwrap();
    assert!(send.send(Bytes::from_static(b"!")).is_err());
    send.finish().unwrap();
    assert_eq!(read_all(&mut recv).await.unwrap(), b"one");
}

/// Both ends have much to say, and neither a pipe with much room: what either must answer does not keep it from reading.
#[tokio::test(start_paused = true)]
async fn much_both_ways_at_once_does_not_stall() {
    let mut pair = Pair::new().await;
    let (near, far) = pair.open().await;
    both_ways(near, far, 40_000_000).await;
}

/// Sends so many bytes each way at once.
pub(crate) async fn both_ways(near: Tunnel, far: Tunnel, length: usize) {
    let (up, down) = (pattern(length), pattern(length + 1));
    let send = async |mut half: SendHalf, bytes: &[u8]| {
        half.send_all(Bytes::copy_from_slice(bytes)).await.unwrap();
        half.finish().unwrap();
        half
    };
    let ((mut near_recv, near_send), (mut far_recv, far_send)) = (near.into_split(), far.into_split());
    let sending = async { tokio::join!(send(near_send, &up), send(far_send, &down)) };
    let receiving = async { tokio::join!(read_all(&mut far_recv), read_all(&mut near_recv)) };
    let (_halves, (got_up, got_down)) = tokio::join!(sending, receiving);
    assert!(got_up.unwrap() == up && got_down.unwrap() == down, "what came is what was sent");
}
