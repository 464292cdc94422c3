//! New connections: each asks once, is answered, and is closed by the server, as in HTTP without keep-alive. So the
//! client's ports are free again at once, and several destination ports give each of them more than one use.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::message::{self, REQUEST_LENGTH};
use super::{Count, Window, requests};

pub(super) const PORTS: Range<u16> = 8100..8108;

/// Connections that may fail in one run; with more of them the figures would be of something else.
const FAILURES: u64 = 100;

/// Makes `parallel` connections at a time.
pub(super) async fn client(to: IpAddr, parallel: usize, window: Window) -> Result<Count> {
    let mut connecting = JoinSet::new();
    for port in PORTS.cycle().take(parallel) {
        connecting.spawn(connect((to, port).into(), window));
    }
    let mut count = Count::default();
    while let Some(connected) = connecting.join_next().await {
        count.add(connected?.context("connecting")?);
    }
    Ok(count)
}

async fn connect(to: SocketAddr, window: Window) -> io::Result<Count> {
    let mut count = Count::default();
    let mut began = Instant::now();
    while began < window.end {
        let outcome = connect_once(to).await;
        let ended = Instant::now();
        match outcome {
            Ok(()) if window.contains(ended) => count.answered(ended - began),
            Ok(()) => {}
            Err(_) if count.failed < FAILURES => count.failed += 1,
            Err(error) => return Err(error),
        }
        began = ended;
    }
    Ok(count)
}

async fn connect_once(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    requests::ask_once(&mut stream).await?;
    match stream.read(&mut [0; 1]).await? {
        0 => Ok(()),
        _ => Err(io::Error::other("more than the answer")),
    }
}

/// Answers one request on each connection, and closes it.
pub(super) async fn server(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if message::read(&mut stream, REQUEST_LENGTH, &mut [0; 1024]).await? {
        stream.write_all(&message::response()).await?;
    }
    Ok(())
}
