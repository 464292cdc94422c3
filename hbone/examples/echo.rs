//! Both ends in one process, over an in-memory pipe: what goes into the tunnel comes back.
//!
//! ```text
//! cargo run -p inpod-hbone --example echo
//! ```

use std::error::Error;

use inpod_hbone::{Arrival, Config, ConnectRequest, Incoming, Refusal, Target, client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const ECHO: &str = "echo.example:7";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(serve(far));

    let (client, driver) = client::handshake(near, &Config::default()).await?;
    tokio::spawn(driver);

    let mut tunnel = client.open(ConnectRequest::new(ECHO.parse()?)).await?;
    tunnel.write_all(b"hello, tunnel").await?;
    tunnel.shutdown().await?;
    let mut back = String::new();
    tunnel.read_to_string(&mut back).await?;
    println!("{ECHO} answered {back:?}");

    let elsewhere: Target = "10.0.0.5:80".parse()?;
    match client.open(ConnectRequest::new(elsewhere.clone())).await {
        Ok(_) => println!("{elsewhere} answered, which it should not"),
        Err(error) => println!("{elsewhere}: {error}"),
    }
    Ok(())
}

async fn serve(io: DuplexStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut server = server::handshake(io, &Config::default()).await?;
    while let Some(arrival) = server.next().await {
        match arrival? {
            Arrival::Connect(incoming) if incoming.request().target().to_string() == ECHO => {
                tokio::spawn(echo(incoming));
            }
            Arrival::Connect(incoming) => incoming.refuse(Refusal::Denied),
            other => println!("not a request for a tunnel: {other:?}"),
        }
    }
    Ok(())
}

async fn echo(incoming: Incoming) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (mut recv, mut send) = incoming.accept()?.into_split();
    while let Some(chunk) = recv.data().await {
        send.send_all(chunk?).await?;
    }
    Ok(send.finish()?)
}
