//! The command line.

use clap::Subcommand;

use crate::options::Options;
use crate::place::Place;

/// The capture rules of a pod: in-pod traffic redirection with the ports, marks and addresses of Istio's ambient mode.
///
/// Exit codes: 0 done, or as planned; 1 failed; 2 the command line makes no sense; 3 not as planned.
#[derive(Debug, clap::Parser)]
#[command(name = "inpod-redirect", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the rules as text for `nft -f -`; touches nothing
    Show {
        #[command(flatten)]
        options: Options,
    },
    /// Put the rules in place, and prove that they are there
    Apply {
        /// Say what is missing, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The namespace: a path, or the number of a process that is in it [default: this one]
        #[arg(long, value_name = "PATH|PID", default_value_t)]
        netns: Place,
        #[command(flatten)]
        options: Options,
    },
    /// Tell whether the rules are in place, whole and alone
    Verify {
        /// The namespace: a path, or the number of a process that is in it [default: this one]
        #[arg(long, value_name = "PATH|PID", default_value_t)]
        netns: Place,
        #[command(flatten)]
        options: Options,
    },
    /// Take the rules away; those of others stay
    Remove {
        /// The namespace: a path, or the number of a process that is in it [default: this one]
        #[arg(long, value_name = "PATH|PID", default_value_t)]
        netns: Place,
        #[command(flatten)]
        options: Options,
    },
}
