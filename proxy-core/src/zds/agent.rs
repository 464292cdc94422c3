//! The agent's side of ZDS: listens for proxies and hands them pods. One request, one answer, with a time limit.
//!
//! This is the conversation with one proxy; [`crate::agent`] is who holds it, with several at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

use super::explanation::MAX_EXPLANATION;
use super::extensions::Extensions;
use super::message::{Hello, MAX_MESSAGE, MessageError, Request, Response};
use super::packet::{self, PacketError};
use crate::explain::{Account, Query};
use crate::listeners::Listeners;
use crate::local_socket::{self, BindError};
use crate::workload::{PodName, Uid};

/// Longest wait for a hello or an answer (5 s, istio-cni's).
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Listens for proxies at a socket path.
#[derive(Debug)]
pub struct Listener {
    listener: UnixSeqpacketListener,
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The proxy refuses, and says why. The connection goes on.
    #[error("the proxy refuses: {0}")]
    Refused(String),
    /// Who connected is neither root nor our own user.
    #[error("user {uid} is no proxy of this node")]
    Stranger {
        /// Its user.
        uid: u32,
    },
    /// The proxy does not understand such a request. It was not sent, and the connection goes on.
    #[error("the proxy does not understand this")]
    NotUnderstood,
    /// The request is longer than the protocol allows. It was not sent, and the connection goes on.
    #[error("a request of {actual} bytes; at most {MAX_MESSAGE} are allowed")]
    TooLong {
        /// How long it is, in bytes.
        actual: usize,
    },
    /// The proxy has said something that was not asked.
    #[error("the proxy says what it was not asked")]
    Unasked,
    /// The connection could not be taken.
    #[error("accepting a proxy")]
    Accept(#[source] io::Error),
    /// The request could not be sent.
    #[error("sending to the proxy")]
    Send(#[source] io::Error),
    /// The answer could not be read.
    #[error("reading from the proxy")]
    Packet(#[source] PacketError),
    /// The answer is no answer.
    #[error("the proxy's message")]
    Message(#[source] MessageError),
    /// The proxy has closed the connection.
    #[error("the proxy has closed the connection")]
    Closed,
    /// No answer came in time. A late one would be taken for the next request's, so the connection must not be used on.
    #[error("no answer within {}s", ANSWER_LIMIT.as_secs())]
    TimedOut,
}

impl RequestError {
    /// Whether it is about the request alone: the connection goes on.
    #[must_use]
    pub fn is_the_requests(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NotUnderstood | Self::TooLong { .. })
    }
}

impl Listener {
    /// Listens at `path`, as [`local_socket::bind`] has it: in a folder of its own, and in place of an agent that was there before.
    ///
    /// # Errors
    /// [`BindError`]. To be called inside a tokio runtime.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        Ok(Self { listener: local_socket::bind(path, |draft| UnixSeqpacketListener::bind(draft))? })
    }

    /// The next proxy that connects and says hello.
    ///
    /// # Errors
    /// [`RequestError`] of the accept or of that proxy's hello; the listener goes on.
    pub async fn accept(&mut self) -> Result<Connection, RequestError> {
        self.connected().await?.greeted().await
    }

    /// The next that connects. It may be slow to say hello, while others come.
    ///
    /// # Errors
    /// [`RequestError`]; the listener goes on.
    pub async fn connected(&mut self) -> Result<Connected, RequestError> {
        self.listener.accept().await.map(Connected).map_err(RequestError::Accept)
    }
}

/// A connection that nobody has said anything on.
#[derive(Debug)]
pub struct Connected(UnixSeqpacket);

impl Connected {
    /// Hears the proxy's hello.
    ///
    /// # Errors
    /// [`RequestError`], of a stranger too; the connection is closed then.
    pub async fn greeted(self) -> Result<Connection, RequestError> {
        let uid = self.0.peer_cred().map_err(RequestError::Accept)?.uid();
        if !local_socket::may_ask(uid) {
            return Err(RequestError::Stranger { uid });
        }
        let mut connection = Connection { socket: Some(self.0), extensions: Extensions::NONE };
        let hello = connection.receive(MAX_MESSAGE).await?;
        connection.extensions = Hello::decode(&hello).map_err(RequestError::Message)?.extensions;
        Ok(connection)
    }
}

/// A proxy that has said hello. After an error that [is not only the request's](RequestError::is_the_requests), it answers
/// [`RequestError::Closed`].
#[derive(Debug)]
pub struct Connection {
    socket: Option<UnixSeqpacket>,
    extensions: Extensions,
}

impl Connection {
    /// What the proxy understands beyond version 1.
    #[must_use]
    pub fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// Has the proxy serve a pod in `namespace`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn add(&mut self, uid: &str, name: &PodName, namespace: impl AsFd) -> Result<(), RequestError> {
        let request = Request::Add { uid: Uid::from(uid), name: name.clone() };
        self.ask(&request, &[namespace.as_fd()]).await
    }

    /// Has the proxy serve a pod in `namespace`, on listeners that the agent holds, too: connections wait there while there is no proxy.
    /// For proxies that say [`Extensions::LISTENERS`] only; others refuse it, or worse.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn add_listening(
        &mut self,
        uid: &str,
        name: &PodName,
        namespace: impl AsFd,
        listeners: &Listeners,
    ) -> Result<(), RequestError> {
        let request = Request::Add { uid: Uid::from(uid), name: name.clone() };
        let mut descriptors = vec![namespace.as_fd()];
        descriptors.extend(listeners.descriptors());
        self.ask(&request, &descriptors).await
    }

    /// Has the proxy keep a pod that it serves from before. Until [`snapshot_sent`](Self::snapshot_sent) only.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn keep(&mut self, uid: &str) -> Result<(), RequestError> {
        self.ask(&Request::Keep { uid: Uid::from(uid) }, &[]).await
    }

    /// Has the proxy stop serving a pod.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn delete(&mut self, uid: &str) -> Result<(), RequestError> {
        self.ask(&Request::Del { uid: Uid::from(uid) }, &[]).await
    }

    /// Says that all pods have been named: the proxy stops serving others.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn snapshot_sent(&mut self) -> Result<(), RequestError> {
        self.ask(&Request::SnapshotSent, &[]).await
    }

    /// Has the proxy say what would become of a connection, and why.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::NotUnderstood`] without [`Extensions::EXPLAIN`].
    pub async fn explain(&mut self, query: &Query) -> Result<Account, RequestError> {
        if !self.extensions.contains(Extensions::EXPLAIN) {
            return Err(RequestError::NotUnderstood);
        }
        let request = Request::Explain(query.clone());
        match self.answer(&request, &[], MAX_EXPLANATION).await? {
            Response::Explained(account) => Ok(*account),
            Response::Nack(reason) => Err(RequestError::Refused(reason)),
            Response::Ack => Err(self.out_of_step()),
        }
    }

    /// Waits until the connection is over, and says why. Between requests only a proxy that is gone has something to tell. Cancel safe.
    pub async fn closed(&mut self) -> RequestError {
        let Some(socket) = &self.socket else { return RequestError::Closed };
        let over = match packet::receive(socket).await {
            Ok(None) => RequestError::Closed,
            Ok(Some(_)) => RequestError::Unasked,
            Err(error) => RequestError::Packet(error),
        };
        self.socket = None;
        over
    }

    async fn ask(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), RequestError> {
        match self.answer(request, descriptors, MAX_MESSAGE).await? {
            Response::Ack => Ok(()),
            Response::Nack(reason) => Err(RequestError::Refused(reason)),
            Response::Explained(_) => Err(self.out_of_step()),
        }
    }

    /// The answer to a request, which may have so many bytes.
    async fn answer(
        &mut self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
        limit: usize,
    ) -> Result<Response, RequestError> {
        let bytes = request.encode();
        if bytes.len() > MAX_MESSAGE {
            return Err(RequestError::TooLong { actual: bytes.len() });
        }
        // Taken out, so that an error or a dropped future leaves no connection that is out of step.
        let socket = self.socket.take().ok_or(RequestError::Closed)?;
        let sending = timeout(ANSWER_LIMIT, packet::send(&socket, &bytes, descriptors)).await;
        sending.map_err(|_| RequestError::TimedOut)?.map_err(RequestError::Send)?;
        self.socket = Some(socket);
        let bytes = self.receive(limit).await?;
        Response::decode(&bytes).map_err(|error| {
            self.socket = None;
            RequestError::Message(error)
        })
    }

    /// The answer is one to another question.
    fn out_of_step(&mut self) -> RequestError {
        self.socket = None;
        RequestError::Unasked
    }

    async fn receive(&mut self, limit: usize) -> Result<Vec<u8>, RequestError> {
        let socket = self.socket.take().ok_or(RequestError::Closed)?;
        let received = timeout(ANSWER_LIMIT, packet::receive_within(&socket, limit))
            .await
            .map_err(|_| RequestError::TimedOut)?;
        let packet = received.map_err(RequestError::Packet)?.ok_or(RequestError::Closed)?;
        self.socket = Some(socket);
        Ok(packet.bytes)
    }
}
