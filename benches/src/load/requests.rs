//! Requests, one after the other, on connections that stay.

use std::io;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::message::{self, REQUEST_LENGTH, RESPONSE_LENGTH};
use super::{Count, Window};

pub(super) const PORT: u16 = 8080;

/// Asks on `parallel` connections at a time.
pub(super) async fn client(to: IpAddr, parallel: usize, window: Window) -> Result<Count> {
    let mut asking = JoinSet::new();
    for _ in 0..parallel {
        asking.spawn(ask(connect(to).await.context("connecting")?, window));
    }
    let mut count = Count::default();
    while let Some(asked) = asking.join_next().await {
        count.add(asked?.context("asking")?);
    }
    Ok(count)
}

pub(super) async fn connect(to: IpAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((to, PORT)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn ask(mut stream: TcpStream, window: Window) -> io::Result<Count> {
    let mut count = Count::default();
    let mut asked = Instant::now();
    while asked < window.end {
        ask_once(&mut stream).await?;
        let answered = Instant::now();
        if window.contains(answered) {
            count.answered(answered - asked);
        }
        asked = answered;
    }
    Ok(count)
}

pub(super) async fn ask_once(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&message::request()).await?;
    match message::read(stream, RESPONSE_LENGTH, &mut [0; 1024]).await? {
        true => Ok(()),
        false => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection has ended before the answer"))
        }
    }
}

/// Answers every request until the client ends the connection.
pub(super) async fn server(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (response, mut buffer) = (message::response(), [0; 1024]);
    while message::read(&mut stream, REQUEST_LENGTH, &mut buffer).await? {
        stream.write_all(&response).await?;
    }
    Ok(())
}
