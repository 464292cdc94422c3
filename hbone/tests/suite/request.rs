//! What a server takes for a request for a tunnel, and what it does with everything else.

use inpod_hbone::{Arrival, Config, MalformedRequest, TargetError};

use crate::raw::{
    Arrivals, CONNECT, END_STREAM, HEADERS, NO_ERROR, PROTOCOL_ERROR, Peer, RST_STREAM, arrivals, fields,
    frame,
};

/// The fields of a CONNECT with some more.
fn connect_with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [CONNECT, more].concat()
}

async fn both() -> (Peer, Arrivals) {
    let (peer, server) = Peer::of_server(&Config::default()).await;
    (peer, arrivals(server))
}

/// Sends the request, which is answered 400 and not shown as one for a tunnel.
async fn malformed(list: &[(&str, &str)]) -> MalformedRequest {
    let (mut peer, mut arrivals) = both().await;
    peer.headers(0, 1, list).await;
    let Some(Arrival::Malformed(reason)) = arrivals.next().await else { panic!("{list:?} is taken") };
    let answer = peer.answer(1).await.unwrap();
    assert_eq!((answer.status(), answer.ends_stream()), (Some(400), true), "{list:?}");
    // The rest of the request is not wanted, which is not an error (RFC 9113 section 8.1).
    let reset = peer.answer(1).await.unwrap();
    assert_eq!((reset.kind, reset.code()), (RST_STREAM, NO_ERROR), "{list:?}");
    still_serves(peer, arrivals).await;
    reason
}

/// Sends the request, which HTTP/2 itself forbids: its stream is reset, and nobody is told.
async fn forbidden(list: &[(&str, &str)]) {
    let (mut peer, mut arrivals) = both().await;
    peer.headers(0, 1, list).await;
    let reset = peer.answer(1).await.unwrap();
    assert_eq!((reset.kind, reset.code()), (RST_STREAM, PROTOCOL_ERROR), "{list:?}");
    assert!(arrivals.next().await.is_none(), "{list:?}");
    still_serves(peer, arrivals).await;
}

async fn still_serves(mut peer: Peer, mut arrivals: Arrivals) {
    peer.headers(0, 3, CONNECT).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!("the connection is harmed") };
    let _tunnel = incoming.accept().unwrap();
    assert_eq!(peer.answer(3).await.unwrap().kind, HEADERS);
}

#[tokio::test(start_paused = true)]
async fn a_connect_with_an_authority_is_a_request() {
    let (mut peer, mut arrivals) = both().await;
    peer.headers(0, 1, CONNECT).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!() };
    assert_eq!(incoming.request().target().to_string(), "10.0.0.5:8080");
    let _tunnel = incoming.accept().unwrap();
    let answer = peer.answer(1).await.unwrap();
    assert_eq!((answer.status(), answer.ends_stream()), (Some(200), false));
    assert_eq!(answer.payload.len(), 1, "the status, and nothing besides");
}

/// RFC 9113 section 8.5: what asks for nothing to go to it may say so at once.
#[tokio::test(start_paused = true)]
async fn a_connect_may_end_its_direction_at_once() {
    let (mut peer, mut arrivals) = both().await;
    peer.headers(END_STREAM, 1, CONNECT).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!() };
    let (mut recv, mut send) = incoming.accept().unwrap().into_split();
    assert!(recv.data().await.is_none());
    send.send_all("hello".into()).await.unwrap();
    send.finish().unwrap();
    assert_eq!(peer.answer(1).await.unwrap().kind, HEADERS);
    assert_eq!(peer.answer(1).await.unwrap().payload, b"hello");
    assert!(peer.answer(1).await.unwrap().ends_stream());
}

#[tokio::test(start_paused = true)]
async fn another_method_is_malformed() {
    for method in ["GET", "POST", "OPTIONS", "connect", "CONNECT-IP"] {
        let list =
            [(":method", method), (":scheme", "https"), (":path", "/"), (":authority", "10.0.0.5:8080")];
        let reason = malformed(&list).await;
        assert!(matches!(reason, MalformedRequest::NotConnect { method: it } if it == method));
    }
}

/// RFC 9113 section 8.5.
#[tokio::test(start_paused = true)]
async fn scheme_and_path_are_forbidden() {
    forbidden(&connect_with(&[(":scheme", "https")])).await;
    forbidden(&connect_with(&[(":path", "/")])).await;
    forbidden(&connect_with(&[(":scheme", "https"), (":path", "/")])).await;
}

/// RFC 8441 section 3: without SETTINGS_ENABLE_CONNECT_PROTOCOL of ours, nobody may send it.
#[tokio::test(start_paused = true)]
async fn extended_connect_is_forbidden() {
    for protocol in ["websocket", "connect-udp", "connect-tcp", ""] {
        let extended = [(":scheme", "https"), (":path", "/"), (":protocol", protocol)];
        forbidden(&connect_with(&extended)).await;
        forbidden(&connect_with(&[(":protocol", protocol)])).await;
    }
}

/// RFC 8441 section 3: 0 is the value of a setting that is not sent.
#[tokio::test(start_paused = true)]
async fn extended_connect_is_not_offered() {
    use crate::raw::SETTINGS;
    let (mut peer, server) = Peer::of_server(&Config::default()).await;
    let _arrivals = arrivals(server);
    let settings = peer.wait_for(SETTINGS).await.payload;
    // Six bytes each, RFC 9113 section 6.5.1; ours is 8, RFC 8441 section 9.1.
    assert!(settings.chunks(6).all(|setting| setting[..2] != [0, 8]), "{settings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connect_without_authority_is_malformed() {
    let reason = malformed(&[(":method", "CONNECT")]).await;
    assert!(matches!(reason, MalformedRequest::NoAuthority));
    let reason = malformed(&[(":method", "CONNECT"), ("host", "10.0.0.5:8080")]).await;
    assert!(matches!(reason, MalformedRequest::NoAuthority), "host does not stand for it");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_no_target_is_malformed() {
    for (authority, error) in [
        ("10.0.0.5", TargetError::NoPort),
        ("10.0.0.5:", TargetError::Port),
        ("10.0.0.5:0", TargetError::Port),
        ("10.0.0.5:080", TargetError::Port),
        ("10.0.0.5:65536", TargetError::Port),
        ("user@10.0.0.5:80", TargetError::Host),
        ("999.0.0.1:80", TargetError::Host),
        ("0x0a000005:80", TargetError::Host),
        ("a..b:80", TargetError::Host),
        ("a.:80", TargetError::Host),
        ("[10.0.0.5]:80", TargetError::Address),
    ] {
        let reason = malformed(&[(":method", "CONNECT"), (":authority", authority)]).await;
        let MalformedRequest::Authority { source } = reason else { panic!("{authority}: {reason:?}") };
        assert_eq!(source, error, "{authority}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_none_at_all_is_forbidden() {
    for authority in
        ["", "10.0.0.5:80/", "10.0.0.5:80 ", "a b:80", "10.0.0.5:80?x", "[::1:80", "a:80#b", "a%2eb:80"]
    {
        forbidden(&[(":method", "CONNECT"), (":authority", authority)]).await;
    }
}

/// RFC 9113 section 8.3: pseudo-header fields come once each, first, and only those of requests.
#[tokio::test(start_paused = true)]
async fn pseudo_header_fields_out_of_order_are_forbidden() {
    forbidden(&connect_with(&[(":authority", "10.0.0.6:8080")])).await;
    forbidden(&connect_with(&[(":method", "CONNECT")])).await;
    forbidden(&connect_with(&[(":status", "200")])).await;
    forbidden(&connect_with(&[("baggage", "a=1"), (":authority", "10.0.0.6:8080")])).await;
    forbidden(&[(":authority", "10.0.0.5:8080")]).await;
}

/// RFC 9113 section 8.2.2.
#[tokio::test(start_paused = true)]
async fn connection_specific_fields_are_forbidden() {
    for field in [
        ("connection", "keep-alive"),
        ("keep-alive", "5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
    ] {
        forbidden(&connect_with(&[field])).await;
    }
}

/// RFC 9110 section 9.3.6: a CONNECT has no content.
#[tokio::test(start_paused = true)]
async fn a_content_length_is_malformed() {
    for length in ["0", "5"] {
        let reason = malformed(&connect_with(&[("content-length", length)])).await;
        assert!(matches!(reason, MalformedRequest::ContentLength), "{reason:?}");
    }
    forbidden(&connect_with(&[("content-length", "five")])).await;
    forbidden(&connect_with(&[("content-length", "0"), ("content-length", "1")])).await;
}

/// RFC 9113 section 8.3.1: a host that is another than the authority makes a request malformed.
#[tokio::test(start_paused = true)]
async fn a_host_is_the_authority_or_malformed() {
    for other in ["10.0.0.6:8080", "10.0.0.5:80", "10.0.0.5", "", "web.shop:8080"] {
        let reason = malformed(&connect_with(&[("host", other)])).await;
        assert!(matches!(reason, MalformedRequest::Host), "{other}: {reason:?}");
    }
    let reason = malformed(&connect_with(&[("host", "10.0.0.5:8080"), ("host", "10.0.0.6:8080")])).await;
    assert!(matches!(reason, MalformedRequest::Host));
    let (mut peer, mut arrivals) = both().await;
    peer.headers(0, 1, &connect_with(&[("host", "10.0.0.5:8080")])).await;
    assert!(matches!(arrivals.next().await, Some(Arrival::Connect(_))));
}

/// RFC 9113 section 10.5.1: more than was announced is refused, and its headers are not kept.
#[tokio::test(start_paused = true)]
async fn too_many_headers_are_answered_431() {
    let (mut peer, mut arrivals) = both().await;
    let long = "x".repeat(120);
    let many: Vec<(&str, &str)> = std::iter::repeat_n(("baggage", long.as_str()), 200).collect();
    let block = fields(&connect_with(&many));
    let (first, rest) = block.split_at(16_000);
    const CONTINUATION: u8 = 9;
    peer.send(HEADERS, 0, 1, first).await;
    for (index, part) in rest.chunks(16_000).enumerate() {
        let last = (index + 1) * 16_000 >= rest.len();
        peer.send(CONTINUATION, if last { crate::raw::END_HEADERS } else { 0 }, 1, part).await;
    }
    let answer = peer.answer(1).await.unwrap();
    assert!(answer.kind == HEADERS && answer.ends_stream() && answer.status().is_none(), "{answer:?}");
    // "431" with the codes of RFC 7541 appendix B.
    assert!(answer.payload.ends_with(&[0x69, 0x90, 0xff]), "{answer:?}");
    assert!(arrivals.next().await.is_none());
    still_serves(peer, arrivals).await;
}

/// What a tunnel carries is DATA only (RFC 9113 section 8.5); trailers are no end.
#[tokio::test(start_paused = true)]
async fn trailers_are_an_error_and_not_an_end() {
    let (mut peer, mut arrivals) = both().await;
    peer.headers(0, 1, CONNECT).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!() };
    let mut tunnel = incoming.accept().unwrap();
    peer.send(crate::raw::DATA, 0, 1, b"part").await;
    peer.headers(END_STREAM, 1, &[("x", "y")]).await;
    let (recv, _send) = tunnel.split();
    assert_eq!(recv.data().await.unwrap().unwrap(), "part");
    for _ in 0..2 {
        let error = recv.data().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
    drop(tunnel);
    assert_eq!(peer.answer(1).await.unwrap().kind, HEADERS);
    let reset = peer.answer(1).await.unwrap();
    assert_eq!((reset.kind, reset.code()), (RST_STREAM, crate::raw::CONNECT_ERROR));
}

/// RFC 9113 section 8.5: a second HEADERS that does not end the stream is a stream error.
#[tokio::test(start_paused = true)]
async fn more_headers_in_a_tunnel_reset_it() {
    let (mut peer, mut arrivals) = both().await;
    peer.headers(0, 1, CONNECT).await;
    let Some(Arrival::Connect(incoming)) = arrivals.next().await else { panic!() };
    let mut tunnel = incoming.accept().unwrap();
    assert_eq!(peer.answer(1).await.unwrap().kind, HEADERS);
    peer.headers(0, 1, &[("x", "y")]).await;
    let reset = peer.answer(1).await.unwrap();
    assert_eq!((reset.kind, reset.code()), (RST_STREAM, PROTOCOL_ERROR));
    let error = tunnel.split().0.data().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
}

#[tokio::test(start_paused = true)]
async fn frames_are_as_the_rfc_draws_them() {
    // Section 4.1: length 4, DATA, END_STREAM, stream 3.
    assert_eq!(frame(0, 1, 3, b"abcd"), [0, 0, 4, 0, 1, 0, 0, 0, 3, b'a', b'b', b'c', b'd']);
}
