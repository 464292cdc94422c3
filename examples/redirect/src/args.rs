//! The command line.

use std::net::SocketAddr;

use clap::{Subcommand, ValueEnum};

use crate::backend::Backend;
use crate::explain::Source;
use crate::node::{Level, Probes};
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
    /// Print the rules; touches nothing
    Show {
        /// As what
        #[arg(long, value_enum, default_value_t = Format::Nft)]
        format: Format,
        #[command(flatten)]
        options: Options,
    },
    /// Put the rules in place, and prove that they are there
    Apply {
        /// Say what is missing, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Then take away the rules of Istio's node agent, of any of its versions, whose connections live on
        #[arg(long, conflicts_with = "dry_run")]
        replace_istio: bool,
        /// What becomes of the connections of a pod that runs already [default: they are reset at their next packet]
        #[arg(long, value_enum, conflicts_with_all = ["dry_run", "backend"])]
        existing: Option<Existing>,
        /// By what
        #[arg(long, value_enum, default_value_t = Backend::Nftables)]
        backend: Backend,
        /// The namespace: a path, or the number of a process that is in it [default: this one]
        #[arg(long, value_name = "PATH|PID", default_value_t)]
        netns: Place,
        #[command(flatten)]
        options: Options,
    },
    /// Tell whether the rules are in place, whole and alone
    Verify {
        /// By what
        #[arg(long, value_enum, default_value_t = Backend::Nftables)]
        backend: Backend,
        /// The namespace: a path, or the number of a process that is in it [default: this one]
        #[arg(long, value_name = "PATH|PID", default_value_t)]
        netns: Place,
        #[command(flatten)]
        options: Options,
    },
    /// Tell what becomes of the first packet of a connection, which rules decide it, and how many packets they have met
    Explain {
        /// Who opens it: `app`, `proxy`, or the address of a peer
        #[arg(value_name = "SRC")]
        source: Source,
        /// To where: ADDRESS:PORT
        #[arg(value_name = "DST")]
        destination: SocketAddr,
        /// By UDP instead of TCP
        #[arg(long)]
        udp: bool,
        /// The namespace: a path, or the number of a process that is in it [default: this one]
        #[arg(long, value_name = "PATH|PID", default_value_t)]
        netns: Place,
        #[command(flatten)]
        options: Options,
    },
    /// End the capture of new connections, and let captured ones go on; `remove` takes the rest away
    Drain {
        /// The namespace: a path, or the number of a process that is in it [default: this one]
        #[arg(long, value_name = "PATH|PID", default_value_t)]
        netns: Place,
        #[command(flatten)]
        options: Options,
    },
    /// Forget which connections were kept, as far as they are over
    Forget {
        /// The namespace: a path, or the number of a process that is in it [default: this one]
        #[arg(long, value_name = "PATH|PID", default_value_t)]
        netns: Place,
        #[command(flatten)]
        options: Options,
    },
    /// Take the rules away; those of others stay
    Remove {
        /// By what
        #[arg(long, value_enum, default_value_t = Backend::Nftables)]
        backend: Backend,
        /// The namespace: a path, or the number of a process that is in it [default: this one]
        #[arg(long, value_name = "PATH|PID", default_value_t)]
        netns: Place,
        #[command(flatten)]
        options: Options,
    },
    /// On the node: health probes for captured pods take the address by which pods know them
    Probes(Probes),
    /// On the node: capture there instead of in pods, for a proxy behind the links istioout and istioin, or in that namespace
    NodeLevel(Level),
}

/// What becomes of the connections that are there already.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Existing {
    /// They go on past the proxy until they end
    Keep,
    /// They end now
    Reset,
}

/// As what rules are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Text for `nft -f -`
    Nft,
    /// Text for `iptables-restore --noflush`
    Iptables,
    /// Text for `ip6tables-restore --noflush`
    Ip6tables,
    /// The path of a packet: what it meets, hook by hook
    Path,
}
