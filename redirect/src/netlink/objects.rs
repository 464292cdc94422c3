//! Objects: how long conntrack remembers connections, in nf_tables' words, and back.
//!
//! Source: `linux/netfilter/nf_tables.h` (`NFTA_OBJ_*`, `NFTA_CT_TIMEOUT_*`), and what `nft` sends for `ct timeout`.

use netlink_packet_core::{DecodeError, DefaultNla, Emitable as _, NLA_F_NESTED, parse_string};
use netlink_packet_netfilter::nftables::{NfTablesMessage, NfTablesMessageType};

use crate::found::FoundObject;
use crate::rule::Protocol;
use crate::tcp_timeouts::{NAME, TcpTimeouts};

use super::encode::protocol_byte;
use super::step::big_endian;
use super::unread::{Unread, attributes, inside};

const NFTA_OBJ_TABLE: u16 = 1;
const NFTA_OBJ_NAME: u16 = 2;
const NFTA_OBJ_TYPE: u16 = 3;
const NFTA_OBJ_DATA: u16 = 4;
/// `NFT_OBJECT_CT_TIMEOUT`.
pub(super) const CT_TIMEOUT: u32 = 7;
const NFTA_CT_TIMEOUT_L3PROTO: u16 = 1;
const NFTA_CT_TIMEOUT_L4PROTO: u16 = 2;
const NFTA_CT_TIMEOUT_DATA: u16 = 3;
/// `NFPROTO_INET`: of either family.
const BOTH_FAMILIES: u16 = 1;
/// `CTA_TIMEOUT_TCP_SYN_SENT`, the first of the states.
const FIRST_STATE: u16 = 1;

/// The declaration of the timeouts.
pub(super) fn declaration(table: &str, timeouts: TcpTimeouts) -> NfTablesMessage {
    let data = [
        attribute(NFTA_CT_TIMEOUT_L3PROTO, &BOTH_FAMILIES.to_be_bytes()),
        attribute(NFTA_CT_TIMEOUT_L4PROTO, &[protocol_byte(Protocol::Tcp)]),
        nested(NFTA_CT_TIMEOUT_DATA, states(timeouts)),
    ];
    let mut attributes = named(table, NAME, CT_TIMEOUT);
    attributes.push(nested(NFTA_OBJ_DATA, data));
    NfTablesMessage::NewObject(attributes)
}

/// The timeouts of all states.
pub(super) fn states(timeouts: TcpTimeouts) -> impl Iterator<Item = DefaultNla> {
    let states = (FIRST_STATE..).zip(timeouts.numbers());
    states.map(|(state, seconds)| attribute(state, &seconds.to_be_bytes()))
}

/// The end of an object.
pub(super) fn deletion(table: &str, object: &FoundObject) -> NfTablesMessage {
    NfTablesMessage::DeleteObject(named(table, &object.name, object.kind))
}

fn named(table: &str, name: &str, kind: u32) -> Vec<DefaultNla> {
    vec![
        attribute(NFTA_OBJ_TABLE, &text(table)),
        attribute(NFTA_OBJ_NAME, &text(name)),
        attribute(NFTA_OBJ_TYPE, &kind.to_be_bytes()),
    ]
}

/// Which objects there are in a table.
pub(super) fn all(table: &str) -> NfTablesMessage {
    NfTablesMessage::GetObject(vec![attribute(NFTA_OBJ_TABLE, &text(table))])
}

pub(super) fn attribute(kind: u16, value: &[u8]) -> DefaultNla {
    DefaultNla::new(kind, value.into())
}

pub(super) fn nested(kind: u16, inner: impl IntoIterator<Item = DefaultNla>) -> DefaultNla {
    let inner: Vec<DefaultNla> = inner.into_iter().collect();
    let mut value = vec![0; inner.as_slice().buffer_len()];
    inner.as_slice().emit(&mut value);
    DefaultNla::new(kind | NLA_F_NESTED, value)
}

pub(super) fn text(word: &str) -> Vec<u8> {
    [word.as_bytes(), &[0]].concat()
}

/// The object of an answer, if it is in this table.
pub(super) fn found(answer: &Unread, table: &str) -> Result<Option<FoundObject>, DecodeError> {
    if answer.kind != NfTablesMessageType::NewObject {
        return Ok(None);
    }
    let (mut name, mut kind, mut data, mut is_ours): (_, _, &[u8], _) = (None, None, &[], false);
    for attribute in attributes(&answer.attributes) {
        let attribute = attribute?;
        match attribute.kind() {
            NFTA_OBJ_TABLE => is_ours = parse_string(inside(&attribute))? == table,
            NFTA_OBJ_NAME => name = Some(parse_string(inside(&attribute))?),
            NFTA_OBJ_TYPE => kind = big_endian(inside(&attribute)),
            NFTA_OBJ_DATA => data = inside(&attribute),
            _ => {}
        }
    }
    let (Some(name), Some(kind), true) = (name, kind, is_ours) else { return Ok(None) };
    let timeouts = if kind == CT_TIMEOUT { timeouts(data)? } else { None };
    Ok(Some(FoundObject { name, kind, timeouts }))
}

/// The timeouts of such an object, if they are of TCP and of both families.
fn timeouts(data: &[u8]) -> Result<Option<TcpTimeouts>, DecodeError> {
    let (mut found, mut is_both, mut is_tcp) = (None, false, false);
    for attribute in attributes(data) {
        let attribute = attribute?;
        let bytes = inside(&attribute);
        match attribute.kind() {
            NFTA_CT_TIMEOUT_L3PROTO => is_both = bytes == BOTH_FAMILIES.to_be_bytes(),
            NFTA_CT_TIMEOUT_L4PROTO => is_tcp = bytes == [protocol_byte(Protocol::Tcp)],
            NFTA_CT_TIMEOUT_DATA => found = numbers(bytes)?,
            _ => {}
        }
    }
    Ok(found.filter(|_| is_both && is_tcp))
}

/// The timeouts of all states, if all are there.
pub(super) fn numbers(data: &[u8]) -> Result<Option<TcpTimeouts>, DecodeError> {
    let mut numbers = [None; 11];
    for state in attributes(data) {
        let state = state?;
        let index = usize::from(state.kind().wrapping_sub(FIRST_STATE));
        if let Some(number) = numbers.get_mut(index) {
            *number = big_endian(inside(&state));
        }
    }
    let known: Vec<u32> = numbers.into_iter().flatten().collect();
    Ok(<[u32; 11]>::try_from(known).ok().map(TcpTimeouts::of_numbers))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;
    use proptest::prelude::*;

    use super::*;

    fn answer(message: &NfTablesMessage) -> Unread {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        Unread { kind: message.message_type(), attributes: bytes }
    }

    proptest! {
        #[test]
        fn a_declaration_comes_back(numbers: [u32; 11]) {
            let timeouts = TcpTimeouts::of_numbers(numbers);
            let answer = answer(&declaration("table", timeouts));
            let expected = FoundObject { name: NAME.into(), kind: CT_TIMEOUT, timeouts: Some(timeouts) };
            prop_assert_eq!(found(&answer, "table").unwrap(), Some(expected));
            prop_assert_eq!(found(&answer, "other").unwrap(), None);
        }

        #[test]
        fn no_bytes_are_too_strange(attributes: Vec<u8>) {
            let _ = found(&Unread { kind: NfTablesMessageType::NewObject, attributes }, "table");
        }
    }

    #[test]
    fn timeouts_of_another_protocol_or_family_are_none_of_ours() {
        let data = |l3: u16, l4: u8| {
            let states = (1..=11).map(|state| attribute(state, &1_u32.to_be_bytes()));
            let all = [
                attribute(NFTA_CT_TIMEOUT_L3PROTO, &l3.to_be_bytes()),
                attribute(NFTA_CT_TIMEOUT_L4PROTO, &[l4]),
                nested(NFTA_CT_TIMEOUT_DATA, states),
            ];
            let mut bytes = vec![0; all.as_slice().buffer_len()];
            all.as_slice().emit(&mut bytes);
            timeouts(&bytes).unwrap().is_some()
        };
        assert!(data(1, 6));
        assert!(!data(2, 6) && !data(1, 17));
    }
}
