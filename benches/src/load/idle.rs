//! Connections that have been used once and wait. The server is that of the requests.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use super::{Sample, requests};
use crate::measure::Process;

/// For what a proxy frees or finishes in the background.
const SETTLE: Duration = Duration::from_millis(500);

/// Holds `parallel` connections, and measures what the watched process's memory grew by. The tunnel beneath them
/// is not counted: it is there before.
pub(super) async fn client(to: IpAddr, parallel: usize, watch: Option<Process>) -> Result<Sample> {
    let process = watch.context("no process whose memory could be measured")?;
    let mut held = Vec::with_capacity(parallel + 1);
    held.push(used(to).await?);
    sleep(SETTLE).await;
    let before = process.resident()?;
    for _ in 0..parallel {
        held.push(used(to).await?);
    }
    sleep(SETTLE).await;
    let after = process.resident()?;
    Ok(Sample {
        operations: u64::try_from(parallel)?,
        grown_kib: Some(after.saturating_sub(before)),
        ..Sample::default()
    })
}

async fn used(to: IpAddr) -> Result<tokio::net::TcpStream> {
    let mut stream = requests::connect(to).await.context("connecting")?;
    requests::ask_once(&mut stream).await.context("asking")?;
    Ok(stream)
}
