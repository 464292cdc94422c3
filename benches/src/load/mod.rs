//! The load: who asks (`client`) and who answers (`server`), one file for each kind. Each end is a process with one
//! thread; the asking one also reads what the proxy used meanwhile, at the very moments that bound its own counting.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until, timeout};

use crate::args::Drive;
use crate::measure::Process;
use crate::stats::Percentile;

mod bulk;
mod connections;
mod idle;
mod message;
mod requests;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Load {
    /// Requests on connections that stay.
    Requests,
    /// One request on each connection.
    Connections,
    /// Bytes, from the client to the server.
    Bulk,
    /// Connections that wait.
    Idle,
}

/// What a load came to. The client process prints it as one line of JSON.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Sample {
    /// Requests, connections or bytes within the window; connections that wait.
    pub(crate) operations: u64,
    /// Connections that could not be made or broke; they count for nothing else.
    pub(crate) failed: u64,
    /// How long the window was.
    pub(crate) seconds: f64,
    /// CPU time of the watched process within the window.
    pub(crate) cpu_seconds: Option<f64>,
    /// From asking to the whole answer.
    pub(crate) p50_micros: Option<f64>,
    /// From asking to the whole answer.
    pub(crate) p99_micros: Option<f64>,
    /// What the watched process's memory grew by, KiB.
    pub(crate) grown_kib: Option<u64>,
}

/// When operations count: after the warm-up, until the end.
#[derive(Clone, Copy, Debug)]
struct Window {
    begin: Instant,
    end: Instant,
}

impl Window {
    fn contains(self, moment: Instant) -> bool {
        (self.begin..self.end).contains(&moment)
    }
}

/// What a client has counted within the window.
#[derive(Debug, Default)]
struct Count {
    operations: u64,
    failed: u64,
    /// Of each operation that has one, nanoseconds.
    latencies: Vec<u32>,
}

impl Count {
    fn answered(&mut self, latency: Duration) {
        self.operations += 1;
        self.latencies.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
    }

    fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.failed += other.failed;
        self.latencies.extend(other.latencies);
    }
}

/// Beyond the window, for what is slow to begin or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long [`drive`] takes at most.
pub(crate) fn limit(warm_up: Duration, seconds: Duration) -> Duration {
    warm_up + seconds + PATIENCE
}

/// The asking process.
pub(crate) async fn drive(drive: &Drive) -> Result<()> {
    let sample = timeout(limit(drive.warm_up, drive.seconds), measure(drive));
    let sample = sample.await.context("the load has not ended in time: something hangs")??;
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

async fn measure(drive: &Drive) -> Result<Sample> {
    let watch = drive.watch.map(|id| Process { id });
    if drive.load == Load::Idle {
        return idle::client(drive.to, drive.parallel, watch).await;
    }
    let begin = Instant::now() + drive.warm_up;
    let window = Window { begin, end: begin + drive.seconds };
    let client = async {
        match drive.load {
            Load::Requests => requests::client(drive.to, drive.parallel, window).await,
            Load::Connections => connections::client(drive.to, drive.parallel, window).await,
            Load::Bulk | Load::Idle => bulk::client(drive.to, drive.parallel, window).await,
        }
    };
    let (mut count, cpu_seconds) = tokio::try_join!(client, cpu_within(window, watch))?;
    count.latencies.sort_unstable();
    let micros = |percentile: Percentile| percentile.of(&count.latencies).map(|nanos| f64::from(nanos) / 1e3);
    Ok(Sample {
        operations: count.operations,
        failed: count.failed,
        seconds: drive.seconds.as_secs_f64(),
        cpu_seconds,
        p50_micros: micros(Percentile::P50),
        p99_micros: micros(Percentile::P99),
        grown_kib: None,
    })
}

async fn cpu_within(window: Window, watch: Option<Process>) -> Result<Option<f64>> {
    let Some(process) = watch else { return Ok(None) };
    sleep_until(window.begin).await;
    let before = process.cpu()?;
    sleep_until(window.end).await;
    Ok(Some((process.cpu()? - before).as_secs_f64()))
}

/// The answering process. Says one line when it listens, and ends with its standard input.
pub(crate) async fn serve() -> Result<()> {
    tokio::spawn(requests::server(listen(requests::PORT).await?));
    for port in connections::PORTS {
        tokio::spawn(connections::server(listen(port).await?));
    }
    tokio::spawn(bulk::server(listen(bulk::PORT).await?));
    println!("{READY}");
    // On a thread of its own: standard input cannot be waited for in any other way.
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    end.await.context("waiting for the end of standard input")
}

/// What `serve` says when it listens.
pub(crate) const READY: &str = "ready";

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .await
        .with_context(|| format!("listening on port {port}"))
}
