//! The command line.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::load::Load;

/// Compares our proxy, no proxy and (where there is one) ztunnel: interleaved rounds, figures as ratios.
#[derive(Debug, clap::Parser)]
#[command(version)]
pub(crate) struct Args {
    /// How often each contender is measured
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) rounds: NonZeroU32,
    /// How long each figure is measured, after a warm-up
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Measure only these
    #[arg(long, value_delimiter = ',', value_name = "WHAT")]
    pub(crate) only: Vec<Group>,
    /// Our proxy [default: node-proxy beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) proxy: Option<PathBuf>,
    /// A ztunnel that was built with its `testing` feature
    #[arg(long, env = "INPOD_PEER_ZTUNNEL", value_name = "PATH")]
    pub(crate) ztunnel: Option<PathBuf>,
    /// Worker threads of each proxy
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) workers: NonZeroUsize,
    /// Write every round's figures here
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// What this program is when it runs inside a pod.
    #[command(subcommand)]
    pub(crate) inside: Option<Inside>,
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Group {
    Bulk,
    Requests,
    Connections,
    Latency,
    Idle,
}

/// The two ends of the load, each a process in a pod.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Inside {
    /// Answers every load until standard input ends
    #[command(hide = true)]
    Serve,
    /// Makes one load and prints what it came to
    #[command(hide = true)]
    Drive(Drive),
}

/// One load.
#[derive(Debug, clap::Args)]
pub(crate) struct Drive {
    pub(crate) load: Load,
    /// Where `serve` runs
    #[arg(long)]
    pub(crate) to: IpAddr,
    /// Connections at a time
    #[arg(long)]
    pub(crate) parallel: usize,
    #[arg(long, value_parser = seconds)]
    pub(crate) warm_up: Duration,
    #[arg(long, value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// The process whose CPU time and memory to read
    #[arg(long)]
    pub(crate) watch: Option<u32>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(number) {
        Ok(Duration::ZERO) | Err(_) => Err("must be more than zero seconds".to_owned()),
        Ok(duration) => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn seconds_are_positive() {
        for wrong in ["0", "-1", "NaN", "inf", "1s", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn several_groups_in_one_option() {
        let args = Args::parse_from(["inpod-bench", "--only", "bulk,idle"]);
        assert_eq!(args.only, [Group::Bulk, Group::Idle]);
    }
}
