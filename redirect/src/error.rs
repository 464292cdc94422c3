//! The errors of the operations, each with the conversation with the kernel as its source.

use std::error::Error;
use std::io;
use std::time::Duration;

use crate::compare::Difference;
use crate::interface::InterfaceName;
use crate::piece::Piece;

/// Why a plan could not be applied, or not be proved to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The kernel could not be asked about the namespace. Nothing was changed.
    #[error("cannot look at the namespace")]
    Look(#[source] KernelError),
    /// The namespace's loopback interface is down. Nothing was changed: captured traffic goes by it, and routes
    /// by it would be lost. Bring it up first.
    #[error("the loopback interface of the namespace is down")]
    LoopbackDown,
    /// The kernel did not take a piece of the plan. What was set up before is taken back; rules that an earlier
    /// apply had put there are still there.
    #[error("the kernel did not take {piece}")]
    Rejected {
        /// The piece.
        piece: Box<Piece>,
        /// What the kernel said.
        #[source]
        source: KernelError,
    },
    /// As [`Rejected`](Self::Rejected), but some of what was set up before could not be taken back.
    #[error("could not take back {} after a failure", list(.left))]
    NotTakenBack {
        /// What is left behind.
        left: Vec<Piece>,
        /// The failure.
        #[source]
        source: Box<Self>,
    },
    /// Everything was sent and taken, but could not be read back. The rules are left in place: traffic fails
    /// rather than escape capture.
    #[error("cannot read back what was applied")]
    Unproven(#[source] KernelError),
    /// Everything was sent and taken, but what is there now is something else. It is left in place, for the
    /// same reason.
    #[error("what is in the namespace after applying is not as planned: {}", list(.0))]
    NotAsPlanned(Vec<Difference>),
}

/// Why it could not be told whether a plan is in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The kernel could not be asked about the namespace.
    #[error("cannot look at the namespace")]
    Look(#[source] KernelError),
}

/// Why a plan could not be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The kernel could not be asked about the namespace. Nothing was changed.
    #[error("cannot look at the namespace")]
    Look(#[source] KernelError),
    /// The kernel did not let go of a piece. What comes before it in the order of removal (rules of the
    /// firewall, policy rules, routes) is removed.
    #[error("the kernel did not let go of {piece}")]
    Refused {
        /// The piece.
        piece: Box<Piece>,
        /// What the kernel said.
        #[source]
        source: KernelError,
    },
}

/// What went wrong in a conversation with the kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The socket could not be made. `EPROTONOSUPPORT`: this kernel has no such subsystem.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The message could not be sent.
    #[error("cannot send to the kernel")]
    Send(#[source] io::Error),
    /// The answer could not be received.
    #[error("cannot receive from the kernel")]
    Receive(#[source] io::Error),
    /// No answer came.
    #[error("the kernel did not answer within {0:?}")]
    TimedOut(Duration),
    /// The kernel refused. `EPERM`: `CAP_NET_ADMIN` is missing in the namespace's user namespace.
    #[error("refused{}", words(.explanation.as_deref()))]
    Refused {
        /// The kernel's own words, when it has any.
        explanation: Option<String>,
        /// The error number.
        #[source]
        source: io::Error,
    },
    /// The answer is longer than the largest one expected, in bytes or messages.
    #[error("the answer is longer than {limit}")]
    TooLong {
        /// The largest.
        limit: usize,
    },
    /// The answer cannot be understood.
    #[error("cannot understand the kernel's answer")]
    Undecodable(#[source] Box<dyn Error + Send + Sync>),
    /// The kernel ended its answer without the part asked for.
    #[error("the kernel's answer lacks what was asked for")]
    Incomplete,
    /// There is no interface of this name.
    #[error("there is no interface {0}")]
    NoInterface(InterfaceName),
    /// What is being read changed during each of so many attempts.
    #[error("what is read keeps changing, after {attempts} attempts")]
    Unsettled {
        /// The attempts.
        attempts: u32,
    },
}

impl KernelError {
    /// The error number with which the kernel refused, if it did.
    pub(crate) fn refusal(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

fn words(explanation: Option<&str>) -> String {
    explanation.map(|words| format!(": {words}")).unwrap_or_default()
}

pub(crate) fn list<T: ToString>(things: &[T]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
