//! Ours, direct and a peer, interleaved in one run; figures as ratios.
//!
//! ```text
//!   inpod-bench ── round 1 ── direct, ours, ztunnel ── round 2 ── ours, ztunnel, direct ── ...
//!                               │
//!                  one session: pods, proxy and load of its own
//!
//!     drive ──> client pod ══ proxy (a process of its own) ══> server pod ──> serve
//!       └── counts, and reads the proxy's CPU time and memory from /proc
//! ```
//!
//! Reading order: [`session`] is one contender in one round; [`cell`] what is asked of it; [`load`] who asks and who
//! answers, this same program run again inside the pods; [`results`] what it came to.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

mod aims;
mod args;
mod cell;
mod contender;
mod environment;
mod load;
mod measure;
mod metric;
mod pods;
mod proxy;
mod results;
mod session;
mod stats;
mod table;

fn main() -> ExitCode {
    match run(args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inpod-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: args::Args) -> Result<()> {
    match &args.inside {
        Some(args::Inside::Serve) => runtime()?.block_on(load::serve()),
        Some(args::Inside::Drive(drive)) => runtime()?.block_on(load::drive(drive)),
        None => compare(&args),
    }
}

fn compare(args: &args::Args) -> Result<()> {
    let contenders = contender::choose(args)?;
    raise_descriptor_limit()?;
    // Before anything makes a thread: those would stay outside.
    let sandbox = testkit::kernel::sandbox().context("no namespaces to measure in")?;
    let environment = environment::Environment::look(args)?;
    eprintln!("in {sandbox}; {environment}");
    let results = runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Dropping the rounds ends the programs that they have started.
        tokio::select! {
            results = session::rounds(args, &contenders) => results,
            _ = terminate.recv() => bail!("ended by a signal"),
            _ = interrupt.recv() => bail!("ended by a signal"),
        }
    })?;
    print!("{}", table::Table(&results));
    println!("{}", aims::Verdict(&results));
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&results.to_json(&environment))?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// One thread: the load has one for each of its two ends, as many as the machine is expected to spare.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")
}

/// A thousand idle connections take more descriptors than most shells allow; what is started from here inherits it.
fn raise_descriptor_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit of open files")
}
