//! Neighbour: how long one peer's round trips take while another peer of the same server does its worst.
//!
//! The server has one core for itself. The two peers share another, on which the hostile one gets what the other leaves: it may cost
//! the neighbour what it makes the server do, and not what it does itself.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hbone::{Arrival, Config, ConnectRequest, Incoming, Tunnel, client, server};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::hostile::{KEEP, Kind, POUR, READ};

/// How long round trips took, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trips {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

/// A server on a thread of its own, with one runtime, and a tunnel to it.
pub(crate) struct Neighbour {
    address: SocketAddr,
    tunnel: Tunnel,
}

impl Neighbour {
    pub(crate) async fn new() -> Result<Self> {
        stay_on(PEERS)?;
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || serve(&tell));
        let address = told.recv().context("the server has not begun")?;
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (client, driver) = client::handshake(stream, &Config::default()).await?;
        tokio::spawn(driver);
        let tunnel = client.open(ConnectRequest::new("10.0.0.9:80".parse()?)).await?;
        Ok(Self { address, tunnel })
    }

    /// Round trips of a few bytes, one after another with a pause before each, for that long.
    pub(crate) async fn trips(&mut self, span: Duration) -> Result<Trips> {
        let (begin, mut took) = (Instant::now(), Vec::new());
        while begin.elapsed() < span {
            tokio::time::sleep(PAUSE).await;
            let start = Instant::now();
            self.tunnel.write_all(&[7; 100]).await?;
            self.tunnel.read_exact(&mut [0; 100]).await?;
            took.push(start.elapsed());
        }
        took.sort_unstable();
        let at =
            |share: usize| took.get(took.len() * share / 100).map_or(f64::NAN, |it| 1e6 * it.as_secs_f64());
        Ok(Trips { median: at(50), p99: at(99) })
    }

    /// The same while somebody else is at it, and how many connections that took.
    pub(crate) async fn trips_beside(
        &mut self,
        kind: Kind,
        span: Duration,
        most: Option<u64>,
    ) -> Result<(Trips, u64)> {
        let attack = Attack::begin(self.address, kind, most);
        // The first connection is there when the time begins.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let trips = self.trips(span).await;
        let connections = attack.end();
        Ok((trips?, connections))
    }
}

const SERVER: usize = 0;
const PEERS: usize = 1;
/// The most that setpriority(2) takes: a twentieth or less of what others get.
const LEAST: i32 = 19;

/// Keeps the calling thread, and those that it makes, on one core.
fn stay_on(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores).with_context(|| format!("staying on core {core}"))
}

/// Between two round trips, about: a thousand in a second.
const PAUSE: Duration = Duration::from_millis(1);

/// A thread that sends.
struct Attack {
    over: Arc<AtomicBool>,
    connections: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Attack {
    fn begin(address: SocketAddr, kind: Kind, most: Option<u64>) -> Self {
        let (over, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&over), Arc::clone(&connections));
        let thread = thread::spawn(move || {
            // It and the threads that it makes are on the same core as who makes it.
            let _ = rustix::process::setpriority_process(None, LEAST);
            let (begin, again) = kind.script();
            let may_go_on = || most.is_none_or(|most| count.load(Ordering::Relaxed) < most);
            while !until.load(Ordering::Relaxed) && may_go_on() {
                count.fetch_add(1, Ordering::Relaxed);
                // A connection that is ended is what is wanted.
                let _ = connection(address, kind, (&begin, &again), &until);
            }
        });
        Self { over, connections, thread }
    }

    fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.connections.load(Ordering::Relaxed)
    }
}

/// One connection, to its end.
fn connection(
    address: SocketAddr,
    kind: Kind,
    (begin, again): (&[u8], &[u8]),
    over: &AtomicBool,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_millis(50)))?;
    let mut hears = stream.try_clone()?;
    // What is said to it is thrown away.
    let hearing = thread::spawn(move || while let Ok(1..) = hears.read(&mut [0; 65_536]) {});
    let mut send = || -> std::io::Result<()> {
        stream.write_all(begin)?;
        while !over.load(Ordering::Relaxed) {
            stream.write_all(again)?;
            if kind.is_done_after_once() {
                break;
            }
        }
        Ok(())
    };
    let sent = send();
    let _ = stream.shutdown(Shutdown::Both);
    let _ = hearing.join();
    sent
}

fn serve(tell: &std::sync::mpsc::Sender<SocketAddr>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Ok(runtime), Ok(())) = (runtime, stay_on(SERVER)) else { return };
    let _ = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        tell.send(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut server = server::handshake(stream, &Config::default()).await?;
                while let Some(arrival) = server.next().await {
                    if let Arrival::Connect(incoming) = arrival? {
                        tokio::spawn(application(incoming));
                    }
                }
                anyhow::Ok(())
            });
        }
        #[expect(unreachable_code, reason = "says what the errors are")]
        anyhow::Ok(())
    });
}

async fn application(incoming: Incoming) -> Result<()> {
    let port = incoming.request().target().port();
    let (mut recv, mut send) = incoming.accept()?.into_split();
    match port {
        KEEP => drop(std::future::poll_fn(|cx| send.poll_reset(cx)).await),
        READ => {
            while recv.data().await.transpose()?.is_some() {}
            send.finish()?;
        }
        POUR => loop {
            send.send_all(Bytes::from_static(&[7; 16 * 1024])).await?;
        },
        _ => {
            while let Some(bytes) = recv.data().await {
                send.send_all(bytes?).await?;
            }
        }
    }
    Ok(())
}
