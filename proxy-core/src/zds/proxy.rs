//! The proxy's side of ZDS: connects to the agent, does what it asks, and connects again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netns::Namespace;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_seqpacket::UnixSeqpacket;
use tokio_util::sync::CancellationToken;

use super::extensions::Extensions;
use super::message::{Hello, MessageError, Request, Response};
use super::packet::{self, Packet, PacketError};
use super::session::{Descriptor, ProtocolError, Session, Step};
use crate::node::Node;
use crate::report::Causes;
use crate::workload::{PodName, Uid};

/// First wait before connecting again.
const FIRST_DELAY: Duration = Duration::from_millis(10);
/// Longest wait before connecting again (15 s, ztunnel's).
const LONGEST_DELAY: Duration = Duration::from_secs(15);
/// How often pods that could not be started are tried again (5 s, ztunnel's).
const RETRY: Duration = Duration::from_secs(5);

/// What this proxy is.
const HELLO: Hello = Hello { extensions: Extensions::LISTENERS.and(Extensions::EXPLAIN), ..Hello::V1 };

/// How far the proxy serves what the agent wants served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Status {
    /// Whether the agent, on the connection that is open now, has named all its pods.
    pub synced: bool,
    /// Pods that are served.
    pub serving: usize,
    /// Pods that could not be started, and are tried again.
    pub pending: usize,
}

impl Status {
    /// Whether every pod that the agent wants is served.
    #[must_use]
    pub fn is_ready(self) -> bool {
        self.synced && self.pending == 0
    }
}

/// Why a connection to the agent ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum SessionError {
    #[error("reading from the agent")]
    Packet(#[source] PacketError),
    #[error("the agent's message")]
    Message(#[source] MessageError),
    #[error("the agent broke the protocol")]
    Protocol(#[source] ProtocolError),
    #[error("answering the agent")]
    Answer(#[source] io::Error),
}

/// Follows the agent at a socket path.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    node: Node,
    /// Pods that could not be started yet, with the namespaces that they are to be served in.
    pending: BTreeMap<Uid, (PodName, Namespace)>,
    status: watch::Sender<Status>,
}

impl Follower {
    /// Will serve the pods of the agent at `path` on `node`.
    #[must_use]
    pub fn new(path: &Path, node: Node) -> Self {
        Self {
            path: path.to_owned(),
            node,
            pending: BTreeMap::new(),
            status: watch::Sender::new(Status::default()),
        }
    }

    /// Tells how far it is, whenever that changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Follows the agent until `stop`, and hands the node back with its pods running.
    pub async fn run(mut self, stop: &CancellationToken) -> Node {
        let mut delay = FIRST_DELAY;
        while !stop.is_cancelled() {
            let connected = tokio::select! {
                () = stop.cancelled() => break,
                connected = UnixSeqpacket::connect(&self.path) => connected,
            };
            match connected {
                Ok(socket) => {
                    tracing::info!(path = %self.path.display(), "connected to the agent");
                    let steady = self.follow(&socket, stop).await;
                    self.pending.clear();
                    if steady {
                        delay = FIRST_DELAY;
                    }
                }
                Err(error) => tracing::warn!(path = %self.path.display(), %error, "connecting to the agent"),
            }
            self.announce(false);
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(delay) => delay = (delay * 2).min(LONGEST_DELAY),
            }
        }
        self.node
    }

    /// Serves one connection; tells whether it came as far as a complete snapshot.
    async fn follow(&mut self, socket: &UnixSeqpacket, stop: &CancellationToken) -> bool {
        let mut session = Session::new();
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.converse(socket, &mut session) => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(error = %Causes(&error), "the agent's connection is closed");
        }
        session.is_steady()
    }

    async fn converse(&mut self, socket: &UnixSeqpacket, session: &mut Session) -> Result<(), SessionError> {
        packet::send(socket, &HELLO.encode(), &[]).await.map_err(SessionError::Answer)?;
        let mut retry = interval_at(Instant::now() + RETRY, RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let received = tokio::select! {
                received = packet::receive(socket) => received,
                _ = retry.tick() => {
                    self.retry();
                    self.announce(session.is_steady());
                    continue;
                }
            };
            let answer = match received.map_err(SessionError::Packet) {
                Ok(None) => return Ok(()),
                Ok(Some(packet)) => self.serve(packet, session),
                Err(error) => Err(error),
            };
            let (response, broken) = match answer {
                Ok(response) => (response, None),
                Err(error) => (Response::Nack(Causes(&error).to_string()), Some(error)),
            };
            self.announce(session.is_steady());
            packet::send(socket, &response.encode(), &[]).await.map_err(SessionError::Answer)?;
            if let Some(error) = broken {
                return Err(error);
            }
        }
    }

    /// Does what one packet asks. An error is one that the connection cannot go on after.
    fn serve(&mut self, packet: Packet, session: &mut Session) -> Result<Response, SessionError> {
        let request = Request::decode(&packet.bytes).map_err(SessionError::Message)?;
        let mut descriptors = packet.descriptors.into_iter();
        let namespace = descriptors.next();
        let had = if namespace.is_some() { Descriptor::Present } else { Descriptor::Absent };
        let step = session.take(request, had).map_err(SessionError::Protocol)?;
        Ok(match (step, namespace) {
            (Step::Start(uid, name), Some(namespace)) => {
                self.start(uid, name, namespace, descriptors.collect())
            }
            // A session starts nothing without a descriptor.
            (Step::Start(..), None) | (Step::Note, _) => Response::Ack,
            (Step::Explain(query), _) => match self.node.explain(&query) {
                Some(account) => Response::Explained(Box::new(account)),
                None => Response::Nack("the pod is not served".into()),
            },
            (Step::Stop(uid), _) => {
                self.pending.remove(&uid);
                self.node.delete(&uid);
                Response::Ack
            }
            (Step::Retain(named), _) => {
                self.pending.retain(|uid, _| named.contains(uid));
                self.node.retain(&named);
                Response::Ack
            }
        })
    }

    fn start(&mut self, uid: Uid, name: PodName, descriptor: OwnedFd, sockets: Vec<OwnedFd>) -> Response {
        self.pending.remove(&uid);
        let namespace = match Namespace::from_fd(descriptor) {
            Ok(namespace) => namespace,
            Err(error) => return refused(&uid, &error),
        };
        let added = if sockets.is_empty() {
            self.node.add(uid.clone(), name.clone(), namespace.clone())
        } else {
            self.node.add_listening(uid.clone(), name.clone(), namespace.clone(), sockets)
        };
        match added {
            Ok(()) => Response::Ack,
            Err(error) => {
                if error.may_pass() {
                    self.pending.insert(uid.clone(), (name, namespace));
                }
                refused(&uid, &error)
            }
        }
    }

    fn retry(&mut self) {
        let node = &mut self.node;
        self.pending
            .retain(|uid, (name, namespace)| node.add(uid.clone(), name.clone(), namespace.clone()).is_err());
    }

    fn announce(&self, synced: bool) {
        let status = Status { synced, serving: self.node.pods().count(), pending: self.pending.len() };
        let _ = self.status.send_replace(status);
    }
}

fn refused(uid: &str, error: &dyn std::error::Error) -> Response {
    let reason = Causes(error).to_string();
    tracing::warn!(%uid, %reason, "pod refused");
    Response::Nack(reason)
}
