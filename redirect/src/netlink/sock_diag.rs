//! SockDiag: the TCP connections of a namespace, and their end.
//!
//! Sources: `linux/sock_diag.h`, `linux/inet_diag.h`, `sock_diag(7)`. Addresses and ports are in the network's order, all else in
//! the host's; nothing is aligned to more than its offset says, so it is read and written byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::error::KernelError;
use crate::family::Family;
use crate::live::{Ending, Listening, SocketName, TcpSocket, TcpState};

use super::socket::{Conversation, Dump, Request};
use super::unread;

/// A conversation about sockets.
pub(crate) struct SockDiag(Conversation<Question, Answer>);

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
/// `INET_DIAG_SKV6ONLY`, which each listener over IPv6 has.
const INET_DIAG_SKV6ONLY: u16 = 11;
/// `INET_DIAG_MARK`.
const INET_DIAG_MARK: u16 = 15;
/// `IPPROTO_TCP` (`linux/in.h`).
const TCP: u8 = 6;
/// `struct inet_diag_req_v2`: family, protocol, extensions, a pad, states, the socket.
const QUESTION_LEN: usize = 8 + SocketName::LEN;
/// `struct inet_diag_msg`: family, state, timer, retransmits, the socket, then five numbers: when a timer
/// ends, what waits to be read and to be sent (of a listener: to be accepted, and the most that can), the user, the inode.
const ANSWER_LEN: usize = 72;
const WAITING_AT: usize = 56;
const MOST_WAITING_AT: usize = 60;
const USER_AT: usize = 64;
/// Where the socket starts in the answer.
const SOCKET_AT: usize = 4;
/// How often to start again when the kernel says that its answer is not whole.
const ATTEMPTS: u32 = 5;

impl SockDiag {
    /// Opens it, in the namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, KernelError> {
        Conversation::open(NETLINK_SOCK_DIAG).map(Self)
    }

    /// The TCP connections of the namespace. One that opens or ends meanwhile is told of or not; and another can be
    /// missed, when it was next to one of those in the kernel's table.
    pub(crate) fn tcp_sockets(&mut self) -> Result<Vec<TcpSocket>, KernelError> {
        let states = TcpState::ALL.iter().fold(0, |states, state| states | 1 << state_number(*state));
        let connection = |answer| if let Answer::Connection(socket) = answer { Some(socket) } else { None };
        Ok(self.in_states(states)?.into_iter().filter_map(connection).collect())
    }

    /// The TCP sockets of the namespace that wait for connections.
    pub(crate) fn tcp_listeners(&mut self) -> Result<Vec<Listening>, KernelError> {
        let listener = |answer| if let Answer::Listener(socket) = answer { Some(socket) } else { None };
        Ok(self.in_states(1 << LISTEN)?.into_iter().filter_map(listener).collect())
    }

    fn in_states(&mut self, states: u32) -> Result<Vec<Answer>, KernelError> {
        let mut found = self.of_family(Family::V4, states)?;
        match self.of_family(Family::V6, states) {
            // A kernel without IPv6 has no sockets for it.
            Err(error) if error.refusal() == Some(libc::ENOENT) => {}
            outcome => found.extend(outcome?),
        }
        Ok(found)
    }

    fn of_family(&mut self, family: Family, states: u32) -> Result<Vec<Answer>, KernelError> {
        let question =
            Question { kind: BY_FAMILY, states, socket: SocketName { family, bytes: [0; SocketName::LEN] } };
        for _ in 0..ATTEMPTS {
            if let Dump::Settled(answers) = self.0.dump(question.clone())? {
                return Ok(answers);
            }
        }
        Err(KernelError::Unsettled { attempts: ATTEMPTS })
    }

    /// Ends a connection: its peer is sent a reset, and its owner here is told `ECONNABORTED`.
    pub(crate) fn end(&mut self, socket: &TcpSocket) -> Result<Ending, KernelError> {
        let message = Question { kind: DESTROY, states: 0, socket: socket.name };
        match self.0.command(Request { message, flags: 0 }) {
            Ok(()) => Ok(Ending::Done),
            Err(error) => match error.refusal() {
                Some(libc::ENOENT) => Ok(Ending::Gone),
                Some(libc::EOPNOTSUPP) => Ok(Ending::Unable),
                _ => Err(error),
            },
        }
    }
}

/// What the kernel is asked: about, or to end, what.
#[derive(Clone)]
struct Question {
    kind: u16,
    states: u32,
    socket: SocketName,
}

impl NetlinkSerializable for Question {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        QUESTION_LEN
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let family = address_family(self.socket.family);
        let head = [family, TCP, 0, 0].into_iter().chain(self.states.to_ne_bytes());
        for (place, byte) in buffer.iter_mut().zip(head.chain(self.socket.bytes)) {
            *place = byte;
        }
    }
}

/// What it answers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Connection(TcpSocket),
    Listener(Listening),
    /// A socket that is neither.
    Other,
}

impl NetlinkDeserializable for Answer {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let too_short = || DecodeError::buffer_too_small(payload.len(), ANSWER_LEN);
        let (head, attributes) = payload.split_at_checked(ANSWER_LEN).ok_or_else(too_short)?;
        let socket = socket(head, &Attributes::read(attributes)?);
        Ok(socket.unwrap_or(Self::Other))
    }
}

fn socket(head: &[u8], attributes: &Attributes) -> Option<Answer> {
    let family = Family::ALL.into_iter().find(|family| Some(&address_family(*family)) == head.first())?;
    let bytes: [u8; SocketName::LEN] = array(head, SOCKET_AT)?;
    let address = |at| -> Option<IpAddr> {
        Some(match family {
            Family::V4 => Ipv4Addr::from(array::<4>(&bytes, at)?).into(),
            Family::V6 => Ipv6Addr::from(array::<16>(&bytes, at)?).to_canonical(),
        })
    };
    let port = |at| array(&bytes, at).map(u16::from_be_bytes);
    let number = |at| array(head, at).map(u32::from_ne_bytes);
    let (local, mark, user) = (SocketAddr::new(address(4)?, port(0)?), attributes.mark, number(USER_AT)?);
    let state = *head.get(1)?;
    if state == LISTEN {
        let (waiting, most_waiting) = (number(WAITING_AT)?, number(MOST_WAITING_AT)?);
        let only_ipv6 = family == Family::V6 && attributes.only_ipv6;
        return Some(Answer::Listener(Listening { local, only_ipv6, mark, user, waiting, most_waiting }));
    }
    let state = TcpState::ALL.into_iter().find(|known| state_number(*known) == state)?;
    let remote = SocketAddr::new(address(20)?, port(2)?);
    Some(Answer::Connection(TcpSocket {
        local,
        remote,
        state,
        mark,
        user,
        name: SocketName { family, bytes },
    }))
}

/// What stands in an answer's attributes.
#[derive(Default)]
struct Attributes {
    mark: Option<u32>,
    only_ipv6: bool,
}

impl Attributes {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut read = Self::default();
        for attribute in unread::attributes(bytes) {
            let attribute = attribute?;
            let inside = unread::inside(&attribute);
            match attribute.kind() {
                INET_DIAG_MARK => read.mark = array(inside, 0).map(u32::from_ne_bytes),
                INET_DIAG_SKV6ONLY => read.only_ipv6 = inside.first().is_some_and(|only| *only != 0),
                _ => {}
            }
        }
        Ok(read)
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// `AF_INET` and `AF_INET6` (`linux/socket.h`).
const fn address_family(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// `TCP_LISTEN` (`net/tcp_states.h`).
const LISTEN: u8 = 10;

/// `TCP_*` (`net/tcp_states.h`), which are also the numbers of bits in a question.
const fn state_number(state: TcpState) -> u8 {
    match state {
        TcpState::Established => 1,
        TcpState::SynSent => 2,
        TcpState::SynReceived => 3,
        TcpState::FinWait1 => 4,
        TcpState::FinWait2 => 5,
        TcpState::CloseWait => 8,
        TcpState::LastAck => 9,
        TcpState::Closing => 11,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer, written by hand as the header files have it.
    fn answer(
        family: u8,
        state: u8,
        local: SocketAddr,
        remote: SocketAddr,
        user: u32,
        mark: Option<u32>,
    ) -> Vec<u8> {
        let mut bytes = vec![family, state, 0, 0];
        bytes.extend(local.port().to_be_bytes());
        bytes.extend(remote.port().to_be_bytes());
        for address in [local.ip(), remote.ip()] {
            let start = bytes.len();
            match address {
                IpAddr::V4(address) if family == 2 => bytes.extend(address.octets()),
                IpAddr::V4(address) => bytes.extend(address.to_ipv6_mapped().octets()),
                IpAddr::V6(address) => bytes.extend(address.octets()),
            }
            bytes.resize(start + 16, 0);
        }
        bytes.extend([0; 4 + 8 + 12]);
        bytes.extend(user.to_ne_bytes());
        bytes.extend([0; 4]);
        // Another attribute before it, of an odd length.
        bytes.extend([5, 0, 8, 0, 1, 0, 0, 0]);
        if let Some(mark) = mark {
            bytes.extend([8, 0, 15, 0]);
            bytes.extend(mark.to_ne_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Answer, DecodeError> {
        Answer::deserialize(&NetlinkHeader::default(), bytes)
    }

    #[test]
    fn what_waits_is_no_connection() {
        let somewhere = "10.0.0.1:1".parse().unwrap();
        for state in [0, 6, 7, 12, 255] {
            assert_eq!(read(&answer(2, state, somewhere, somewhere, 0, None)).unwrap(), Answer::Other);
        }
        assert_eq!(read(&answer(3, 1, somewhere, somewhere, 0, None)).unwrap(), Answer::Other);
        assert!(read(&[2; ANSWER_LEN - 1]).is_err());
    }

    #[test]
    fn a_listener_is_read_with_what_waits_at_it() {
        let (local, nobody) = ("[::]:15001".parse().unwrap(), "[::]:0".parse().unwrap());
        let mut bytes = answer(10, LISTEN, local, nobody, 1337, Some(0x539));
        bytes.splice(WAITING_AT..WAITING_AT + 8, [3_u32.to_ne_bytes(), 4096_u32.to_ne_bytes()].concat());
        let wanted = Listening {
            local,
            only_ipv6: false,
            mark: Some(0x539),
            user: 1337,
            waiting: 3,
            most_waiting: 4096,
        };
        assert_eq!(read(&bytes).unwrap(), Answer::Listener(wanted.clone()));
        bytes.extend([5, 0, 11, 0, 1, 0, 0, 0]);
        assert_eq!(read(&bytes).unwrap(), Answer::Listener(Listening { only_ipv6: true, ..wanted }));
    }

    proptest! {
        #[test]
        fn what_is_told_is_what_is_read(
            local: SocketAddr, remote: SocketAddr, state in 0_usize..8, user: u32, mark: Option<u32>, mapped: bool,
        ) {
            let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            let (local, remote) = (canonical(local), canonical(remote));
            prop_assume!(local.is_ipv4() == remote.is_ipv4());
            let state = TcpState::ALL[state];
            let family = if local.is_ipv6() || mapped { 10 } else { 2 };
            let bytes = answer(family, state_number(state), local, remote, user, mark);
            let Answer::Connection(socket) = read(&bytes).unwrap() else { panic!("no connection") };
            prop_assert_eq!((socket.local, socket.remote), (local, remote));
            prop_assert_eq!((socket.state, socket.user, socket.mark), (state, user, mark));
            // The question that ends it names the socket as it was told.
            let question = Question { kind: DESTROY, states: 0, socket: socket.name };
            let mut asked = vec![0xff; question.buffer_len()];
            question.serialize(&mut asked);
            prop_assert_eq!(&asked[..8], &[family, 6, 0, 0, 0, 0, 0, 0]);
            prop_assert_eq!(&asked[8..], &bytes[4..52]);
        }

        #[test]
        fn whatever_is_told_is_read_or_refused(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
