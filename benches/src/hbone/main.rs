//! What tunnels cost over a pipe in memory, beside the same bytes over the same pipe without them; interleaved in one run. Both
//! ends share one thread, so a rate is that of both together.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

mod bulk;
mod connect;
mod pipe;
mod rate;

use pipe::Cover;
use rate::Rates;

/// Times tunnels over a pipe in memory, with TLS and without, beside the pipe alone.
#[derive(Debug, clap::Parser)]
#[command(name = "inpod-bench-hbone", version)]
struct Args {
    /// How many MiB are sent each time
    #[arg(long, default_value_t = 512)]
    mebibytes: usize,
    /// How many tunnels are opened each time
    #[arg(long, default_value_t = 5000)]
    tunnels: usize,
    /// How often each is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inpod-bench-hbone: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    for cover in [Cover::Plain, Cover::Tls] {
        let (mut alone, mut one, mut hundred) = (Rates::default(), Rates::default(), Rates::default());
        for _ in 0..args.rounds {
            alone.add(bulk::alone(cover, args.mebibytes).await?);
            one.add(bulk::tunnels(cover, args.mebibytes, 1).await?);
            hundred.add(bulk::tunnels(cover, args.mebibytes, 100).await?);
        }
        println!(
            "{cover}, {} MiB ({} rounds): MiB/s, and as a share of the pipe alone",
            args.mebibytes, args.rounds
        );
        println!("  {:<24} {alone}", "the pipe alone");
        println!("  {:<24} {one} {:>6.0} %", "one tunnel", 100.0 * one.of(&alone));
        println!("  {:<24} {hundred} {:>6.0} %", "a hundred tunnels", 100.0 * hundred.of(&alone));
    }
    for cover in [Cover::Plain, Cover::Tls] {
        let (mut trips, mut opens) = (Rates::default(), Rates::default());
        for _ in 0..args.rounds {
            trips.add(connect::round_trips(cover, args.tunnels).await?);
            opens.add(connect::opens(cover, args.tunnels).await?);
        }
        println!("{cover}, one after another ({} each, {} rounds): per second", args.tunnels, args.rounds);
        println!("  {:<24} {trips}", "round trips of a byte");
        println!("  {:<24} {opens} {:>6.0} %", "tunnels opened and closed", 100.0 * opens.of(&trips));
    }
    Ok(())
}
