//! Packets: ZDS messages over a `SOCK_SEQPACKET` socket, with the descriptors that come with them.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio_seqpacket::UnixSeqpacket;
use tokio_seqpacket::ancillary::{AncillaryMessageWriter, OwnedAncillaryMessage};

use super::message::MAX_MESSAGE;
use crate::listeners::MOST_SOCKETS;

/// One packet as it came.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Why no packet could be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The socket failed.
    #[error("reading the socket")]
    Socket(#[source] io::Error),
    /// The message is longer than the protocol allows.
    #[error("a message of more than {limit} bytes")]
    TooLong {
        /// How long it may be.
        limit: usize,
    },
    /// More descriptors came with it than any message has; all were closed.
    #[error("more than {MOST_DESCRIPTORS} descriptors with a message")]
    TooManyDescriptors,
}

/// A pod's namespace, and its listeners.
const MOST_DESCRIPTORS: usize = 1 + MOST_SOCKETS;

/// Room for control data: 16 bytes and 4 for each descriptor (cmsg(3)). What does not fit the kernel closes, and says so.
const CONTROL: usize = 16 + (4 * MOST_DESCRIPTORS).next_multiple_of(8);

/// The next packet; `None` when the peer has closed. Cancel safe: a packet is taken whole or not at all.
pub(super) async fn receive(socket: &UnixSeqpacket) -> Result<Option<Packet>, PacketError> {
    receive_within(socket, MAX_MESSAGE).await
}

/// The same, for a packet that may be so long.
pub(super) async fn receive_within(
    socket: &UnixSeqpacket,
    limit: usize,
) -> Result<Option<Packet>, PacketError> {
    let mut bytes = vec![0; limit];
    let mut control = [0; CONTROL];
    let mut data = [io::IoSliceMut::new(&mut bytes)];
    let received = socket.recv_vectored_with_ancillary(&mut data, &mut control).await;
    let (info, ancillary) = received.map_err(PacketError::Socket)?;
    // Taken first, so that whatever is wrong with the packet, its descriptors are owned here and closed.
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in ancillary.into_messages() {
        if let OwnedAncillaryMessage::FileDescriptors(fds) = message {
            descriptors.extend(fds);
        }
    }
    if info.ancillary_truncated() || descriptors.len() > MOST_DESCRIPTORS {
        return Err(PacketError::TooManyDescriptors);
    }
    if info.truncated() {
        return Err(PacketError::TooLong { limit });
    }
    // A zero-length packet cannot be told from the end of the stream, and no message of the protocol is empty.
    if info.bytes_read() == 0 {
        return Ok(None);
    }
    bytes.truncate(info.bytes_read());
    Ok(Some(Packet { bytes, descriptors }))
}

/// Sends one message, and descriptors with it.
pub(super) async fn send(
    socket: &UnixSeqpacket,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut control = [0; CONTROL];
    let mut ancillary = AncillaryMessageWriter::new(&mut control);
    if !descriptors.is_empty() {
        let added = ancillary.add_fds(descriptors);
        added.map_err(|_| io::Error::other("no room for the descriptors"))?;
    }
    socket.send_vectored_with_ancillary(&[io::IoSlice::new(bytes)], &mut ancillary).await.map(|_| ())
}
