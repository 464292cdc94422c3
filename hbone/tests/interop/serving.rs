//! Python asks, we serve. What our server does with a tunnel depends on the host that it is for.

use std::io::ErrorKind;

use inpod_hbone::header::{self, Baggage, Forwarded, TraceParent};
use inpod_hbone::{Arrival, Config, Incoming, RecvHalf, Refusal, SendHalf, Target, server};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::Case;
use crate::python::{Python, Running};

pub(crate) fn cases() -> Vec<Case> {
    let scenarios = [
        ("serving::carries_bytes", "carries_bytes"),
        ("serving::carries_many_at_once", "carries_many_at_once"),
        ("serving::ends_its_direction_first", "ends_its_direction_first"),
        ("serving::is_ended_first", "is_ended_first"),
        ("serving::is_reset", "is_reset"),
        ("serving::resets", "resets"),
        ("serving::is_refused", "is_refused"),
        ("serving::is_refused_without_connect", "is_refused_without_connect"),
        ("serving::hears_a_goodbye", "hears_a_goodbye"),
        ("serving::has_tiny_windows", "has_tiny_windows"),
        ("serving::sends_early", "sends_early"),
        ("serving::pings", "pings"),
        ("serving::sends_headers", "sends_headers"),
    ];
    let ours = |(name, scenario): (&'static str, &'static str)| Case {
        name,
        body: Box::new(move |python| serve(python, scenario, &Config::default())),
    };
    let tiny = Case {
        name: "serving::has_a_window_of_one_byte",
        body: Box::new(|python| {
            let config = Config::default().with_stream_window(1).unwrap();
            serve(python, "has_tiny_windows", &config);
        }),
    };
    scenarios.into_iter().map(ours).chain([tiny]).collect()
}

/// Runs one scenario of `client.py` against our server.
fn serve(python: &Python, scenario: &str, config: &Config) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let client = python.run("client.py", &[port, scenario.to_owned()]);
        let client = tokio::task::spawn_blocking(|| Running::ends_well(client));
        tokio::select! {
            done = client => done.unwrap(),
            () = connection(listener, config) => panic!("the server has ended first"),
        }
    });
}

async fn connection(listener: TcpListener, config: &Config) {
    let (stream, _) = listener.accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut server = server::handshake(stream, config).await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel::<String>();
    while let Some(Ok(arrival)) = server.next().await {
        let Arrival::Connect(incoming) = arrival else { continue };
        let Target::Host { host, .. } = incoming.request().target().clone() else {
            panic!("it has an address")
        };
        match host.as_str() {
            "denied.example" => incoming.refuse(Refusal::Denied),
            "down.example" => drop(incoming),
            "goodbye.example" => {
                server.drain();
                tokio::spawn(tunnel("goodbye.example".into(), incoming, tell.clone()));
            }
            "headers.example" => {
                let text = headers(&incoming);
                tokio::spawn(speak(incoming, text));
            }
            "told.example" => {
                let told = std::mem::replace(&mut told, mpsc::unbounded_channel().1);
                tokio::spawn(tell_of(incoming, told));
            }
            other => {
                tokio::spawn(tunnel(other.to_owned(), incoming, tell.clone()));
            }
        }
    }
    // The client has gone; it says itself how it went.
    std::future::pending::<()>().await;
}

async fn tunnel(host: String, incoming: Incoming, tell: mpsc::UnboundedSender<String>) {
    let (mut recv, mut send) = incoming.accept().unwrap().into_split();
    match host.as_str() {
        "echo.example" => echo(recv, send).await,
        "late.example" => {
            let question = text(&mut recv).await;
            send.send_all(format!("answer to {question}").into()).await.unwrap();
            send.finish().unwrap();
        }
        "first.example" => {
            send.send_all("all I have".into()).await.unwrap();
            send.finish().unwrap();
            tell.send(text(&mut recv).await).unwrap();
        }
        "goodbye.example" => {
            send.send_all("after the goodbye".into()).await.unwrap();
            send.finish().unwrap();
            assert_eq!(text(&mut recv).await, "the other direction too");
        }
        "reset.example" => {
            send.send_all("part".into()).await.unwrap();
            // Queued data would be dropped by a reset: it goes when the client has seen it.
            tokio::task::yield_now().await;
            send.reset();
        }
        "listen.example" => loop {
            match recv.data().await.expect("a reset is no end") {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                    return tell.send("connection reset".into()).unwrap();
                }
            }
        },
        other => panic!("nobody asks for {other}"),
    }
}

async fn speak(incoming: Incoming, text: String) {
    let (_recv, mut send) = incoming.accept().unwrap().into_split();
    send.send_all(text.into()).await.unwrap();
    send.finish().unwrap();
}

async fn tell_of(incoming: Incoming, mut told: mpsc::UnboundedReceiver<String>) {
    let text = told.recv().await.unwrap();
    speak(incoming, text).await;
}

fn headers(incoming: &Incoming) -> String {
    let headers = incoming.request().headers();
    let baggage = header::read::<Baggage>(headers).unwrap().unwrap();
    let forwarded = header::read::<Forwarded>(headers).unwrap().unwrap();
    let trace = header::read::<TraceParent>(headers).unwrap().unwrap();
    let hop = forwarded.hops().first().unwrap();
    format!(
        "{} {} {} {}",
        baggage.get("service.name").unwrap(),
        hop.client().unwrap().socket_addr().unwrap(),
        hop.host().unwrap(),
        trace.is_sampled(),
    )
}

/// Until the client has what it wants, which it says itself.
async fn echo(mut recv: RecvHalf, mut send: SendHalf) {
    while let Some(Ok(chunk)) = recv.data().await {
        if send.send_all(chunk).await.is_err() {
            return;
        }
    }
    let _ = send.finish();
}

async fn text(recv: &mut RecvHalf) -> String {
    let mut all = Vec::new();
    while let Some(chunk) = recv.data().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(all).unwrap()
}
