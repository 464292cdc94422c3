//! Saying no.

use inpod_hbone::{OpenError, Refusal};

use crate::pair::{Pair, request, settled};

#[tokio::test(start_paused = true)]
async fn each_refusal_has_its_status() {
    let mut pair = Pair::new().await;
    for (refusal, expected) in
        [(Refusal::Malformed, 400), (Refusal::Denied, 401), (Refusal::Unavailable, 503)]
    {
        let refuse = async { pair.arrivals.recv().await.unwrap().refuse(refusal) };
        let (result, ()) = tokio::join!(pair.client.open(request()), refuse);
        let error = result.unwrap_err();
        assert!(error.is_refusal() && !error.is_not_processed());
        let OpenError::Refused { status, headers } = error else { panic!("{error:?}") };
        assert_eq!(status, expected);
        assert!(headers.is_empty());
    }
    // None of it harms the connection.
    settled(pair.open()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_nobody_answers_is_refused_and_not_accepted() {
    let mut pair = Pair::new().await;
    let forget = async { drop(pair.arrivals.recv().await.unwrap()) };
    let (result, ()) = tokio::join!(pair.client.open(request()), forget);
    assert!(matches!(result, Err(OpenError::Refused { status, .. }) if status == 503));
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_knows_when_the_server_goes_at_once() {
    let mut pair = Pair::new().await;
    let client = pair.client.clone();
    let refuse = async {
        pair.arrivals.recv().await.unwrap().refuse(Refusal::Denied);
        pair.drain_server();
    };
    let (result, ()) = tokio::join!(client.open(request()), refuse);
    assert!(matches!(result, Err(OpenError::Refused { status, .. }) if status == 401));
}

#[tokio::test(start_paused = true)]
async fn unsendable_answer_headers_do_not_become_a_yes() {
    let mut pair = Pair::new().await;
    let accept = async {
        let mut headers = http::HeaderMap::new();
        headers.insert("connection", http::HeaderValue::from_static("close"));
        pair.arrivals.recv().await.unwrap().accept_with(headers)
    };
    let (opened, accepted) = tokio::join!(pair.client.open(request()), accept);
    assert!(accepted.is_err());
    assert!(matches!(opened, Err(OpenError::Lost { .. })), "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_may_say_more_in_headers() {
    let mut pair = Pair::new().await;
    let headers =
        http::HeaderMap::from_iter([(http::header::RETRY_AFTER, http::HeaderValue::from_static("3"))]);
    let refuse = async { pair.arrivals.recv().await.unwrap().refuse_with(Refusal::Unavailable, headers) };
    let (result, ()) = tokio::join!(pair.client.open(request()), refuse);
    let OpenError::Refused { status, headers } = result.unwrap_err() else { panic!() };
    assert_eq!((status.as_u16(), headers["retry-after"].as_bytes()), (503, b"3".as_slice()));
}

#[tokio::test(start_paused = true)]
async fn unsendable_headers_do_not_hide_a_refusal() {
    let mut pair = Pair::new().await;
    let headers =
        http::HeaderMap::from_iter([(http::header::UPGRADE, http::HeaderValue::from_static("h2c"))]);
    let refuse = async { pair.arrivals.recv().await.unwrap().refuse_with(Refusal::Denied, headers) };
    let (result, ()) = tokio::join!(pair.client.open(request()), refuse);
    assert!(matches!(result, Err(OpenError::Lost { .. })), "{result:?}");
}
