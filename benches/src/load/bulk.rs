//! Bytes as fast as they go, from the client to the server.

use std::io;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Count, Window};

pub(super) const PORT: u16 = 8200;

/// As iperf3 writes and reads by default for TCP.
const BLOCK: usize = 128 * 1024;

/// Sends on `parallel` connections at a time. Counts what is handed to the kernel; its buffers are as full when the
/// window begins as when it ends.
pub(super) async fn client(to: IpAddr, parallel: usize, window: Window) -> Result<Count> {
    let mut sending = JoinSet::new();
    for _ in 0..parallel {
        let stream = TcpStream::connect((to, PORT)).await.context("connecting")?;
        sending.spawn(send(stream, window));
    }
    let mut count = Count::default();
    while let Some(sent) = sending.join_next().await {
        count.add(sent?.context("sending")?);
    }
    Ok(count)
}

async fn send(mut stream: TcpStream, window: Window) -> io::Result<Count> {
    let block = vec![b'b'; BLOCK];
    let mut count = Count::default();
    loop {
        let sent = stream.write(&block).await?;
        let now = Instant::now();
        if window.contains(now) {
            count.operations += u64::try_from(sent).unwrap_or(u64::MAX);
        } else if now >= window.end {
            break;
        }
    }
    // The next load must not meet what is still under way of this one.
    stream.shutdown().await?;
    match stream.read(&mut [0; 1]).await? {
        0 => Ok(count),
        _ => Err(io::Error::other("an answer to bytes that ask nothing")),
    }
}

/// Takes all bytes, and ends the connection when the client does.
pub(super) async fn server(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(receive(stream));
    }
}

async fn receive(mut stream: TcpStream) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    while stream.read(&mut block).await? > 0 {}
    Ok(())
}
