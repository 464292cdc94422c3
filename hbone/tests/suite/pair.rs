//! Two ends that talk over an in-memory pipe.

use std::future::Future;
use std::time::Duration;

use inpod_hbone::{
    Arrival, Client, Config, ConnectRequest, ConnectionError, Incoming, RecvHalf, Tunnel, client, server,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(crate) const TARGET: &str = "10.0.0.5:8080";

/// Both ends, running.
pub(crate) struct Pair {
    pub(crate) client: Client,
    pub(crate) arrivals: mpsc::UnboundedReceiver<Incoming>,
    pub(crate) driver: JoinHandle<Result<(), ConnectionError>>,
    pub(crate) server: JoinHandle<Result<(), ConnectionError>>,
    drain: mpsc::UnboundedSender<()>,
}

impl Pair {
    pub(crate) async fn new() -> Self {
        Self::with(&Config::default()).await
    }

    pub(crate) async fn with(config: &Config) -> Self {
        let (near, far) = tokio::io::duplex(PIPE);
        Self::over(near, far, config).await
    }

    /// Both ends of whatever stream.
    pub(crate) async fn over<T>(near: T, far: T, config: &Config) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (client, driver) = client::handshake(near, config).await.unwrap();
        let driver = tokio::spawn(driver);
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let (drain, drained) = mpsc::unbounded_channel();
        let server = tokio::spawn(serve(far, config.clone(), arrived, drained));
        Self { client, arrivals, driver, server, drain }
    }

    /// A tunnel, seen from the client and from the server.
    pub(crate) async fn open(&mut self) -> (Tunnel, Tunnel) {
        let accept = async { self.arrivals.recv().await.unwrap().accept().unwrap() };
        let (near, far) = tokio::join!(self.client.open(request()), accept);
        (near.unwrap(), far)
    }

    pub(crate) fn drain_server(&self) {
        self.drain.send(()).unwrap();
    }
}

pub(crate) fn request() -> ConnectRequest {
    ConnectRequest::new(TARGET.parse().unwrap())
}

/// What comes out of `future`, or `None` if it would wait for ever.
pub(crate) async fn settled<F: Future>(future: F) -> Option<F::Output> {
    // The clock is paused: it moves only when every task waits.
    tokio::time::timeout(Duration::from_millis(1), future).await.ok()
}

/// Lets everything move that can.
pub(crate) async fn quiet() {
    assert!(settled(std::future::pending::<()>()).await.is_none());
}

/// Everything up to the end, which comes without waiting for time to pass.
pub(crate) async fn read_all(recv: &mut RecvHalf) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(chunk) = settled(recv.data()).await.expect("there is more, or an end") {
        all.extend_from_slice(&chunk?);
    }
    Ok(all)
}

/// Bytes that show a loss, a repetition or an exchange.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    config: Config,
    arrived: mpsc::UnboundedSender<Incoming>,
    mut drained: mpsc::UnboundedReceiver<()>,
) -> Result<(), ConnectionError> {
    let mut server = server::handshake(io, &config).await.unwrap();
    loop {
        tokio::select! {
            arrival = server.next() => match arrival {
                None => return Ok(()),
                Some(Err(error)) => return Err(error),
                Some(Ok(Arrival::Connect(incoming))) => {
                    let _ = arrived.send(incoming);
                }
                Some(Ok(_)) => {}
            },
            Some(()) = drained.recv() => server.drain(),
        }
    }
}

const PIPE: usize = 64 * 1024;
