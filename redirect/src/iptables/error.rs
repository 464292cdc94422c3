//! The errors of the iptables backend.

use std::ffi::OsStr;
use std::io;
use std::process::ExitStatus;

use crate::compare::Difference;
use crate::error::{ApplyError, KernelError, RemoveError, list};
use crate::family::Family;
use crate::piece::Piece;

/// Why iptables cannot say a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// It asks for a port, or does something with one, and names no protocol that has ports.
    #[error("it names no protocol that has ports")]
    NoProtocol,
    /// Its action is to be had in another table only.
    #[error("its action is not to be had in this table")]
    NotInTable,
    /// Its chain is where iptables has none.
    #[error("iptables has no chain there")]
    NoChain,
    /// It asks, of what is sent, whether its socket may have any address; and nothing else tells the proxy's answers from others.
    #[error("iptables cannot ask for the socket that sends, and the proxy is not known by its mark")]
    NoSender,
    /// It asks for a control group, which iptables knows by its path and tells by nothing else.
    #[error("control groups are known by nf_tables only")]
    NoCgroups,
    /// It sets how long a connection is remembered, and is not in the table raw.
    #[error("iptables sets timeouts in its table raw only")]
    NoTimeouts,
    /// It asks whether something is in a set.
    #[error("iptables itself has no sets")]
    NoSets,
}

/// A plan has a rule that iptables cannot say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("iptables cannot say {piece}: {obstacle}")]
#[non_exhaustive]
pub struct Unsayable {
    /// The rule, or its chain.
    pub piece: Box<Piece>,
    /// Why not.
    pub obstacle: Obstacle,
}

/// Why the programs of iptables cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no iptables here: looked for {} in {}", looked_for.join(", "), path)]
#[non_exhaustive]
pub struct NoProgram {
    /// The names.
    pub looked_for: Vec<String>,
    /// Where: a folder, or `PATH`.
    pub path: String,
}

impl NoProgram {
    pub(super) fn new(looked_for: &[String], path: &OsStr) -> Self {
        Self { looked_for: looked_for.to_vec(), path: path.to_string_lossy().into_owned() }
    }
}

/// What went wrong with a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// It could not be started, or not be spoken to.
    #[error("cannot speak to {program}")]
    Speak {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else held the lock of xtables for too long.
    #[error("{program}: somebody else has held the lock for {seconds} s")]
    Locked {
        /// Which.
        program: String,
        /// How long it was waited for.
        seconds: u32,
    },
    /// It ended without success.
    #[error("{program} did not take {}: {status}: {said}", piece.as_ref().map_or_else(|| "it".into(), ToString::to_string))]
    Refused {
        /// Which.
        program: String,
        /// The piece of the plan that it complained of, if it said of which.
        piece: Option<Box<Piece>>,
        /// How it ended.
        status: ExitStatus,
        /// The first 4 KiB of what it said.
        said: String,
    },
    /// What it said is no text.
    #[error("what {program} says is no text")]
    NoText {
        /// Which.
        program: String,
    },
}

/// Why a plan could not be applied by iptables, checked or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IptablesError {
    /// The plan has a rule that iptables cannot say. Nothing was changed.
    #[error(transparent)]
    Unsayable(#[from] Unsayable),
    /// The plan has rules of a family whose programs are not there. Nothing was changed.
    #[error(transparent)]
    NoProgram(#[from] NoProgram),
    /// The kernel could not be asked about the namespace.
    #[error("cannot look at the namespace")]
    Look(#[source] KernelError),
    /// The namespace's loopback interface is down. Nothing was changed.
    #[error("the loopback interface of the namespace is down")]
    LoopbackDown,
    /// A program failed. What it had done for one table or family stays: it captures, or changes nothing.
    #[error("the rules of {family}")]
    Program {
        /// For which family.
        family: Family,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// How long connections are remembered could not be asked or said.
    #[error("how long conntrack remembers connections")]
    Timeouts(#[source] KernelError),
    /// Routes or policy rules were not taken.
    #[error("routing")]
    Routing(#[source] Box<ApplyError>),
    /// Routes or policy rules were not let go of.
    #[error("routing")]
    RoutingStays(#[source] Box<RemoveError>),
    /// Everything was taken, but what is there now is something else. It is left in place: traffic fails rather than escape
    /// capture.
    #[error("what is in the namespace after applying is not as planned: {}", list(.0))]
    NotAsPlanned(Vec<Difference>),
}
