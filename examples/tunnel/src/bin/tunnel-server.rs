//! Takes tunnels from one identity, and connects them to one place.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use anyhow::Result;
use clap::Parser as _;
use inpod_hbone::{Arrival, Config, Incoming, Refusal, Target, server};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Takes tunnels from one identity, and connects them to one place.
#[derive(Debug, clap::Parser)]
#[command(version)]
struct Args {
    /// Where to listen for tunnels
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The only place to which tunnels lead
    #[arg(long, value_name = "ADDR")]
    to: SocketAddr,
    #[command(flatten)]
    identity: tunnel::Identity,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let acceptor = TlsAcceptor::from(args.identity.server()?);
    let listener = TcpListener::bind(args.listen).await?;
    eprintln!("tunnel-server: listening on {}", args.listen);
    loop {
        let (stream, peer) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, acceptor, args.to).await {
                eprintln!("tunnel-server: from {peer}: {error:#}");
            }
        });
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, to: SocketAddr) -> Result<()> {
    let mut server = server::handshake(acceptor.accept(stream).await?, &Config::default()).await?;
    while let Some(arrival) = server.next().await {
        match arrival? {
            Arrival::Connect(incoming) if *incoming.request().target() == Target::from(to) => {
                tokio::spawn(connect(incoming, to));
            }
            Arrival::Connect(incoming) => incoming.refuse(Refusal::Denied),
            // It has been answered.
            _ => {}
        }
    }
    Ok(())
}

async fn connect(incoming: Incoming, to: SocketAddr) -> Result<()> {
    let Ok(mut application) = TcpStream::connect(to).await else {
        incoming.refuse(Refusal::Unavailable);
        return Ok(());
    };
    let mut tunnel = incoming.accept()?;
    copy_bidirectional(&mut tunnel, &mut application).await?;
    Ok(())
}
