//! Shows, applies, checks, explains and removes the capture rules of a pod. For people: an agent uses the crate.
//!
//! Exit codes: 0 done, or as planned; 1 failed; 2 the command line makes no sense; 3 not as planned.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

mod act;
mod args;
mod backend;
mod explain;
mod live;
mod node;
mod options;
mod place;

fn main() -> ExitCode {
    match act::run(&args::Args::parse()) {
        Ok(act::Done::AsPlanned) => ExitCode::SUCCESS,
        Ok(act::Done::NotAsPlanned) => ExitCode::from(NOT_AS_PLANNED),
        Err(error) => {
            eprintln!("inpod-redirect: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Beside 0, 1, and clap's 2.
const NOT_AS_PLANNED: u8 = 3;
