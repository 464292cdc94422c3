//! A tunnel in a tunnel, as through a gateway to another network: the same functions, twice.
//!
//! ```text
//! cargo run -p inpod-hbone --example nested
//! ```
//!
//! In a mesh there is TLS on each stream before the handshake: to the gateway on the outer one, to the far workload on the
//! inner one, which the gateway cannot read.

use std::error::Error;

use inpod_hbone::{Arrival, Client, Config, ConnectRequest, Server, Tunnel, client, server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (near, gateway) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async {
        let mut outer = server::handshake(gateway, &Config::default()).await?;
        while let Some(tunnel) = accept(&mut outer).await {
            // A gateway would dial the far workload here, and pass the bytes on.
            tokio::spawn(serve(tunnel));
        }
        Ok::<_, inpod_hbone::HandshakeError>(())
    });

    let outer = dial(near, "web.shop:8080").await?;
    let mut inner = dial(outer, "web.shop:8080").await?;
    let mut greeting = String::new();
    inner.read_to_string(&mut greeting).await?;
    println!("through two tunnels: {greeting:?}");
    Ok(())
}

/// A tunnel over `io`, whatever `io` is.
async fn dial<T>(io: T, target: &str) -> Result<Tunnel, Box<dyn Error>>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, driver): (Client, _) = client::handshake(io, &Config::default()).await?;
    tokio::spawn(driver);
    Ok(client.open(ConnectRequest::new(target.parse()?)).await?)
}

/// Greets who comes through a connection over `io`.
async fn serve(io: Tunnel) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut server = server::handshake(io, &Config::default()).await?;
    while let Some(mut tunnel) = accept(&mut server).await {
        tunnel.write_all(b"hello").await?;
        tunnel.shutdown().await?;
        tokio::spawn(async move { tunnel.read_to_end(&mut Vec::new()).await });
    }
    Ok(())
}

async fn accept<T: AsyncRead + AsyncWrite + Unpin>(server: &mut Server<T>) -> Option<Tunnel> {
    loop {
        if let Arrival::Connect(incoming) = server.next().await?.ok()? {
            return incoming.accept().ok();
        }
    }
}
