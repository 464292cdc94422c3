//! What else the figures depend on.

use std::fmt;
use std::fs;

use anyhow::{Context as _, Result};

use crate::args::Args;

/// Where and how a run was made.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Environment {
    kernel: String,
    cores: usize,
    /// What the pods' namespaces start with, for all contenders. It decides bulk more than any proxy does.
    congestion_control: String,
    /// Of one, five and fifteen minutes before the run: figures of a busy machine are worth little.
    load_averages: String,
    rounds: u32,
    seconds: f64,
    workers: usize,
    logs: &'static str,
}

impl Environment {
    /// To be called in the sandbox: a namespace has a congestion control of its own.
    pub(crate) fn look(args: &Args) -> Result<Self> {
        let load = read("/proc/loadavg")?;
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?,
            cores: std::thread::available_parallelism()?.get(),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control")?,
            load_averages: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
            rounds: args.rounds.get(),
            seconds: args.seconds.as_secs_f64(),
            workers: args.workers.get(),
            logs: "errors only, no access log",
        })
    }
}

fn read(path: &str) -> Result<String> {
    Ok(fs::read_to_string(path).with_context(|| format!("reading {path}"))?.trim_end().to_owned())
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, cores, congestion_control, load_averages, workers, logs, .. } = self;
        write!(
            f,
            "kernel {kernel}, {cores} cores, load {load_averages}, {congestion_control}; each proxy: "
        )?;
        write!(f, "{workers} workers, logs {logs}")
    }
}
