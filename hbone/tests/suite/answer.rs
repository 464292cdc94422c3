//! What a client makes of the answers that a server can give.

use std::io::ErrorKind;

use inpod_hbone::{Config, OpenError, Tunnel};
use tokio::task::JoinHandle;

use crate::pair::{quiet, read_all, request};
use crate::raw::{
    CANCEL, CONNECT_ERROR, DATA, END_STREAM, GOAWAY, HEADERS, Peer, REFUSED_STREAM, RST_STREAM,
};

/// A request of our client that waits for what a raw server answers, and how it ends.
async fn asked() -> (Peer, JoinHandle<Result<Tunnel, OpenError>>) {
    let (mut peer, client, driver) = Peer::of_client(&Config::default()).await;
    tokio::spawn(driver);
    let opening = tokio::spawn(async move { client.open(request()).await });
    let asked = peer.answer(1).await.unwrap();
    assert_eq!((asked.kind, asked.ends_stream()), (HEADERS, false));
    (peer, opening)
}

async fn outcome(opening: JoinHandle<Result<Tunnel, OpenError>>) -> Result<Tunnel, OpenError> {
    quiet().await;
    assert!(opening.is_finished(), "there was an answer");
    opening.await.unwrap()
}

async fn refused(fields: &[(&str, &str)]) -> (http::StatusCode, http::HeaderMap) {
    let (mut peer, opening) = asked().await;
    peer.headers(0, 1, fields).await;
    // Content, which nobody reads.
    peer.send(DATA, 0, 1, b"no such thing").await;
    let error = outcome(opening).await.unwrap_err();
    assert!(error.is_refusal() && !error.is_not_processed());
    let OpenError::Refused { status, headers } = error else { panic!("{error:?}") };
    let reset = peer.answer(1).await.unwrap();
    assert_eq!((reset.kind, reset.code()), (RST_STREAM, CANCEL));
    (status, *headers)
}

/// RFC 9110 section 9.3.6: any 2xx is a tunnel.
#[tokio::test(start_paused = true)]
async fn any_2xx_is_a_tunnel() {
    for status in ["200", "201", "202", "204", "206", "299"] {
        let (mut peer, opening) = asked().await;
        peer.headers(0, 1, &[(":status", status), ("baggage", "a=1")]).await;
        let mut tunnel = outcome(opening).await.unwrap();
        assert_eq!(tunnel.answer_headers().unwrap()["baggage"], "a=1");
        peer.send(DATA, END_STREAM, 1, b"hello").await;
        assert_eq!(read_all(tunnel.split().0).await.unwrap(), b"hello", "{status}");
    }
}

/// RFC 9110 section 15: a redirection is not followed, and a status that nobody knows is of its class.
#[tokio::test(start_paused = true)]
async fn everything_above_299_is_a_refusal_with_its_status_and_headers() {
    for status in [
        "300", "301", "307", "308", "399", "400", "401", "403", "404", "407", "429", "499", "500", "503",
        "599", "999",
    ] {
        let (seen, headers) = refused(&[(":status", status), ("location", "https://elsewhere/")]).await;
        assert_eq!(seen.as_str(), status);
        assert_eq!(headers["location"], "https://elsewhere/");
    }
}

/// RFC 9110 section 15.2: interim answers are passed over, RFC 9113 section 8.6: 101 means nothing.
#[tokio::test(start_paused = true)]
async fn interim_answers_are_passed_over() {
    let (mut peer, opening) = asked().await;
    for status in ["100", "101", "102", "103", "199"] {
        peer.headers(0, 1, &[(":status", status), ("link", "x")]).await;
        quiet().await;
        assert!(!opening.is_finished(), "{status} is no answer");
    }
    peer.headers(0, 1, &[(":status", "200")]).await;
    assert!(outcome(opening).await.unwrap().answer_headers().is_none());
}

#[tokio::test(start_paused = true)]
async fn interim_answers_do_not_keep_a_request_alive() {
    let config = Config::default().with_open_timeout(std::time::Duration::from_secs(3));
    let (mut peer, client, driver) = Peer::of_client(&config).await;
    tokio::spawn(driver);
    let opening = tokio::spawn(async move { client.open(request()).await });
    peer.answer(1).await.unwrap();
    while !opening.is_finished() {
        peer.headers(0, 1, &[(":status", "100")]).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let error = opening.await.unwrap().unwrap_err();
    assert!(matches!(error, OpenError::TimedOut { .. }), "{error:?}");
}

/// RFC 9113 section 8.1: an interim answer that ends the stream is malformed.
#[tokio::test(start_paused = true)]
async fn an_interim_answer_that_ends_the_stream_is_no_answer() {
    let (mut peer, opening) = asked().await;
    peer.headers(END_STREAM, 1, &[(":status", "100")]).await;
    let error = outcome(opening).await.unwrap_err();
    assert!(matches!(error, OpenError::Lost { .. }), "{error:?}");
}

/// RFC 9113 section 8.3.2.
#[tokio::test(start_paused = true)]
async fn an_answer_without_a_status_of_three_digits_is_none() {
    for fields in [
        &[("x", "y")][..],
        &[(":status", "20")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "2000")],
    ] {
        let (mut peer, opening) = asked().await;
        peer.headers(0, 1, fields).await;
        let error = outcome(opening).await.unwrap_err();
        assert!(matches!(error, OpenError::Lost { .. }), "{fields:?}: {error:?}");
    }
}

/// RFC 9113 section 8.1: DATA is no answer.
#[tokio::test(start_paused = true)]
async fn data_before_the_answer_is_no_answer() {
    let (mut peer, opening) = asked().await;
    peer.send(DATA, 0, 1, b"early").await;
    let error = outcome(opening).await.unwrap_err();
    assert!(matches!(error, OpenError::Lost { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_may_end_at_once() {
    let (mut peer, opening) = asked().await;
    peer.headers(END_STREAM, 1, &[(":status", "200")]).await;
    let mut tunnel = outcome(opening).await.unwrap();
    let (recv, send) = tunnel.split();
    assert!(recv.data().await.is_none());
    send.send_all("the other direction is open".into()).await.unwrap();
    assert_eq!(peer.answer(1).await.unwrap().payload, b"the other direction is open");
}

/// RFC 9110 section 9.3.6 would have it ignored. h2 holds the peer to it, so what is not ignored is never taken for an end.
#[tokio::test(start_paused = true)]
async fn a_content_length_in_a_yes_is_no_end() {
    for (length, sent) in [("0", &b"more"[..]), ("5", b"less"), ("3", b"more")] {
        let (mut peer, opening) = asked().await;
        peer.headers(0, 1, &[(":status", "200"), ("content-length", length)]).await;
        let mut tunnel = outcome(opening).await.unwrap();
        peer.send(DATA, END_STREAM, 1, sent).await;
        let error = read_all(tunnel.split().0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{length}: {error:?}");
    }
    let (mut peer, opening) = asked().await;
    peer.headers(0, 1, &[(":status", "200"), ("content-length", "4")]).await;
    let mut tunnel = outcome(opening).await.unwrap();
    peer.send(DATA, END_STREAM, 1, b"four").await;
    assert_eq!(read_all(tunnel.split().0).await.unwrap(), b"four");
}

/// RFC 9113 section 8.5: only DATA belongs into a tunnel.
#[tokio::test(start_paused = true)]
async fn trailers_are_an_error_and_not_an_end() {
    let (mut peer, opening) = asked().await;
    peer.headers(0, 1, &[(":status", "200")]).await;
    let mut tunnel = outcome(opening).await.unwrap();
    peer.send(DATA, 0, 1, b"part").await;
    peer.headers(END_STREAM, 1, &[("x", "y")]).await;
    let (recv, _send) = tunnel.split();
    assert_eq!(recv.data().await.unwrap().unwrap(), "part");
    assert_eq!(recv.data().await.unwrap().unwrap_err().kind(), ErrorKind::InvalidData);
    drop(tunnel);
    let reset = peer.answer(1).await.unwrap();
    assert_eq!((reset.kind, reset.code()), (RST_STREAM, CONNECT_ERROR));
}

/// RFC 9113 section 8.7: only these two say that nothing was done.
#[tokio::test(start_paused = true)]
async fn only_what_was_certainly_not_processed_may_be_tried_again() {
    for code in 0..=14 {
        let (mut peer, opening) = asked().await;
        peer.send(RST_STREAM, 0, 1, &u32::to_be_bytes(code)).await;
        let error = outcome(opening).await.unwrap_err();
        assert_eq!(error.is_not_processed(), code == REFUSED_STREAM, "{code}: {error:?}");
        assert!(!error.is_refusal());
    }
    for (last, not_processed) in [(0_u32, true), (1, false)] {
        let (mut peer, opening) = asked().await;
        peer.send(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
        quiet().await;
        if not_processed {
            assert!(outcome(opening).await.unwrap_err().is_not_processed());
        } else {
            assert!(!opening.is_finished(), "the peer has taken it, and will answer");
            peer.headers(0, 1, &[(":status", "200")]).await;
            outcome(opening).await.unwrap();
        }
    }
}

/// RFC 9110 section 9.3.6: a CONNECT has no content.
#[tokio::test(start_paused = true)]
async fn content_length_is_not_sent() {
    let mut pair = crate::pair::Pair::new().await;
    let mut asked = request();
    asked.headers_mut().insert("content-length", http::HeaderValue::from_static("5"));
    let accept = async {
        let incoming = pair.arrivals.recv().await.unwrap();
        assert!(incoming.request().headers().is_empty());
        incoming.accept_with(
            [(http::header::CONTENT_LENGTH, http::HeaderValue::from_static("5"))].into_iter().collect(),
        )
    };
    let (tunnel, accepted) = tokio::join!(pair.client.open(asked), accept);
    assert!(tunnel.unwrap().answer_headers().is_none());
    accepted.unwrap();
}
