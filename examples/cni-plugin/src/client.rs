//! The plugin's side of a request: connects to the agent, asks, and hears the answer, all within one time limit. It blocks:
//! the plugin has nothing else to do.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::attachment::NamespacePath;
use crate::configuration::Agent;
use crate::message::{Answer, MAX_ANSWER, MessageError, Request};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The container's namespace cannot be opened.
    #[error("cannot open the network namespace {}", path.as_path().display())]
    Namespace {
        /// Where it should be.
        path: NamespacePath,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The request cannot be said.
    #[error("the request")]
    Request(#[source] MessageError),
    /// The agent cannot be connected to.
    #[error("cannot reach the node agent at {}", socket.display())]
    Unreachable {
        /// Where it should listen.
        socket: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Who listens there is not the agent: neither root nor our own user.
    #[error("user {uid} listens in place of the node agent")]
    Stranger {
        /// Its user.
        uid: u32,
    },
    /// The connection broke before there was an answer.
    #[error("the connection to the node agent broke")]
    Broken(#[source] io::Error),
    /// There was no answer in time. The agent may have done what was asked, or not.
    #[error("the node agent did not answer within {}s", limit.as_secs())]
    TimedOut {
        /// How long it had.
        limit: Duration,
    },
    /// The agent has closed the connection without an answer.
    #[error("the node agent closed the connection without an answer")]
    Closed,
    /// What the agent says is no answer.
    #[error("the node agent's answer")]
    Garbled(#[source] MessageError),
}

/// Asks the agent, and hears its answer. The namespace at `path` goes along.
///
/// # Errors
/// [`AskError`]. Whether the agent has done what was asked is then not known.
pub fn ask(agent: &Agent, request: &Request, path: Option<&NamespacePath>) -> Result<Answer, AskError> {
    let namespace = path.map(open).transpose()?;
    let bytes = request.encode().map_err(AskError::Request)?;
    let call = Call::connect(agent)?;
    let sent = call.send(&bytes, namespace.as_ref().map(File::as_fd));
    // An agent that refuses before it has read everything answers and closes, which breaks our sending.
    match (call.receive(), sent) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), Err(source)) => Err(source),
        (Err(source), Ok(())) => Err(source),
    }
}

/// A runtime may name anything; a pipe or a terminal must not hold us up.
fn open(path: &NamespacePath) -> Result<File, AskError> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(i32::from_ne_bytes(flags.bits().to_ne_bytes()));
    options.open(path.as_path()).map_err(|source| AskError::Namespace { path: path.clone(), source })
}

/// One connection to the agent.
struct Call {
    socket: Socket,
    limit: Duration,
    started: Instant,
}

impl Call {
    fn connect(agent: &Agent) -> Result<Self, AskError> {
        let unreachable = |source| AskError::Unreachable { socket: agent.socket.clone(), source };
        let address = SockAddr::unix(&agent.socket).map_err(unreachable)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(unreachable)?;
        let call = Self { socket, limit: agent.limit, started: Instant::now() };
        // It bounds connecting too, which waits while the agent's queue is full (unix(7)).
        call.socket.set_write_timeout(Some(call.left()?)).map_err(unreachable)?;
        call.socket.connect(&address).map_err(unreachable)?;
        let peer =
            rustix::net::sockopt::socket_peercred(&call.socket).map_err(|errno| unreachable(errno.into()))?;
        if peer.uid.is_root() || peer.uid == rustix::process::geteuid() {
            Ok(call)
        } else {
            Err(AskError::Stranger { uid: peer.uid.as_raw() })
        }
    }

    /// All of the request, then the end of our side; the descriptor goes beside the first byte.
    fn send(&self, bytes: &[u8], namespace: Option<BorrowedFd<'_>>) -> Result<(), AskError> {
        let mut rest = bytes;
        let mut namespace = namespace;
        while !rest.is_empty() {
            self.socket.set_write_timeout(Some(self.left()?)).map_err(AskError::Broken)?;
            let sent = send_some(&self.socket, rest, namespace).map_err(|error| self.broken(error))?;
            rest = rest.get(sent..).unwrap_or_default();
            namespace = None;
        }
        self.socket.shutdown(Shutdown::Write).map_err(AskError::Broken)
    }

    fn receive(&self) -> Result<Answer, AskError> {
        let mut bytes = Vec::new();
        let mut piece = [0; MAX_ANSWER];
        loop {
            self.socket.set_read_timeout(Some(self.left()?)).map_err(AskError::Broken)?;
            match (&self.socket).read(&mut piece) {
                Ok(0) => return answer(&bytes),
                Ok(read) => bytes.extend(piece.iter().take(read)),
                // An agent that has not read all we said ends its answer like this. A part of an answer is none.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !bytes.is_empty() => {
                    return answer(&bytes);
                }
                Err(error) => return Err(self.broken(error)),
            }
            if bytes.len() > MAX_ANSWER {
                let (limit, actual) = (MAX_ANSWER, bytes.len());
                return Err(AskError::Garbled(MessageError::TooLong { limit, actual }));
            }
        }
    }

    /// The time that is left, which is never zero: to the kernel that would be for ever.
    fn left(&self) -> Result<Duration, AskError> {
        let left = self.limit.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero());
        left.ok_or(AskError::TimedOut { limit: self.limit })
    }

    /// A socket's time limit ends in `EAGAIN` (socket(7)).
    fn broken(&self, error: io::Error) -> AskError {
        match error.kind() {
            io::ErrorKind::WouldBlock => AskError::TimedOut { limit: self.limit },
            _ => AskError::Broken(error),
        }
    }
}

fn answer(bytes: &[u8]) -> Result<Answer, AskError> {
    if bytes.is_empty() { Err(AskError::Closed) } else { Answer::decode(bytes).map_err(AskError::Garbled) }
}

fn send_some(socket: &Socket, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let descriptors: Vec<_> = descriptor.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?)
}
