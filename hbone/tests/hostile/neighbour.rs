//! Somebody who uses the same runtime, and means no harm.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use inpod_hbone::{Arrival, Config, ConnectRequest, client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// A connection on which bytes go back and forth.
pub(crate) struct Neighbour {
    rounds: Rc<Cell<u64>>,
    talking: JoinHandle<()>,
    pause: Option<Duration>,
}

impl Neighbour {
    /// Talks without a break, so that virtual time stands still; or with a break of `pause` after each round.
    pub(crate) async fn new(pause: Option<Duration>) -> Self {
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(echo(far));
        let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
        tokio::spawn(driver);
        let request = ConnectRequest::new("10.0.0.9:80".parse().unwrap());
        let mut tunnel = client.open(request).await.unwrap();
        let rounds = Rc::new(Cell::new(0));
        let count = Rc::clone(&rounds);
        let talking = tokio::task::spawn_local(async move {
            loop {
                tunnel.write_all(b"round").await.unwrap();
                tunnel.read_exact(&mut [0; 5]).await.unwrap();
                count.set(count.get() + 1);
                breathe(pause).await;
            }
        });
        Self { rounds, talking, pause }
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.get()
    }

    /// Waits until it has gone on a while, which fails if it has died.
    pub(crate) async fn goes_on(&self) {
        let goal = self.rounds() + 10;
        while self.rounds() < goal {
            assert!(!self.talking.is_finished(), "the neighbour has died");
            breathe(self.pause).await;
        }
    }
}

async fn breathe(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => tokio::task::yield_now().await,
    }
}

async fn echo(io: tokio::io::DuplexStream) {
    let mut server = server::handshake(io, &Config::default()).await.unwrap();
    while let Some(Ok(Arrival::Connect(incoming))) = server.next().await {
        let (mut recv, mut send) = incoming.accept().unwrap().into_split();
        tokio::spawn(async move {
            while let Some(Ok(bytes)) = recv.data().await {
                send.send_all(bytes).await.unwrap();
            }
        });
    }
}
