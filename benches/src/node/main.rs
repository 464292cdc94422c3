//! A node full of pods: how long it takes until all are captured, how long a container runtime waits for each, and what agent and proxy
//! cost then.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser as _;

#[path = "../measure.rs"]
mod measure;
#[path = "../kernel/sample.rs"]
mod sample;
mod site;

use self::sample::Sample;
use self::site::{Place, Site};

/// Enrols many pods on one node, and says what it took.
#[derive(Debug, clap::Parser)]
#[command(name = "inpod-bench-node", version)]
struct Args {
    /// How many pods there are
    #[arg(long, default_value_t = 1000)]
    pods: usize,
    /// How long agent and proxy are watched doing nothing, in seconds
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Where node-agent and node-proxy are [default: beside this program]
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inpod-bench-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let beside =
        || Ok::<_, anyhow::Error>(std::env::current_exe()?.parent().context("no folder")?.to_owned());
    let programs = args.programs.clone().map_or_else(beside, Ok)?;
    let site = Site::new(args.pods, &programs)?;

    let start = Instant::now();
    site.write_pods(Place::File)?;
    site.wait_for_enrolled(args.pods)?;
    println!("{} pods that are there, enrolled together: {:.2?}", args.pods, start.elapsed());
    cost(&site, "with all pods", args.idle)?;

    site.delete_pods()?;
    site.wait_for_enrolled(0)?;
    site.write_pods(Place::Runtime)?;
    let mut sample = Sample::default();
    let start = Instant::now();
    for number in 0..args.pods {
        sample.time(|| site.add_by_cni(number)).with_context(|| format!("the pod {number}"))?;
    }
    println!(
        "\neach pod by CNI, one after the other: {:.2?} in all; microseconds: median, p99, minimum",
        start.elapsed()
    );
    println!("  {:<44} {sample}", "from the request to the answer");
    cost(&site, "with all pods, by CNI", args.idle)
}

/// What both programs have in memory, and what they need while nothing happens.
fn cost(site: &Site, when: &str, idle: u64) -> Result<()> {
    let programs = [("agent", site.agent()), ("proxy", site.proxy())];
    let before = programs.map(|(_, program)| program.cpu());
    std::thread::sleep(Duration::from_secs(idle));
    println!("\n{when}:");
    for ((name, program), before) in programs.into_iter().zip(before) {
        let used = program.cpu()?.saturating_sub(before?);
        let share = 100.0 * used.as_secs_f64() / Duration::from_secs(idle).as_secs_f64();
        println!("  {name}: {:>6.1} MiB resident, {share:.2} % of a core", mebi(program.resident()?));
    }
    Ok(())
}

fn mebi(kibi: u64) -> f64 {
    // Exact far beyond any machine's memory.
    u32::try_from(kibi).map_or(f64::INFINITY, f64::from) / 1024.0
}
