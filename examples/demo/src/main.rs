//! Three pods, one proxy, an embedded CA: unmodified programs talk mTLS, and the demo proves it.
//!
//! ```text
//!              br0, each cable watched
//!      ┌──────────────┼──────────────┐
//!   client         server        outsider      pods: network namespaces of this process's own
//!   demo fetch     demo serve    demo fetch    plain programs, processes of their own
//!   [proxy]        [proxy]                     sockets of this process, inside the pods
//! ```
//!
//! `demo` tells the story in nine steps (`story`, `steps`), each of which checks what it says. `demo shell POD` opens a shell
//! in a pod of the same mesh. Neither touches the machine's own network: the first thing is a sandbox.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::app::Url;
use crate::page::Page;
use crate::stage::PodName;

mod app;
mod evidence;
mod meetings;
mod mesh;
mod missing;
mod page;
mod program;
mod rules;
mod shell;
mod sockets;
mod stage;
mod steps;
mod story;
mod wire;
mod workloads;

/// Three pods, one proxy, an embedded CA: unmodified programs talk mTLS, and the demo proves it.
///
/// Needs no root and touches nothing of the machine's network: it works in namespaces of its own.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Opens a shell (or runs a command) inside a pod of a mesh that stays up meanwhile
    Shell {
        /// The pod
        pod: PodName,
        /// The command; without one, $SHELL
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// The server of the story: a program that knows nothing of the mesh. Ends with its standard input
    #[command(hide = true)]
    Serve { port: u16 },
    /// The client of the story: a program that knows nothing of the mesh
    #[command(hide = true)]
    Fetch { url: Url },
}

fn main() -> ExitCode {
    match act(Cli::parse().act) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(act: Option<Act>) -> Result<ExitCode> {
    match act {
        None => {
            let sandbox = sandbox()?;
            story::tell(&mut Page::new(io::stdout()), &sandbox).map(|()| ExitCode::SUCCESS)
        }
        Some(Act::Shell { pod, command }) => {
            sandbox()?;
            shell::run(pod, &command)
        }
        Some(Act::Serve { port }) => app::serve(port).map(|()| ExitCode::SUCCESS),
        Some(Act::Fetch { url }) => app::fetch(&url, &mut io::stdout().lock()).map(|()| ExitCode::SUCCESS),
    }
}

/// Must come before any thread.
fn sandbox() -> Result<testkit::kernel::Sandbox> {
    testkit::kernel::sandbox().with_context(|| format!("no namespaces to work in{}", missing::rights()))
}
