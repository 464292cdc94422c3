//! What entering a namespace and putting rules into one cost, beside the same by other means; interleaved in one run.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

mod enter;
mod rules;
mod sample;

/// Times entering namespaces, and applying and verifying rules, beside other means.
#[derive(Debug, clap::Parser)]
#[command(name = "inpod-bench-kernel", version)]
struct Args {
    /// How many namespaces are entered in turn
    #[arg(long, default_value_t = 100)]
    namespaces: usize,
    /// How often each of them is entered
    #[arg(long, default_value_t = 100)]
    visits: usize,
    /// How many fresh namespaces get rules, by each means
    #[arg(long, default_value_t = 40)]
    rounds: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inpod-bench-kernel: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    println!("microseconds: median, p99, minimum\n");
    println!(
        "enter a namespace, make a socket, come back ({} namespaces, {} visits)",
        args.namespaces, args.visits
    );
    for (name, sample) in enter::measure(args.namespaces, args.visits)? {
        println!("  {name:<44} {sample}");
    }
    println!("\nthe rules of ambient mode in a fresh namespace ({} rounds)", args.rounds);
    for (name, sample) in rules::measure(args.rounds)? {
        println!("  {name:<44} {sample}");
    }
    Ok(())
}
