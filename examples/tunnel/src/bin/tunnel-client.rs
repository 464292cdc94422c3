//! Brings TCP connections to another place, each by a tunnel of its own, all of them in one connection.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use inpod_hbone::{Client, Config, ConnectRequest, Target, client};
use inpod_identity::tls;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// Brings TCP connections to another place, each by a tunnel of its own, all of them in one connection.
#[derive(Debug, clap::Parser)]
#[command(version)]
struct Args {
    /// Where to listen for connections
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Where the other end of the tunnels listens
    #[arg(long, value_name = "ADDR")]
    server: SocketAddr,
    /// To where the other end is to connect them
    #[arg(long, value_name = "ADDR")]
    to: Target,
    #[command(flatten)]
    identity: tunnel::Identity,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let connector = TlsConnector::from(args.identity.client()?);
    let stream = TcpStream::connect(args.server).await.with_context(|| args.server.to_string())?;
    let (client, driver) =
        client::handshake(connector.connect(tls::unnamed(), stream).await?, &Config::default()).await?;
    let listener = TcpListener::bind(args.listen).await?;
    eprintln!("tunnel-client: listening on {}", args.listen);
    tokio::select! {
        ended = driver => ended.context("the other end is gone"),
        failed = accept(listener, client, args.to) => failed,
    }
}

async fn accept(listener: TcpListener, client: Client, to: Target) -> Result<()> {
    loop {
        let (mut stream, peer) = listener.accept().await?;
        let (client, to) = (client.clone(), to.clone());
        tokio::spawn(async move {
            let carried = async {
                let mut tunnel = client.open(ConnectRequest::new(to)).await?;
                copy_bidirectional(&mut stream, &mut tunnel).await?;
                anyhow::Ok(())
            };
            if let Err(error) = carried.await {
                eprintln!("tunnel-client: from {peer}: {error:#}");
            }
        });
    }
}
