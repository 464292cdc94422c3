//! The node's agent: captures pods, and hands them to the node's proxy before they start.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod cni;
mod control;
mod install;
mod pods;
mod run;
mod startup;
mod status;
mod table;
mod view;
mod why;

use self::args::{Args, Command};
use self::why::Shown;

/// Beside 0, 1, and clap's 2; as `inpod-redirect` has it.
const NOT_AS_INTENDED: u8 = 3;

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(args.log.clone())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let done = match args.command {
        Command::Run(run) => startup::prepare(&run).and_then(run::run),
        Command::Status(status) => status::show(&status),
        Command::Why(why) => match why::show(&why) {
            Ok(Shown::AsIntended) => Ok(()),
            Ok(Shown::Differs) => return ExitCode::from(NOT_AS_INTENDED),
            Err(error) => Err(error),
        },
        Command::InstallCni(install) => install::install(&install),
        Command::UninstallCni(uninstall) => install::uninstall(&uninstall),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
