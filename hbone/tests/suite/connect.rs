//! Opening tunnels, and bytes through them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use inpod_hbone::{
    Arrival, Config, FRAME_PAYLOAD, HandshakeError, OpenError, RecvHalf, SendHalf, client, server,
};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pair::{Pair, TARGET, pattern, read_all, request, settled};

#[tokio::test(start_paused = true)]
async fn headers_go_both_ways() {
    let mut pair = Pair::new().await;
    let mut request = request();
    request.headers_mut().insert("baggage", HeaderValue::from_static("service.name=a"));
    let accept = async {
        let incoming = pair.arrivals.recv().await.unwrap();
        assert_eq!(incoming.request().target().to_string(), TARGET);
        assert_eq!(incoming.request().headers()["baggage"], "service.name=a");
        let headers = HeaderMap::from_iter([("baggage".parse().unwrap(), HeaderValue::from_static("b"))]);
        incoming.accept_with(headers).unwrap()
    };
    let (near, far) = tokio::join!(pair.client.open(request), accept);
    assert_eq!(near.unwrap().answer_headers().unwrap()["baggage"], "b");
    assert!(far.answer_headers().is_none());
}

/// RFC 9113 section 8.5: `:method` CONNECT and `:authority`, and no `:scheme` or `:path`.
#[tokio::test(start_paused = true)]
async fn the_wire_shows_a_plain_connect() {
    let (near, far) = tokio::io::duplex(4096);
    let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
    tokio::spawn(driver);
    let serve = async {
        let mut peer = h2::server::handshake(far).await.unwrap();
        let (request, mut respond) = peer.accept().await.unwrap().unwrap();
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(request.uri().authority().unwrap().as_str(), TARGET);
        assert_eq!((request.uri().scheme(), request.uri().path_and_query()), (None, None));
        assert!(request.headers().is_empty());
        let stream = respond.send_response(Response::new(()), false).unwrap();
        tokio::spawn(async move { while peer.accept().await.is_some() {} });
        stream
    };
    let (tunnel, _stream) = tokio::join!(client.open(request()), serve);
    tunnel.unwrap();
}

#[tokio::test(start_paused = true)]
async fn headers_that_http2_forbids_are_the_callers_fault() {
    let pair = Pair::new().await;
    let mut request = request();
    request.headers_mut().insert("connection", HeaderValue::from_static("close"));
    let error = pair.client.open(request).await.unwrap_err();
    assert!(matches!(error, OpenError::Unsendable { .. }), "{error:?}");
    assert!(!pair.client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_times_out_and_takes_the_request_back() {
    let config = Config::default().with_open_timeout(std::time::Duration::from_secs(3));
    let mut pair = Pair::with(&config).await;
    let start = tokio::time::Instant::now();
    let (result, incoming) = tokio::join!(pair.client.open(request()), pair.arrivals.recv());
    assert!(matches!(result, Err(OpenError::TimedOut { .. })));
    assert_eq!(start.elapsed().as_secs(), 3);
    let gone = settled(incoming.unwrap().reset()).await.expect("the server hears of it");
    assert_eq!(gone.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_does_not_hold_a_handshake() {
    let (_silent, far) = tokio::io::duplex(4096);
    let error = server::handshake(far, &Config::default()).await.unwrap_err();
    assert!(matches!(error, HandshakeError::TimedOut { after } if after.as_secs() == 10));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_speaks_something_else_fails_the_handshake() {
    let (mut near, far) = tokio::io::duplex(4096);
    near.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let error = server::handshake(far, &Config::default()).await.unwrap_err();
    assert!(matches!(error, HandshakeError::Http2 { .. }));
}

/// Double HBONE: the same functions, over a tunnel.
#[tokio::test(start_paused = true)]
async fn a_tunnel_carries_a_connection() {
    let mut outer = Pair::new().await;
    let (near, far) = outer.open().await;
    let config = Config::default();
    let (client, server) = tokio::join!(client::handshake(near, &config), server::handshake(far, &config));
    let ((client, driver), mut server) = (client.unwrap(), server.unwrap());
    tokio::spawn(driver);
    tokio::spawn(async move {
        while let Some(Ok(Arrival::Connect(incoming))) = server.next().await {
            tokio::spawn(echo(incoming.accept().unwrap().into_split()));
        }
    });
    let sent = pattern(1 << 20);
    let (mut recv, mut send) = client.open(request()).await.unwrap().into_split();
    let write = async {
        send.send_all(sent.clone().into()).await.unwrap();
        send.finish().unwrap();
    };
    let (back, ()) = tokio::join!(read_all(&mut recv), write);
    assert!(back.unwrap() == sent);
}

/// A frame fills whole TLS records, whatever the size of what is sent, once the window is as large.
#[tokio::test(start_paused = true)]
async fn frames_have_the_size_that_is_cheapest() {
    let mut pair = Pair::new().await;
    let (near, far) = pair.open().await;
    let ((_recv, mut send), (mut recv, _send)) = (near.into_split(), far.into_split());
    let write = async {
        send.send_all(Bytes::from(pattern(8_000_000))).await.unwrap();
        send.finish().unwrap();
    };
    let read = async {
        let mut sizes = Vec::new();
        while let Some(chunk) = recv.data().await {
            sizes.push(chunk.unwrap().len());
        }
        sizes
    };
    let (sizes, ()) = tokio::join!(read, write);
    assert_eq!(sizes.iter().sum::<usize>(), 8_000_000);
    assert_eq!(sizes.iter().max(), Some(&FRAME_PAYLOAD));
}

/// Each open tunnel is a task that waits: its futures must not be large.
#[tokio::test(start_paused = true)]
async fn futures_are_small() {
    let pair = Pair::new().await;
    let size = size_of_val(&pair.client.open(request()));
    assert!(size <= 1024, "Client::open is {size} bytes");
    let size = size_of::<inpod_hbone::Tunnel>();
    assert!(size <= 160, "Tunnel is {size} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// What goes in comes back, whatever the sizes of writes and reads, by copy and without.
    #[test]
    fn echo_is_exact(
        pieces in prop::collection::vec(1..200_000_usize, 0..12),
        buffer in 1..100_000_usize,
        window in 65_535..1_000_000_u32,
        copying: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let config = Config::default().with_stream_window(window).unwrap().with_connection_window(window).unwrap();
            let mut pair = Pair::with(&config).await;
            let (near, far) = pair.open().await;
            tokio::spawn(echo(far.into_split()));
            let sent = pattern(pieces.iter().sum());
            let back = if copying {
                settled(copying_exchange(near, &sent, &pieces, buffer)).await.expect("it does not stall")
            } else {
                exchange(near.into_split(), &sent, &pieces).await
            };
            assert!(back == sent);
        });
    }
}

async fn exchange((mut recv, mut send): (RecvHalf, SendHalf), sent: &[u8], pieces: &[usize]) -> Vec<u8> {
    let write = async {
        let mut rest = Bytes::copy_from_slice(sent);
        for piece in pieces {
            send.send_all(rest.split_to(*piece)).await.unwrap();
        }
        send.finish().unwrap();
    };
    tokio::join!(read_all(&mut recv), write).0.unwrap()
}

async fn copying_exchange(
    tunnel: inpod_hbone::Tunnel,
    mut sent: &[u8],
    pieces: &[usize],
    buffer: usize,
) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(tunnel);
    let write = async {
        for piece in pieces {
            let (now, rest) = sent.split_at(*piece);
            let (head, tail) = now.split_at(piece / 3);
            let written = writer
                .write_vectored(&[
                    std::io::IoSlice::new(head),
                    std::io::IoSlice::new(&[]),
                    std::io::IoSlice::new(tail),
                ])
                .await
                .unwrap();
            writer.write_all(&now[written..]).await.unwrap();
            sent = rest;
        }
        writer.shutdown().await.unwrap();
    };
    let read = async {
        let mut back = Vec::new();
        let mut buffer = vec![0; buffer];
        loop {
            match reader.read(&mut buffer).await.unwrap() {
                0 => break back,
                taken => back.extend_from_slice(&buffer[..taken]),
            }
        }
    };
    tokio::join!(read, write).0
}

async fn echo((mut recv, mut send): (RecvHalf, SendHalf)) {
    while let Some(chunk) = recv.data().await {
        send.send_all(chunk.unwrap()).await.unwrap();
    }
    send.finish().unwrap();
}
