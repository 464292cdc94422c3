//! Socket: a conversation with the kernel in which nothing waits or grows without end.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::sockopt;

use crate::error::KernelError;

use super::extended_ack;

/// How long to wait for an answer. The kernel answers within the call that asks, or nearly so.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the kernel takes in one message without being asked for more, in bytes: the least of its default
/// (`net.core.wmem_default`), less what it counts for itself.
const SHORT: usize = 128 * 1024;
/// The longest datagram that comes, in bytes: the kernel makes none longer for a dump (`NLMSG_GOODSIZE` and
/// `netlink_dump`), and single answers are far shorter.
const MAX_DATAGRAM: usize = 32 * 1024;
/// The most messages in the answer to one request: some hundred times the rules and routes of a busy pod.
const MAX_MESSAGES: usize = 65_536;
/// The sender of what the kernel sends (`netlink(7)`).
const KERNEL: u32 = 0;

/// A conversation about one subsystem, in the network namespace in which it was opened: questions `Q`, answers `A`.
pub(super) struct Conversation<Q, A> {
    socket: Socket,
    sequence: u32,
    datagram: Vec<u8>,
    messages: PhantomData<(Q, A)>,
}

/// A message and the flags with which it is sent.
pub(super) struct Request<Q> {
    pub(super) message: Q,
    pub(super) flags: u16,
}

/// The answer to a dump, and whether it is consistent.
pub(super) enum Dump<A> {
    Settled(Vec<A>),
    /// Something changed while it was being written (`NLM_F_DUMP_INTR`), or part of it was lost.
    Interrupted,
}

/// A transaction that the kernel refused, at a message of it or as a whole.
pub(super) struct Aborted {
    pub(super) at: Option<usize>,
    pub(super) error: KernelError,
}

impl<Q, A> Conversation<Q, A>
where
    Q: NetlinkSerializable,
    A: NetlinkDeserializable,
{
    /// Opens a conversation with this netlink family (`NETLINK_*`).
    pub(super) fn open(family: isize) -> Result<Self, KernelError> {
        let open = || {
            let mut socket = Socket::new(family)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(KERNEL, 0))?;
            // Errors come with words, and without an echo of the message.
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            socket2::SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let socket = open().map_err(KernelError::Open)?;
        Ok(Self { socket, sequence: 0, datagram: Vec::with_capacity(MAX_DATAGRAM), messages: PhantomData })
    }

    /// From now on the kernel reads all of a question, and answers a dump with what was asked for only. Kernels
    /// before 4.20 do not know this; the answers are then longer.
    pub(super) fn ask_strictly(&self) {
        let _ = self.socket.set_netlink_get_strict_chk(true);
    }

    /// Asks the kernel to do something, and waits until it has.
    pub(super) fn command(&mut self, request: Request<Q>) -> Result<(), KernelError> {
        let sequence = self.send_one(request.message, request.flags | NLM_F_ACK)?;
        self.receive(|header, answer| match answer {
            Answer::Error(error) if header.sequence_number == sequence => Some(error.into_result(header)),
            _ => None,
        })?
    }

    /// Asks for one thing.
    pub(super) fn ask(&mut self, message: Q) -> Result<A, KernelError> {
        let sequence = self.send_one(message, 0)?;
        self.receive(|header, answer| {
            if header.sequence_number != sequence {
                return None;
            }
            match answer {
                Answer::Inner(message) => Some(Ok(message)),
                Answer::Error(error) => Some(error.into_result(header).and(Err(KernelError::Incomplete))),
                Answer::Done(_) => Some(Err(KernelError::Incomplete)),
                Answer::Lost => None,
            }
        })?
    }

    /// Asks for all things of a kind.
    pub(super) fn dump(&mut self, message: Q) -> Result<Dump<A>, KernelError> {
        let sequence = self.send_one(message, NLM_F_DUMP)?;
        let mut messages = Vec::new();
        let mut settled = true;
        self.receive(|header, answer| {
            if matches!(answer, Answer::Lost) {
                settled = false;
                return None;
            }
            if header.sequence_number != sequence {
                return None;
            }
            settled &= header.flags & NLM_F_DUMP_INTR == 0;
            match answer {
                Answer::Inner(message) => messages.push(message),
                Answer::Done(code) if code < 0 => {
                    let source = io::Error::from_raw_os_error(code.saturating_neg());
                    return Some(Err(KernelError::Refused { explanation: None, source }));
                }
                Answer::Error(error) => {
                    return Some(error.into_result(header).and(Err(KernelError::Incomplete)));
                }
                Answer::Done(_) | Answer::Lost => return Some(Ok(())),
            }
            None
        })??;
        Ok(if settled { Dump::Settled(messages) } else { Dump::Interrupted })
    }

    /// Sends messages as one transaction, between these two, and waits until it is done or refused.
    ///
    /// Only the last message asks for an acknowledgement: the kernel reports every error anyhow, and as many
    /// acknowledgements as messages could be more than the socket's buffer holds.
    ///
    /// One that does not end changes nothing: the kernel tells what it would refuse, and forgets the rest.
    pub(super) fn transact(
        &mut self,
        begin: Q,
        messages: Vec<Request<Q>>,
        end: Option<Q>,
    ) -> Result<(), Aborted> {
        let whole = |error| Aborted { at: None, error };
        let count = messages.len();
        let mut bytes = Vec::new();
        let first = self.write(&mut bytes, begin, NLM_F_REQUEST);
        let mut last = first;
        for (index, request) in messages.into_iter().enumerate() {
            let ack = if index + 1 == count { NLM_F_ACK } else { 0 };
            last = self.write(&mut bytes, request.message, request.flags | NLM_F_REQUEST | ack);
        }
        if let Some(end) = end {
            self.write(&mut bytes, end, NLM_F_REQUEST);
        }
        if bytes.len() > SHORT {
            self.make_room(bytes.len());
        }
        self.send(&bytes).map_err(whole)?;

        let mut earliest: Option<Aborted> = None;
        let outcome = self.receive(|header, answer| {
            let Answer::Error(error) = answer else { return None };
            let index = header.sequence_number.checked_sub(first)?;
            if header.sequence_number > last {
                return None;
            }
            // The first message stands for the transaction as a whole; its answer is the last one.
            let at = index.checked_sub(1).and_then(|index| usize::try_from(index).ok());
            if let Err(error) = error.into_result(header) {
                earliest.get_or_insert(Aborted { at, error });
            }
            (header.sequence_number == last || header.sequence_number == first).then_some(())
        });
        match (earliest, outcome) {
            (Some(aborted), _) => Err(aborted),
            (None, outcome) => outcome.map_err(whole),
        }
    }

    /// Sends a transaction of nothing. The kernel does transactions one after the other, and has done this one when it has been
    /// sent: so what was going on before is over.
    pub(super) fn wait_for_others(&mut self, begin: Q, end: Q) -> Result<(), KernelError> {
        let mut bytes = Vec::new();
        self.write(&mut bytes, begin, NLM_F_REQUEST);
        self.write(&mut bytes, end, NLM_F_REQUEST);
        self.send(&bytes)
    }

    /// Makes room for a message of this length. Only who has `CAP_NET_ADMIN` in the initial user namespace has more than
    /// twice `net.core.wmem_max`; a message that finds no room is refused with `EMSGSIZE`.
    fn make_room(&self, length: usize) {
        let length = 2 * length;
        if nix::sys::socket::setsockopt(&self.socket, sockopt::SndBufForce, &length).is_err() {
            let _ = socket2::SockRef::from(&self.socket).set_send_buffer_size(length);
        }
    }

    fn send_one(&mut self, message: Q, flags: u16) -> Result<u32, KernelError> {
        let mut bytes = Vec::new();
        let sequence = self.write(&mut bytes, message, flags | NLM_F_REQUEST);
        self.send(&bytes)?;
        Ok(sequence)
    }

    /// Appends a message with the next sequence number, which tells its answers from all others.
    fn write(&mut self, bytes: &mut Vec<u8>, message: Q, flags: u16) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len(), 0);
        if let Some(place) = bytes.get_mut(start..) {
            message.serialize(place);
        }
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> Result<(), KernelError> {
        retry(|| self.socket.send(bytes, 0)).map(drop).map_err(KernelError::Send)
    }

    /// Receives until `take` has what it wants.
    fn receive<T>(
        &mut self,
        mut take: impl FnMut(&NetlinkHeader, Answer<A>) -> Option<T>,
    ) -> Result<T, KernelError> {
        let mut budget = MAX_MESSAGES;
        loop {
            let mut rest = match self.receive_datagram() {
                Ok(Some(length)) => self.datagram.get(..length).unwrap_or_default(),
                Ok(None) => &[],
                Err(error) if is(&error, libc::ENOBUFS) => {
                    budget = budget.saturating_sub(1);
                    if let Some(taken) = take(&NetlinkHeader::default(), Answer::Lost) {
                        return Ok(taken);
                    }
                    &[]
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(KernelError::TimedOut(PATIENCE));
                }
                Err(error) if is(&error, libc::EMSGSIZE) => {
                    return Err(KernelError::TooLong { limit: MAX_DATAGRAM });
                }
                Err(error) => return Err(KernelError::Receive(error)),
            };
            while !rest.is_empty() {
                budget = budget.checked_sub(1).ok_or(KernelError::TooLong { limit: MAX_MESSAGES })?;
                let message = NetlinkMessage::<A>::deserialize(rest)
                    .map_err(|error| KernelError::Undecodable(error.into()))?;
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                let (header, payload) = message.into_parts();
                if let Some(taken) = Answer::of(payload).and_then(|answer| take(&header, answer)) {
                    return Ok(taken);
                }
            }
            if budget == 0 {
                return Err(KernelError::TooLong { limit: MAX_MESSAGES });
            }
        }
    }

    /// The length of the next datagram, or nothing when it did not come from the kernel.
    fn receive_datagram(&mut self) -> io::Result<Option<usize>> {
        self.datagram.clear();
        let (length, sender) = retry(|| self.socket.recv_from(&mut self.datagram, libc::MSG_TRUNC))?;
        if length > self.datagram.len() {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        Ok((sender.port_number() == KERNEL).then_some(length))
    }
}

/// A message from the kernel, as far as a conversation tells them apart.
enum Answer<A> {
    Inner(A),
    Error(ErrorMessage),
    Done(i32),
    Lost,
}

impl<A> Answer<A> {
    fn of(payload: NetlinkPayload<A>) -> Option<Self> {
        match payload {
            NetlinkPayload::InnerMessage(message) => Some(Self::Inner(message)),
            NetlinkPayload::Error(error) => Some(Self::Error(error)),
            NetlinkPayload::Done(done) => Some(Self::Done(done.code)),
            NetlinkPayload::Overrun(_) => Some(Self::Lost),
            _ => None,
        }
    }
}

/// An error message is an acknowledgement when its error is none.
trait IntoResult {
    fn into_result(self, header: &NetlinkHeader) -> Result<(), KernelError>;
}

impl IntoResult for ErrorMessage {
    fn into_result(self, header: &NetlinkHeader) -> Result<(), KernelError> {
        if self.code.is_none() {
            return Ok(());
        }
        let explanation = extended_ack::words(header.flags, &self.header);
        Err(KernelError::Refused { explanation, source: self.to_io() })
    }
}

fn is(error: &io::Error, number: i32) -> bool {
    error.raw_os_error() == Some(number)
}

/// A signal is no reason to give up; so many are (an interval timer can fire between each two attempts).
fn retry<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const ATTEMPTS: usize = 1000;
    let mut outcome = attempt();
    for _ in 1..ATTEMPTS {
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => outcome = attempt(),
            settled => return settled,
        }
    }
    outcome
}
