//! Who is compared.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::args::Args;

mod ours;
mod ztunnel;

/// One of the compared, with what it takes to start it.
#[derive(Clone, Debug)]
pub(crate) enum Contender {
    Direct,
    Ours(ours::Ours),
    Ztunnel(ztunnel::Ztunnel),
}

/// Its name in the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Direct,
    Ours,
    Ztunnel,
}

/// The files that a proxy is started with.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) zds: PathBuf,
    pub(crate) workloads: PathBuf,
    pub(crate) ca_cert: PathBuf,
    pub(crate) ca_key: PathBuf,
}

/// Both proxies log errors only: no access log.
const LOG: (&str, &str) = ("RUST_LOG", "error");

/// The contenders that the command line names; each program must be there.
pub(crate) fn choose(args: &Args) -> Result<Vec<Contender>> {
    let ours = match &args.proxy {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("finding this program")?.with_file_name("node-proxy"),
    };
    ensure!(
        ours.is_file(),
        "no node-proxy at {}: build it with `cargo build --release -p node-proxy`, or name one with --proxy",
        ours.display()
    );
    let mut contenders =
        vec![Contender::Direct, Contender::Ours(ours::Ours { program: ours, workers: args.workers })];
    if let Some(program) = args.ztunnel.as_ref().filter(|path| !path.as_os_str().is_empty()) {
        ensure!(program.is_file(), "no ztunnel at {}", program.display());
        let ztunnel = ztunnel::Ztunnel { program: program.clone(), workers: args.workers };
        contenders.push(Contender::Ztunnel(ztunnel));
    }
    Ok(contenders)
}

impl Contender {
    pub(crate) fn name(&self) -> Name {
        match self {
            Self::Direct => Name::Direct,
            Self::Ours(_) => Name::Ours,
            Self::Ztunnel(_) => Name::Ztunnel,
        }
    }

    /// How to start its proxy, if it has one.
    pub(crate) fn command(&self, files: &Files) -> Option<Command> {
        match self {
            Self::Direct => None,
            Self::Ours(ours) => Some(ours.command(files)),
            Self::Ztunnel(ztunnel) => Some(ztunnel.command(files)),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Ours => "ours",
            Self::Ztunnel => "ztunnel",
        })
    }
}
