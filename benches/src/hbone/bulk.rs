//! Bulk: as many bytes as go, one way.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use hbone::{Arrival, Config, ConnectRequest, RecvHalf, SendHalf, client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pipe::{Cover, pipe};
use crate::rate::per_second;

/// What is written at once: a frame's worth.
static CHUNK: [u8; hbone::FRAME_PAYLOAD] = [7; hbone::FRAME_PAYLOAD];

/// MiB per second over the pipe itself.
pub(crate) async fn alone(cover: Cover, mebibytes: usize) -> Result<f64> {
    let (mut near, mut far) = pipe(cover).await?;
    let bytes = mebibytes << 20;
    let write = async move {
        for chunk in chunks(bytes) {
            near.write_all(&chunk).await?;
        }
        near.shutdown().await?;
        anyhow::Ok(())
    };
    let read = async move {
        let (mut buffer, mut total) = (vec![0; CHUNK.len()], 0);
        while let count @ 1.. = far.read(&mut buffer).await? {
            total += count;
        }
        anyhow::Ok(total)
    };
    let begin = Instant::now();
    // A task each, as the tunnels have.
    let (write, read) = tokio::try_join!(tokio::spawn(write), tokio::spawn(read))?;
    let ((), total) = (write?, read?);
    ensure!(total == bytes, "{total} bytes came of {bytes}");
    Ok(per_second(mebibytes, begin.elapsed()))
}

/// MiB per second over so many tunnels together.
pub(crate) async fn tunnels(cover: Cover, mebibytes: usize, count: usize) -> Result<f64> {
    let (near, far) = pipe(cover).await?;
    let mut server = tokio::spawn(async move {
        let mut server = server::handshake(far, &Config::default()).await?;
        let mut readers = Vec::new();
        while readers.len() < count {
            if let Arrival::Connect(incoming) = server.next().await.context("the client has gone")?? {
                let (recv, send) = incoming.accept()?.into_split();
                readers.push(tokio::spawn(async move {
                    drop((read(recv).await?, send));
                    anyhow::Ok(())
                }));
            }
        }
        let running = tokio::spawn(async move { while server.next().await.is_some() {} });
        for reader in readers {
            reader.await??;
        }
        running.abort();
        anyhow::Ok(())
    });
    let (client, driver) = client::handshake(near, &Config::default()).await?;
    let driver = tokio::spawn(driver);
    let request = ConnectRequest::new("10.0.0.5:8080".parse()?);
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(client.open(request.clone()).await?.into_split());
    }
    let begin = Instant::now();
    let writers =
        open.into_iter().map(|(recv, send)| tokio::spawn(write(recv, send, (mebibytes << 20) / count)));
    try_join_all(writers).await?.into_iter().collect::<Result<Vec<_>>>()?;
    (&mut server).await??;
    let rate = per_second(mebibytes, begin.elapsed());
    driver.abort();
    Ok(rate)
}

async fn write(_recv: RecvHalf, mut send: SendHalf, bytes: usize) -> Result<()> {
    for chunk in chunks(bytes) {
        send.send_all(chunk).await?;
    }
    send.finish()?;
    // The tunnel stays until the peer has read all.
    std::future::poll_fn(|cx| send.poll_reset(cx)).await;
    Ok(())
}

async fn read(mut recv: RecvHalf) -> Result<usize> {
    let mut total = 0;
    while let Some(bytes) = recv.data().await {
        total += bytes?.len();
    }
    Ok(total)
}

fn chunks(bytes: usize) -> impl Iterator<Item = Bytes> + Send {
    let last = Bytes::from_static(&CHUNK).slice(..bytes % CHUNK.len());
    std::iter::repeat_n(Bytes::from_static(&CHUNK), bytes / CHUNK.len()).chain(Some(last))
}
