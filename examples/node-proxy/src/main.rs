//! The node's proxy: listens inside each pod that a ZDS agent hands it, and carries the pod's traffic as mTLS tunnels.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod counters;
mod http;
mod issuer;
mod run;
mod startup;
mod trust;

/// glibc keeps freed buffers, so that after a burst of connections the process would stay large. This one needs no more than a
/// C compiler to build.
#[cfg(not(feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Hands out again what was freed last, which is still in the processor's cache; bulk has much of that.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = args::Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(args.log.clone())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    match startup::prepare(&args).and_then(run::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
