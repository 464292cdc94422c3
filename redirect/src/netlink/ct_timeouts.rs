//! CtTimeouts: how long conntrack remembers connections, as objects that rules of iptables name.
//!
//! They are of the network namespace, one a family, and not of nf_tables. Source: `linux/netfilter/nfnetlink_cttimeout.h`, and the
//! kernel's `nfnetlink_cttimeout.c`.

use netlink_packet_core::{DecodeError, DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::error::KernelError;
use crate::family::Family;
use crate::rule::Protocol;
use crate::tcp_timeouts::TcpTimeouts;

use super::encode::protocol_byte;
use super::objects::{attribute, nested, numbers, states, text};
use super::socket::{Conversation, Request};
use super::step::family_byte;
use super::unread::{Unread, attributes, inside};

/// `NFNL_SUBSYS_CTNETLINK_TIMEOUT` (`linux/netfilter/nfnetlink.h`).
const SUBSYSTEM: u8 = 8;
const IPCTNL_MSG_TIMEOUT_NEW: u8 = 0;
const IPCTNL_MSG_TIMEOUT_GET: u8 = 1;
const IPCTNL_MSG_TIMEOUT_DELETE: u8 = 2;
const CTA_TIMEOUT_NAME: u16 = 1;
const CTA_TIMEOUT_L3PROTO: u16 = 2;
const CTA_TIMEOUT_L4PROTO: u16 = 3;
const CTA_TIMEOUT_DATA: u16 = 4;

/// Nothing has this name; a rule names it; this kernel has no such objects.
const STAY: [i32; 4] = [libc::ENOENT, libc::EBUSY, libc::EINVAL, libc::EOPNOTSUPP];

/// A conversation about them.
pub(crate) struct CtTimeouts(Conversation<NetfilterMessage, Unread>);

/// What there is under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundTimeouts {
    /// These, of TCP and of the family.
    Ours(TcpTimeouts),
    /// Something else.
    Foreign,
    /// Nothing.
    Nothing,
    /// This kernel has no such objects (`CONFIG_NF_CT_NETLINK_TIMEOUT` is off).
    Unknown,
}

impl CtTimeouts {
    /// Opens it, in the namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, KernelError> {
        Conversation::open(NETLINK_NETFILTER).map(Self)
    }

    /// What there is under a name.
    pub(crate) fn find(&mut self, name: &str, family: Family) -> Result<FoundTimeouts, KernelError> {
        let named = vec![attribute(CTA_TIMEOUT_NAME, &text(name))];
        match self.0.ask(message(IPCTNL_MSG_TIMEOUT_GET, named)) {
            Ok(answer) => {
                let found = found(&answer.attributes, family);
                let found = found.map_err(|error| KernelError::Undecodable(error.into()))?;
                Ok(found.map_or(FoundTimeouts::Foreign, FoundTimeouts::Ours))
            }
            Err(error) => match error.refusal() {
                Some(libc::ENOENT) => Ok(FoundTimeouts::Nothing),
                Some(libc::EINVAL | libc::EOPNOTSUPP) => Ok(FoundTimeouts::Unknown),
                _ => Err(error),
            },
        }
    }

    /// Makes these, or makes what has the name these; who uses it goes on to.
    pub(crate) fn put(
        &mut self,
        name: &str,
        family: Family,
        timeouts: TcpTimeouts,
    ) -> Result<(), KernelError> {
        let message = message(IPCTNL_MSG_TIMEOUT_NEW, declaration(name, family, timeouts));
        self.0.command(Request { message, flags: NLM_F_CREATE | NLM_F_REPLACE })
    }

    /// Deletes them, if they are there and no rule names them. Connections that had them have the sysctls' again.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), KernelError> {
        let named = vec![attribute(CTA_TIMEOUT_NAME, &text(name))];
        match self.0.command(Request { message: message(IPCTNL_MSG_TIMEOUT_DELETE, named), flags: 0 }) {
            Err(error) if error.refusal().is_some_and(|number| STAY.contains(&number)) => Ok(()),
            outcome => outcome,
        }
    }
}

fn message(message_type: u8, attributes: Vec<DefaultNla>) -> NetfilterMessage {
    let subsys = NetfilterSubsystem::Other(SUBSYSTEM);
    let inner = NetfilterMessageInner::Other { subsys, message_type, attributes };
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0), inner)
}

fn declaration(name: &str, family: Family, timeouts: TcpTimeouts) -> Vec<DefaultNla> {
    vec![
        attribute(CTA_TIMEOUT_NAME, &text(name)),
        attribute(CTA_TIMEOUT_L3PROTO, &u16::from(family_byte(family)).to_be_bytes()),
        attribute(CTA_TIMEOUT_L4PROTO, &[protocol_byte(Protocol::Tcp)]),
        nested(CTA_TIMEOUT_DATA, states(timeouts)),
    ]
}

/// The timeouts, if they are of TCP and of this family.
fn found(bytes: &[u8], family: Family) -> Result<Option<TcpTimeouts>, DecodeError> {
    let (mut timeouts, mut is_of_family, mut is_tcp) = (None, false, false);
    for attribute in attributes(bytes) {
        let attribute = attribute?;
        let value = inside(&attribute);
        match attribute.kind() {
            CTA_TIMEOUT_L3PROTO => is_of_family = value == u16::from(family_byte(family)).to_be_bytes(),
            CTA_TIMEOUT_L4PROTO => is_tcp = value == [protocol_byte(Protocol::Tcp)],
            CTA_TIMEOUT_DATA => timeouts = numbers(value)?,
            _ => {}
        }
    }
    Ok(timeouts.filter(|_| is_of_family && is_tcp))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_declaration_comes_back(numbers: [u32; 11]) {
            let timeouts = TcpTimeouts::of_numbers(numbers);
            let declared = declaration("name", Family::V4, timeouts);
            let mut bytes = vec![0; declared.as_slice().buffer_len()];
            declared.as_slice().emit(&mut bytes);
            prop_assert_eq!(found(&bytes, Family::V4).unwrap(), Some(timeouts));
            prop_assert_eq!(found(&bytes, Family::V6).unwrap(), None);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let _ = found(&bytes, Family::V6);
        }
    }
}
