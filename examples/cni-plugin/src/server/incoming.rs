//! A request as it comes in: read within bounds, and believed only as far as it can be checked.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use netns::{Namespace, NamespaceId, OpenError};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::{Checked, Present};
use crate::message::{Answer, MAX_REQUEST, MessageError, Placed, Request};

/// Why a request is not even put to the handler.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("user {uid} may not ask")]
    Stranger { uid: u32 },
    #[error("the request did not come in time")]
    Slow,
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("a request of more than {MAX_REQUEST} bytes")]
    TooLong,
    #[error("more than one descriptor came with the request")]
    Descriptors,
    #[error("the request")]
    Message(#[source] MessageError),
    #[error("no namespace came with the request")]
    NoNamespace,
    #[error("a descriptor came with a request that has no use for it")]
    NoUse,
    #[error("what came with the request")]
    Namespace(#[source] OpenError),
    #[error("the namespace is the node's own")]
    Nodes,
}

impl RequestError {
    /// The one place that says what the asking side is told.
    pub(super) fn answer(&self) -> Answer {
        let mut why = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a string does not fail.
            let _ = write!(why, ": {error}");
            cause = error.source();
        }
        match self {
            Self::Slow | Self::Broken(_) => Answer::try_again(why),
            Self::Namespace(OpenError::NotNamespace { .. } | OpenError::NotNetwork { .. }) => {
                Answer::refused(why)
            }
            // We could not look at it: that says nothing about what was sent.
            Self::Namespace(_) => Answer::try_again(why),
            Self::Stranger { .. }
            | Self::TooLong
            | Self::Descriptors
            | Self::Message(_)
            | Self::NoNamespace
            | Self::NoUse
            | Self::Nodes => Answer::refused(why),
        }
    }
}

/// What was sent, before it is understood.
#[derive(Debug)]
struct Raw {
    bytes: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

/// Reads a request to its end and checks it against the node's own namespace.
pub(super) async fn receive(stream: &UnixStream, node: NamespaceId) -> Result<Checked, RequestError> {
    let raw = read(stream).await?;
    let request = Request::decode(&raw.bytes).map_err(RequestError::Message)?;
    check(request, raw.descriptor, node)
}

fn check(request: Request, descriptor: Option<OwnedFd>, node: NamespaceId) -> Result<Checked, RequestError> {
    match (request, descriptor) {
        (Request::Add(placed), Some(descriptor)) => present(placed, descriptor, node).map(Checked::Add),
        (Request::Check(placed), Some(descriptor)) => present(placed, descriptor, node).map(Checked::Check),
        (Request::Add(_) | Request::Check(_), None) => Err(RequestError::NoNamespace),
        (Request::Del(leaving), None) => Ok(Checked::Del(leaving)),
        (Request::Gc(valid), None) => Ok(Checked::Gc(valid)),
        (Request::Status, None) => Ok(Checked::Status),
        (Request::Del(_) | Request::Gc(_) | Request::Status, Some(_)) => Err(RequestError::NoUse),
    }
}

/// Rules in the node's own namespace would capture the node.
fn present(placed: Placed, descriptor: OwnedFd, node: NamespaceId) -> Result<Present, RequestError> {
    let namespace = Namespace::from_fd(descriptor).map_err(RequestError::Namespace)?;
    if namespace.id() == node {
        return Err(RequestError::Nodes);
    }
    Ok(Present { placed, namespace })
}

async fn read(stream: &UnixStream) -> Result<Raw, RequestError> {
    let mut raw = Raw { bytes: Vec::new(), descriptor: None };
    loop {
        let some = stream.async_io(Interest::READABLE, || read_some(stream)).await;
        let (bytes, descriptors) = some.map_err(RequestError::Broken)??;
        for descriptor in descriptors {
            if raw.descriptor.replace(descriptor).is_some() {
                return Err(RequestError::Descriptors);
            }
        }
        if bytes.is_empty() {
            return Ok(raw);
        }
        raw.bytes.extend(bytes);
        if raw.bytes.len() > MAX_REQUEST {
            return Err(RequestError::TooLong);
        }
    }
}

/// One read's worth of bytes. An ADD needs less.
const PIECE_BYTES: usize = 4096;

type Piece = Result<(Vec<u8>, Vec<OwnedFd>), RequestError>;

/// Room is for two descriptors: of more the kernel closes those that do not fit, and says so (`MSG_CTRUNC`, recvmsg(2)).
fn read_some(stream: &UnixStream) -> io::Result<Piece> {
    let mut bytes = vec![0; PIECE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(stream, &mut data, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    // Taken first, so that whatever is wrong, the descriptors are owned here and closed.
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > 1 {
        return Ok(Err(RequestError::Descriptors));
    }
    bytes.truncate(received.bytes);
    Ok(Ok((bytes, descriptors)))
}
