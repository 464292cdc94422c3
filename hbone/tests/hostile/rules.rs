//! What RFC 9113 forbids ends the connection, and says so; nothing panics.

use inpod_hbone::ConnectionError;

use crate::frames::{
    DATA, END_HEADERS, HEADERS, OK, PING, PUSH_PROMISE, SETTINGS, connect, farewell, frame, reset, setting,
    window_update,
};
use crate::victim::{Habit, Victim, alone};

/// Section, frames: each sent to a server after a good request.
#[test]
fn broken_by_a_client() {
    let cases: &[(&str, Vec<Vec<u8>>)] = &[
        ("5.1.1, a stream of even number", vec![connect(2)]),
        ("5.1.1, stream 0", vec![connect(0)]),
        ("5.1.1, a lower number", vec![connect(9), connect(7)]),
        ("5.1, data for a stream that nobody opened", vec![frame(DATA, 0, 77, b"x")]),
        ("6.1, data for stream 0", vec![frame(DATA, 0, 0, b"x")]),
        ("6.4, a reset of a stream that nobody opened", vec![reset(77)]),
        ("6.4, a reset of stream 0", vec![reset(0)]),
        ("6.5, settings of a stream", vec![frame(SETTINGS, 0, 1, b"")]),
        ("6.5, settings of five bytes", vec![frame(SETTINGS, 0, 0, b"12345")]),
        ("6.5.2, a window that is too large", vec![setting(4, 1 << 31)]),
        ("6.5.2, a frame size that is too small", vec![setting(5, 100)]),
        ("6.5.2, a push that is neither", vec![setting(2, 2)]),
        ("6.6, a push by a client", vec![frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])]),
        ("6.7, a ping of seven bytes", vec![frame(PING, 0, 0, b"1234567")]),
        ("6.7, a ping of a stream", vec![frame(PING, 0, 1, b"12345678")]),
        ("6.9, no increment for the connection", vec![window_update(0, 0)]),
        ("6.9.1, more than the largest window", vec![window_update(0, (1 << 31) - 1)]),
        ("6.9, an update for a stream that nobody opened", vec![window_update(77, 1)]),
        ("6.10, a continuation of nothing", vec![frame(crate::frames::CONTINUATION, END_HEADERS, 1, b"")]),
        (
            "6.2, another frame in the middle of headers",
            vec![frame(HEADERS, 0, 3, b""), frame(PING, 0, 0, b"12345678")],
        ),
    ];
    for (rule, frames) in cases {
        alone(async {
            let mut victim = Victim::server(Habit::Keep).await;
            victim.send(&connect(1)).await;
            for frame in frames {
                victim.send(frame).await;
            }
            let (error, heard) = victim.end().await;
            assert!(matches!(error, Some(ConnectionError::Http2 { .. })), "{rule}: {error:?}");
            assert!(farewell(&heard).is_some_and(|reason| reason != 0), "{rule}: it is told");
        });
    }
}

#[test]
fn broken_by_a_server() {
    let cases: &[(&str, Vec<u8>)] = &[
        ("8.4, a push that was not allowed", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
        ("5.1.1, an answer to nobody", frame(HEADERS, END_HEADERS, 77, OK)),
        ("5.1.1, a request by a server", frame(HEADERS, END_HEADERS, 2, OK)),
        ("6.1, data for stream 0", frame(DATA, 0, 0, b"x")),
        ("6.9, an update for a stream that nobody opened", window_update(77, 1)),
        ("6.5.2, a window that is too large", setting(4, 1 << 31)),
    ];
    for (rule, bytes) in cases {
        alone(async {
            let mut victim = Victim::client().await;
            let _tunnel = victim.open(1).await;
            victim.send(bytes).await;
            let (error, _) = victim.end().await;
            assert!(matches!(error, Some(ConnectionError::Http2 { .. })), "{rule}: {error:?}");
        });
    }
}

#[test]
fn a_last_stream_id_below_what_is_open_fails_that_tunnel_only() {
    alone(async {
        let mut victim = Victim::client().await;
        let _kept = victim.open(1).await;
        let mut cut = victim.open(3).await;
        victim.send(&frame(crate::frames::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await;
        let read = tokio::io::AsyncReadExt::read(&mut cut, &mut [0; 9]).await;
        assert!(read.is_err());
        assert!(!victim.has_ended());
    });
}

#[test]
fn what_is_not_http2_is_no_connection() {
    use tokio::io::AsyncWriteExt;
    for greeting in [
        &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        &[0; 64],
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        alone(async {
            let (mut near, far) = tokio::io::duplex(4096);
            near.write_all(greeting).await.unwrap();
            let error =
                inpod_hbone::server::handshake(far, &inpod_hbone::Config::default()).await.err().unwrap();
            assert!(matches!(error, inpod_hbone::HandshakeError::Http2 { .. }), "{error:?}");
        });
    }
}
