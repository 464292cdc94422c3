//! Conntrack: what the kernel knows of a connection that it tracks.

use netlink_packet_core::DecodeError;
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Status, Tuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::connection::Connection;
use crate::error::KernelError;
use crate::family::Family;

use super::socket::{Conversation, Request};
use super::unread::{self, Unread};

/// A conversation with conntrack.
pub(crate) struct Conntrack(Conversation<NetfilterMessage, Unread>);

/// Where a connection goes, as far as conntrack knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracked {
    /// To where it was meant.
    AsMeant,
    /// To somewhere else: its destination is translated.
    Elsewhere,
    /// It was to go somewhere else, and is over: what has the same ends now is another connection, from when nobody tracked any.
    Over,
    /// It does not know the connection, or cannot be asked.
    Unknown,
}

/// `CTA_STATUS` (`linux/netfilter/nfnetlink_conntrack.h`): in the network's order.
const CTA_STATUS: u16 = 3;
/// `CTA_PROTOINFO`, in it `CTA_PROTOINFO_TCP`, in it `CTA_PROTOINFO_TCP_STATE` (same file).
const CTA_PROTOINFO: u16 = 4;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
/// `TCP_CONNTRACK_TIME_WAIT` and `TCP_CONNTRACK_CLOSE` (`linux/netfilter/nf_conntrack_tcp.h`).
const OVER: [u8; 2] = [7, 8];

impl Conntrack {
    /// Opens it, in the namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, KernelError> {
        Conversation::open(NETLINK_NETFILTER).map(Self)
    }

    /// Where a connection goes, in whichever direction it was opened.
    pub(crate) fn tracked(&mut self, connection: Connection) -> Result<Tracked, KernelError> {
        let answer = match self.0.ask(question(connection)) {
            Ok(answer) => answer,
            // It knows none such; or there is nobody to ask (`CONFIG_NF_CT_NETLINK` is off).
            Err(error) if matches!(error.refusal(), Some(libc::ENOENT | libc::EINVAL | libc::EOPNOTSUPP)) => {
                return Ok(Tracked::Unknown);
            }
            Err(error) => return Err(error),
        };
        let undecodable = |error: DecodeError| KernelError::Undecodable(error.into());
        let status = status(&answer.attributes).map_err(undecodable)?.ok_or(KernelError::Incomplete)?;
        Ok(match status.contains(Status::DstNat) {
            false => Tracked::AsMeant,
            true if is_over(&answer.attributes).map_err(undecodable)? => Tracked::Over,
            true => Tracked::Elsewhere,
        })
    }

    /// Forgets a connection. One that it does not know is forgotten already.
    pub(crate) fn forget(&mut self, connection: Connection) -> Result<(), KernelError> {
        let message = message(connection, ConntrackMessage::Delete);
        match self.0.command(Request { message, flags: 0 }) {
            Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(()),
            done => done,
        }
    }
}

fn question(connection: Connection) -> NetfilterMessage {
    message(connection, ConntrackMessage::Get)
}

fn message(connection: Connection, of: fn(Vec<ConntrackAttribute>) -> ConntrackMessage) -> NetfilterMessage {
    let (source, destination) = (connection.source(), connection.destination());
    let addresses = vec![IPTuple::SourceAddress(source.ip()), IPTuple::DestinationAddress(destination.ip())];
    let ports = vec![
        ProtoTuple::Protocol(Protocol::Tcp),
        ProtoTuple::SourcePort(source.port()),
        ProtoTuple::DestinationPort(destination.port()),
    ];
    let tuple = ConntrackAttribute::CtaTupleOrig(vec![Tuple::Ip(addresses), Tuple::Proto(ports)]);
    let family = match connection.family() {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    };
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), of(vec![tuple]))
}

fn status(attributes: &[u8]) -> Result<Option<Status>, DecodeError> {
    for attribute in unread::attributes(attributes) {
        let attribute = attribute?;
        if attribute.kind() == CTA_STATUS {
            let bytes = unread::inside(&attribute).first_chunk().copied();
            return Ok(bytes.map(|bytes| Status::from_bits_retain(u32::from_be_bytes(bytes))));
        }
    }
    Ok(None)
}

/// Whether both ends have ended it, or one has reset it.
fn is_over(attributes: &[u8]) -> Result<bool, DecodeError> {
    let mut bytes = attributes;
    for kind in [CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE] {
        let mut found = None;
        for attribute in unread::attributes(bytes) {
            let attribute = attribute?;
            if attribute.kind() == kind {
                found = Some(unread::inside(&attribute));
            }
        }
        let Some(inside) = found else { return Ok(false) };
        bytes = inside;
    }
    Ok(bytes.first().is_some_and(|state| OVER.contains(state)))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;

    use super::*;

    #[test]
    fn a_connection_is_asked_for_as_its_packets_show_it() {
        let connection =
            Connection::new("10.0.0.1:256".parse().unwrap(), "10.0.0.2:80".parse().unwrap()).unwrap();
        let question = question(connection);
        let mut bytes = vec![0; question.buffer_len()];
        question.emit(&mut bytes);
        // family, version, resource; tuple(addresses(source, destination), ports(protocol, source, destination))
        let expected: Vec<u8> = [
            &[2, 0, 0, 0][..],
            &[52, 0, 1, 0x80],
            &[20, 0, 1, 0x80, 8, 0, 1, 0, 10, 0, 0, 1, 8, 0, 2, 0, 10, 0, 0, 2],
            &[28, 0, 2, 0x80, 5, 0, 1, 0, 6, 0, 0, 0, 6, 0, 2, 0, 1, 0, 0, 0, 6, 0, 3, 0, 0, 80, 0, 0],
        ]
        .concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_state_tells_whether_it_is_over() {
        let read = |state: u8| {
            // protoinfo(tcp(state, window scales))
            let bytes = [
                28, 0, 4, 0x80, 24, 0, 1, 0x80, 5, 0, 1, 0, state, 0, 0, 0, 5, 0, 2, 0, 7, 0, 0, 0, 4, 0, 9,
                0,
            ];
            is_over(&bytes).unwrap()
        };
        assert_eq!((0..=9).filter(|state| read(*state)).collect::<Vec<u8>>(), [7, 8]);
        assert!(!is_over(&[]).unwrap());
        assert!(is_over(&[5, 0, 4]).is_err());
    }

    #[test]
    fn the_status_tells_whether_the_destination_is_translated() {
        let read = |status: u32| {
            let attributes = [&[8, 0, 3, 0][..], &status.to_be_bytes()].concat();
            self::status(&attributes).unwrap().unwrap()
        };
        assert!(read(0x1ae).contains(Status::DstNat));
        assert!(!read(0x18e).contains(Status::DstNat));
        assert_eq!(status(&[]).unwrap(), None);
    }
}
