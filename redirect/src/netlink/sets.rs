//! Sets: their declarations and elements in nf_tables' words, and back.

use netlink_packet_core::{DecodeError, Parseable as _};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, NfTablesMessageType, SetAttribute, SetElementAttribute,
    SetElementFlags, SetElementList, SetElementMessage, SetFlags, SetMessage,
};

use crate::elements::Element;
use crate::family::Family;
use crate::found::{FoundElement, FoundSet};
use crate::set::{Set, SetKind};

use super::key;
use super::unread::{Unread, attributes, inside};

/// The most elements in one message. Their list is one attribute, whose length has 16 bits; the longest takes 52 bytes.
pub(super) const CHUNK: usize = 1000;

// What kind of value is in a key, for nft (`enum datatypes` in its `include/datatype.h`); the kernel does not read it.
const TYPE_IPADDR: u32 = 7;
const TYPE_IP6ADDR: u32 = 8;
const TYPE_INET_SERVICE: u32 = 13;
/// How many bits each part of a concatenation has there (`TYPE_BITS`).
const TYPE_BITS: u32 = 6;

/// `NFTNL_UDATA_SET_KEYBYTEORDER` (`libnftnl/udata.h`), in a list of type, length and value as comments are.
const KEY_BYTE_ORDER: u8 = 0;
/// `BYTEORDER_BIG_ENDIAN` of nft. A concatenation has none as a whole (`BYTEORDER_INVALID`).
const BIG_ENDIAN: u32 = 2;
const NO_ORDER: u32 = 0;

/// `NFTA_SET_ELEM_LIST_ELEMENTS` and `NFTA_SET_ELEM_KEY` (`linux/netfilter/nf_tables.h`), and what is around and inside.
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_DATA_VALUE: u16 = 1;

/// The declaration of a set. The number is any that no other set of the transaction has.
pub(super) fn declaration(table: &str, set: &Set, number: u32) -> NfTablesMessage {
    let attributes = vec![
        SetAttribute::Table(table.into()),
        SetAttribute::Name(set.name().into()),
        SetAttribute::Flags(SetFlags::empty()),
        SetAttribute::KeyType(key_type(set.kind())),
        SetAttribute::KeyLen(key::length(set.kind())),
        SetAttribute::Id(number),
        SetAttribute::UserData(byte_order(set.kind())),
    ];
    NfTablesMessage::NewSet(SetMessage { attributes })
}

fn key_type(kind: SetKind) -> u32 {
    let address = match kind.family() {
        Family::V4 => TYPE_IPADDR,
        Family::V6 => TYPE_IP6ADDR,
    };
    match kind {
        SetKind::Addresses(_) => address,
        SetKind::Connections(_) => [TYPE_INET_SERVICE, address, TYPE_INET_SERVICE]
            .into_iter()
            .fold(address, |parts, part| parts << TYPE_BITS | part),
    }
}

fn byte_order(kind: SetKind) -> Vec<u8> {
    let order = match kind {
        SetKind::Addresses(_) => BIG_ENDIAN,
        SetKind::Connections(_) => NO_ORDER,
    };
    [&[KEY_BYTE_ORDER, 4][..], &order.to_ne_bytes()].concat()
}

/// These elements, no more than [`CHUNK`], as what comes into a set.
pub(super) fn addition(table: &str, set: &Set, elements: &[Element]) -> NfTablesMessage {
    NfTablesMessage::NewSetElement(list(table, set.name(), elements))
}

/// The same, as what goes out of it.
pub(super) fn deletion(table: &str, set: &Set, elements: &[Element]) -> NfTablesMessage {
    NfTablesMessage::DeleteSetElement(list(table, set.name(), elements))
}

fn list(table: &str, set: &str, elements: &[Element]) -> SetElementMessage {
    let key = |element: &Element| {
        ListAttribute::Element(vec![SetElementAttribute::Key(DataAttribute::Value(key::encode(element)))])
    };
    let mut message = question(table, set);
    message.attributes.push(SetElementList::Elements(elements.iter().map(key).collect()));
    message
}

/// Which elements there are in a set.
pub(super) fn question(table: &str, set: &str) -> SetElementMessage {
    SetElementMessage {
        attributes: vec![SetElementList::Table(table.into()), SetElementList::Set(set.into())],
    }
}

/// The set of an answer, without its elements, if it is in this table.
pub(super) fn found_set(answer: &Unread, table: &str) -> Result<Option<FoundSet>, DecodeError> {
    if answer.kind != NfTablesMessageType::NewSet {
        return Ok(None);
    }
    let (mut name, mut kind, mut length, mut plain, mut is_ours) = (None, None, None, true, false);
    for attribute in attributes(&answer.attributes) {
        match SetAttribute::parse(&attribute?)? {
            SetAttribute::Table(found) => is_ours = found == table,
            SetAttribute::Name(found) => name = Some(found),
            SetAttribute::KeyType(found) => {
                kind = SetKind::ALL.into_iter().find(|kind| key_type(*kind) == found);
            }
            SetAttribute::KeyLen(found) => length = Some(found),
            SetAttribute::Flags(flags) => plain &= flags.is_empty(),
            // Its elements would come to an end by themselves, or it could take no more.
            SetAttribute::Timeout(_) => plain = false,
            SetAttribute::Description(limits) => plain &= limits.is_empty(),
            _ => {}
        }
    }
    let kind = kind.filter(|kind| plain && length == Some(key::length(*kind)));
    Ok(name.filter(|_| is_ours).map(|name| FoundSet { name, kind, elements: Vec::new() }))
}

/// The elements of an answer, which is about a set of this kind.
pub(super) fn found_elements(answer: &Unread, kind: SetKind) -> Result<Vec<FoundElement>, DecodeError> {
    let mut found = Vec::new();
    if answer.kind != NfTablesMessageType::NewSetElement {
        return Ok(found);
    }
    for attribute in attributes(&answer.attributes) {
        let attribute = attribute?;
        if attribute.kind() != NFTA_SET_ELEM_LIST_ELEMENTS {
            continue;
        }
        for element in attributes(inside(&attribute)) {
            let element = element?;
            if element.kind() == NFTA_LIST_ELEM {
                found.push(found_element(inside(&element), kind)?);
            }
        }
    }
    Ok(found)
}

fn found_element(bytes: &[u8], kind: SetKind) -> Result<FoundElement, DecodeError> {
    let (mut key_bytes, mut plain): (&[u8], _) = (&[], true);
    for attribute in attributes(bytes) {
        let attribute = attribute?;
        match attribute.kind() {
            NFTA_SET_ELEM_KEY => {
                for value in attributes(inside(&attribute)) {
                    let value = value?;
                    if value.kind() == NFTA_DATA_VALUE {
                        key_bytes = inside(&value);
                    }
                }
            }
            NFTA_SET_ELEM_FLAGS => {
                plain &= inside(&attribute) == SetElementFlags::empty().bits().to_be_bytes();
            }
            _ => {}
        }
    }
    let element = key::decode(kind, key_bytes).filter(|_| plain);
    Ok(element.map_or_else(|| FoundElement::Foreign { key: key_bytes.into() }, FoundElement::Ours))
}

/// Which sets there are in a table.
pub(super) fn all(table: &str) -> NfTablesMessage {
    NfTablesMessage::GetSet(SetMessage { attributes: vec![SetAttribute::Table(table.into())] })
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;
    use proptest::prelude::*;

    use crate::elements::Elements;

    use super::*;

    fn answer(message: &NfTablesMessage) -> Unread {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        Unread { kind: message.message_type(), attributes: bytes }
    }

    fn set(kind: SetKind) -> Set {
        Set::new("some", kind).unwrap()
    }

    /// As `nft` 1.0.6 sends the declarations of sets of these types.
    #[test]
    fn a_declaration_says_what_nft_says() {
        for (kind, key_type_of_nft, length) in
            [(SetKind::Addresses(Family::V4), 7, 4), (SetKind::Connections(Family::V4), 0x001c_d1cd, 16)]
        {
            assert_eq!((key_type(kind), key::length(kind)), (key_type_of_nft, length));
        }
        assert_eq!(
            byte_order(SetKind::Addresses(Family::V6)),
            [[0, 4].as_slice(), &2_u32.to_ne_bytes()].concat()
        );
    }

    #[test]
    fn a_declaration_comes_back_and_one_of_another_table_does_not() {
        for kind in SetKind::ALL {
            let answer = answer(&declaration("table", &set(kind), 1));
            let found = FoundSet { name: "some".into(), kind: Some(kind), elements: Vec::new() };
            assert_eq!(found_set(&answer, "table").unwrap(), Some(found));
            assert_eq!(found_set(&answer, "other").unwrap(), None);
        }
    }

    #[test]
    fn a_set_whose_elements_end_or_are_ranges_is_none_of_ours() {
        let set = set(SetKind::Addresses(Family::V4));
        for foreign in [
            SetAttribute::Flags(SetFlags::Interval),
            SetAttribute::Flags(SetFlags::Timeout),
            SetAttribute::Timeout(1),
            SetAttribute::KeyLen(16),
            SetAttribute::KeyType(9),
        ] {
            let NfTablesMessage::NewSet(mut message) = declaration("table", &set, 1) else { unreachable!() };
            message.attributes.push(foreign.clone());
            let found = found_set(&answer(&NfTablesMessage::NewSet(message)), "table").unwrap().unwrap();
            assert_eq!(found.kind, None, "{foreign:?}");
        }
    }

    #[test]
    fn the_longest_message_says_its_length() {
        let ends = ("[fd00::1]:1".parse().unwrap(), "[fd00::2]:2".parse().unwrap());
        let connection = crate::Connection::new(ends.0, ends.1).unwrap();
        let elements = vec![Element::Connection(connection); CHUNK];
        let message = addition("table", &set(SetKind::Connections(Family::V6)), &elements);
        assert!(message.buffer_len() < usize::from(u16::MAX), "{}", message.buffer_len());
        let found = found_elements(&answer(&message), SetKind::Connections(Family::V6)).unwrap();
        assert_eq!(found, vec![FoundElement::Ours(elements[0]); CHUNK]);
    }

    proptest! {
        #[test]
        fn elements_come_back(addresses in proptest::collection::btree_set(any::<[u8; 4]>(), 1..20)) {
            let set = set(SetKind::Addresses(Family::V4));
            let elements: Vec<Element> =
                addresses.into_iter().map(|octets| std::net::IpAddr::from(octets).into()).collect();
            let found = found_elements(&answer(&addition("table", &set, &elements)), set.kind()).unwrap();
            let table = crate::found::FoundTable {
                sets: vec![FoundSet { name: "some".into(), kind: Some(set.kind()), elements: found }],
                ..Default::default()
            };
            let mut all = Elements::new();
            for element in elements {
                all.insert(&set, element).unwrap();
            }
            prop_assert_eq!(table.elements(&[set]), all);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let of = |kind| Unread { kind, attributes: bytes.clone() };
            let _ = found_set(&of(NfTablesMessageType::NewSet), "table");
            for kind in SetKind::ALL {
                let _ = found_elements(&of(NfTablesMessageType::NewSetElement), kind);
            }
        }
    }
}
