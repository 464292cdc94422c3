//! Serves tunnels over TCP: dials what each is for, and tells it who is behind, by PROXY protocol.
//!
//! ```text
//! cargo run -p inpod-hbone --example hand_over
//! ```
//!
//! The client, the server and the application are all here, on loopback, without TLS.

use std::error::Error;
use std::net::SocketAddr;

use inpod_hbone::proxy_protocol::{self, Addresses, ParseError, Parsed, ProxyHeader, Transport};
use inpod_hbone::{Arrival, Config, ConnectRequest, Incoming, Refusal, Target, client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let application = TcpListener::bind("127.0.0.1:0").await?;
    let target: Target = application.local_addr()?.into();
    tokio::spawn(answer(application));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    tokio::spawn(serve(listener));

    let (client, driver) = client::handshake(TcpStream::connect(server).await?, &Config::default()).await?;
    tokio::spawn(driver);
    let mut tunnel = client.open(ConnectRequest::new(target)).await?;
    tunnel.shutdown().await?;
    let mut answer = String::new();
    tunnel.read_to_string(&mut answer).await?;
    println!("{answer}");
    Ok(())
}

async fn serve(listener: TcpListener) -> Outcome {
    let (stream, peer) = listener.accept().await?;
    let mut server = server::handshake(stream, &Config::default()).await?;
    while let Some(arrival) = server.next().await {
        if let Arrival::Connect(incoming) = arrival? {
            tokio::spawn(forward(incoming, peer));
        }
    }
    Ok(())
}

async fn forward(incoming: Incoming, peer: SocketAddr) -> Outcome {
    let Target::Address(destination) = *incoming.request().target() else {
        incoming.refuse(Refusal::Malformed);
        return Ok(());
    };
    // Dropped in the case of an error, the request is refused as unavailable.
    let mut application = TcpStream::connect(destination).await?;
    let header = ProxyHeader::from(Addresses::inet(Transport::Stream, peer, destination));
    application.write_all(&header.to_bytes()).await?;
    // Only now: the application has accepted.
    let mut tunnel = incoming.accept()?;
    tokio::io::copy_bidirectional(&mut tunnel, &mut application).await?;
    Ok(())
}

async fn answer(listener: TcpListener) -> Outcome {
    let (mut stream, _) = listener.accept().await?;
    let mut bytes = Vec::new();
    let header = loop {
        match proxy_protocol::parse(&bytes) {
            Ok(Parsed { header, .. }) => break header,
            Err(ParseError::Incomplete(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    stream.write_all(format!("you come with {header:?}").as_bytes()).await?;
    Ok(())
}
