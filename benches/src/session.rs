//! Rounds of sessions: one contender, its pods, its proxy and its load, from nothing to nothing.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proxy_core::Config;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::args::Args;
use crate::cell::{Cell, Company};
use crate::contender::{Contender, Name};
use crate::load::{self, Sample};
use crate::measure::Process;
use crate::pods::Pods;
use crate::proxy::Proxy;
use crate::results::{Figures, Results};

/// Measures all contenders in every round. Each round begins with another one, so that none is always the first.
pub(crate) async fn rounds(args: &Args, contenders: &[Contender]) -> Result<Results> {
    let cells = Cell::of(&args.only);
    let mut results = Results::default();
    for round in 0..args.rounds.get() {
        let first = usize::try_from(round)? % contenders.len();
        let (before, after) = contenders.split_at(first);
        for contender in after.iter().chain(before) {
            let name = contender.name();
            eprintln!("round {} of {}: {name}", round + 1, args.rounds);
            let figures = all_cells(args, contender, &cells).await;
            results.add(round, name, figures.with_context(|| format!("measuring {name}"))?);
        }
    }
    Ok(results)
}

async fn all_cells(args: &Args, contender: &Contender, cells: &[Cell]) -> Result<Figures> {
    let (shared, alone): (Vec<Cell>, Vec<Cell>) =
        cells.iter().partition(|cell| cell.company() == Company::Others);
    let mut figures = session(args, contender, &shared).await?;
    // What is measured alone is a proxy's memory.
    for cell in alone.into_iter().filter(|_| contender.name() != Name::Direct) {
        figures.extend(session(args, contender, &[cell]).await?);
    }
    Ok(figures)
}

async fn session(args: &Args, contender: &Contender, cells: &[Cell]) -> Result<Figures> {
    let mut figures = Figures::new();
    if cells.is_empty() {
        return Ok(figures);
    }
    let pods = Pods::new()?;
    let folder = tempfile::tempdir().context("making a folder")?;
    let proxy = Proxy::start(contender, &pods, folder.path()).await?;
    let _server = serve(&pods).await.context("starting the server")?;
    for &cell in cells {
        let process = proxy.as_ref().map(Proxy::process);
        let sample = drive(args, &pods, cell, process).await.with_context(|| format!("{cell:?}"))?;
        if sample.failed > 0 {
            eprintln!("  {cell:?}: {} failed, besides {}", sample.failed, sample.operations);
        }
        figures.extend(cell.figures(&sample));
    }
    if let Some(proxy) = proxy {
        let tunnels = pods.tunnels(Config::default().ports.hbone)?;
        ensure!(tunnels > 0, "no tunnel is open: the traffic has not gone through the proxy");
        proxy.stop().await?;
    }
    Ok(figures)
}

/// How long the server may take to listen.
const SERVE_LIMIT: Duration = Duration::from_secs(10);

/// Starts the answering process in the server pod. It ends with the handle.
async fn serve(pods: &Pods) -> Result<Child> {
    let mut command = this_program();
    command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pods.server.run(|| command.spawn())??;
    let output = child.stdout.take().context("it has no output")?;
    let mut line = String::new();
    timeout(SERVE_LIMIT, BufReader::new(output).read_line(&mut line)).await.context("it says nothing")??;
    ensure!(line.trim_end() == load::READY, "it says {line:?}");
    Ok(child)
}

/// Longest warm-up: slow start and the first tunnel are over long before.
const WARM_UP: Duration = Duration::from_millis(500);

/// Runs the asking process in the client pod.
async fn drive(args: &Args, pods: &Pods, cell: Cell, watch: Option<Process>) -> Result<Sample> {
    let warm_up = WARM_UP.min(args.seconds);
    let mut command = this_program();
    let load = clap::ValueEnum::to_possible_value(&cell.load()).context("a load without a name")?;
    command.arg("drive").arg(load.get_name());
    command.arg("--to").arg(pods.server.v4().to_string()).arg("--parallel").arg(cell.parallel().to_string());
    command.arg("--warm-up").arg(warm_up.as_secs_f64().to_string());
    command.arg("--seconds").arg(args.seconds.as_secs_f64().to_string());
    if let Some(process) = watch {
        command.arg("--watch").arg(process.id.to_string());
    }
    let child = pods.client.run(|| command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn())??;
    // It has a limit of its own, and says more when that is reached.
    let limit = load::limit(warm_up, args.seconds) + SERVE_LIMIT;
    let output = timeout(limit, child.wait_with_output()).await.context("the client hangs")??;
    ensure!(output.status.success(), "the client has failed: {}", output.status);
    serde_json::from_slice(&output.stdout).context("the client's figures")
}

/// This very program, also when another has been built in its place since it was started.
fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("inpod-bench").kill_on_drop(true);
    command
}
