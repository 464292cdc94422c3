//! The node's agent: captures pods, and hands them to the node's proxy before they start.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod cni;
mod control;
mod install;
mod run;
mod startup;
mod status;
mod table;
mod view;

use self::args::{Args, Command};

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
