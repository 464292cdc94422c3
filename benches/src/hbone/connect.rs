//! Connect: tunnels opened and closed, one after another.

use std::time::Instant;

use anyhow::Result;
use hbone::{Arrival, Config, ConnectRequest, client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pipe::{Cover, pipe};
use crate::rate::per_second;

/// Round trips of one byte per second over the pipe itself: less than that, no question and answer can cost.
pub(crate) async fn round_trips(cover: Cover, count: usize) -> Result<f64> {
    let (mut near, mut far) = pipe(cover).await?;
    let echo = tokio::spawn(async move {
        let mut byte = [0];
        while far.read_exact(&mut byte).await.is_ok() {
            far.write_all(&byte).await?;
            far.flush().await?;
        }
        anyhow::Ok(())
    });
    let begin = Instant::now();
    for _ in 0..count {
        near.write_all(b"x").await?;
        near.flush().await?;
        near.read_exact(&mut [0]).await?;
    }
    let rate = per_second(count, begin.elapsed());
    echo.abort();
    Ok(rate)
}

/// Tunnels opened and closed in order per second.
pub(crate) async fn opens(cover: Cover, count: usize) -> Result<f64> {
    let (near, far) = pipe(cover).await?;
    let server = tokio::spawn(async move {
        let mut server = server::handshake(far, &Config::default()).await?;
        while let Some(arrival) = server.next().await {
            if let Arrival::Connect(incoming) = arrival? {
                let mut tunnel = incoming.accept()?;
                tokio::spawn(async move {
                    tunnel.read_to_end(&mut Vec::new()).await?;
                    tunnel.shutdown().await
                });
            }
        }
        anyhow::Ok(())
    });
    let (client, driver) = client::handshake(near, &Config::default()).await?;
    let driver = tokio::spawn(driver);
    let request = ConnectRequest::new("10.0.0.5:8080".parse()?);
    let begin = Instant::now();
    for _ in 0..count {
        let mut tunnel = client.open(request.clone()).await?;
        tunnel.shutdown().await?;
        tunnel.read_to_end(&mut Vec::new()).await?;
    }
    let rate = per_second(count, begin.elapsed());
    driver.abort();
    server.abort();
    Ok(rate)
}
