//! We ask, python serves. What its server does with a tunnel depends on the host that it is for.

use std::io::ErrorKind;

use bytes::Bytes;
use inpod_hbone::{Client, Config, ConnectRequest, OpenError, RecvHalf, SendHalf, client};
use tokio::net::TcpStream;

use crate::Case;
use crate::python::{Python, Running};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("asking::carries_bytes", None, carries_bytes),
        case("asking::carries_many_at_once", None, carries_many_at_once),
        case("asking::is_ended_first", None, is_ended_first),
        case("asking::is_reset", None, is_reset),
        case("asking::resets", None, resets),
        case("asking::is_refused", None, is_refused),
        case("asking::passes_over_interim_answers", None, passes_over_interim_answers),
        case("asking::hears_a_goodbye", None, hears_a_goodbye),
        case("asking::has_tiny_windows", Some(1), has_tiny_windows),
    ]
}

fn case<F>(name: &'static str, window: Option<u32>, body: impl FnOnce(Client) -> F + Send + 'static) -> Case
where
    F: Future<Output = ()>,
{
    Case { name, body: Box::new(move |python| ask(python, window, body)) }
}

/// Runs a conversation with `server.py`, whose streams have that window.
fn ask<F: Future<Output = ()>>(python: &Python, window: Option<u32>, body: impl FnOnce(Client) -> F) {
    let mut server =
        python.run("server.py", &window.map(|window| window.to_string()).into_iter().collect::<Vec<_>>());
    let port: u16 = server.first_line().trim().parse().unwrap_or_else(|_| server_failed());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (client, driver) = client::handshake(stream, &Config::default()).await.unwrap();
        let driver = tokio::spawn(driver);
        body(client).await;
        driver.await.unwrap().unwrap();
    });
    Running::ends_well(server);
}

fn server_failed() -> u16 {
    panic!("the server did not start")
}

async fn open(client: &Client, target: &str) -> (RecvHalf, SendHalf) {
    client.open(ConnectRequest::new(target.parse().unwrap())).await.unwrap().into_split()
}

async fn carries_bytes(client: Client) {
    let tunnel = client.open(ConnectRequest::new("echo.example:7".parse().unwrap())).await.unwrap();
    assert_eq!(tunnel.answer_headers().unwrap().get("baggage").unwrap(), "service.name=python");
    echoes(tunnel.into_split(), 1_000_000).await;
}

async fn carries_many_at_once(client: Client) {
    let mut tunnels = Vec::new();
    for _ in 0..50 {
        tunnels.push(open(&client, "echo.example:7").await);
    }
    for (index, halves) in tunnels.into_iter().enumerate() {
        echoes(halves, 1000 + index).await;
    }
}

async fn is_ended_first(client: Client) {
    let (mut recv, mut send) = open(&client, "first.example:7").await;
    assert_eq!(read_all(&mut recv).await, b"all I have");
    send.send_all(Bytes::from_static(b"and all of mine")).await.unwrap();
    send.finish().unwrap();
}

/// CANCEL, which is no end.
async fn is_reset(client: Client) {
    let (mut recv, _send) = open(&client, "reset.example:7").await;
    let error = loop {
        match recv.data().await.expect("a reset is no end") {
            Ok(chunk) => assert_eq!(chunk, "part"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn resets(client: Client) {
    let (_recv, mut send) = open(&client, "cut.example:7").await;
    send.send_all(Bytes::from_static(b"half a sen")).await.unwrap();
    drop(send);
    echoes(open(&client, "echo.example:7").await, 10).await;
}

async fn is_refused(client: Client) {
    let error = client.open(ConnectRequest::new("refused.example:7".parse().unwrap())).await.unwrap_err();
    let OpenError::Refused { status, headers } = error else { panic!("{error:?}") };
    assert_eq!((status.as_u16(), headers.get("retry-after").unwrap().as_bytes()), (403, b"3".as_slice()));
    echoes(open(&client, "echo.example:7").await, 10).await;
}

async fn passes_over_interim_answers(client: Client) {
    echoes(open(&client, "interim.example:7").await, 10).await;
}

async fn hears_a_goodbye(client: Client) {
    let halves = open(&client, "goodbye.example:7").await;
    let error = loop {
        // The goodbye comes after the yes, in its own time; until then a server takes requests.
        match client.open(ConnectRequest::new("echo.example:7".parse().unwrap())).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_not_processed(), "{error:?}");
    echoes(halves, 100_000).await;
}

async fn has_tiny_windows(client: Client) {
    echoes(open(&client, "echo.example:7").await, 400).await;
}

async fn echoes((mut recv, mut send): (RecvHalf, SendHalf), length: usize) {
    let sent: Bytes = (0..length).map(|index| (index % 251).to_le_bytes()[0]).collect();
    let write = async {
        send.send_all(sent.clone()).await.unwrap();
        send.finish().unwrap();
    };
    let (back, ()) = tokio::join!(read_all(&mut recv), write);
    assert!(back == sent, "{} of {length}", back.len());
}

async fn read_all(recv: &mut RecvHalf) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = recv.data().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    all
}
