//! Key: values side by side in registers, to be looked for in a set as one.
//!
//! Registers are words of 32 bits in a row (`NFT_REG32_00` to `NFT_REG32_15` in `linux/netfilter/nf_tables.h`). Each part of a
//! key begins with a word of its own, and an element of a set has the same form: its parts, each padded to whole words.
//! `nft` lays concatenations out alike.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_netfilter::nftables::Register;

use crate::connection::Connection;
use crate::elements::Element;
use crate::family::Family;
use crate::set::SetKind;

use super::encode::{DESTINATION_PORT, SOURCE_PORT, destination, source};
use super::step::Field;

/// The length of a word, in bytes.
const WORD: usize = 4;
/// How many words there are.
const WORDS: u8 = 16;
/// The number of the first word (`NFT_REG32_00`).
const FIRST: u32 = 8;
/// How many words are one of the wider registers (`NFT_REG_1` to `NFT_REG_4`), which begin where the words do.
const WORDS_OF_WIDE: u8 = 4;

/// The register that begins with this word. The kernel has two names for some, and answers with the wider one's.
pub(super) fn register(word: u8) -> Register {
    let number = match word % WORDS_OF_WIDE {
        0 => u32::from(word / WORDS_OF_WIDE) + u32::from(Register::Reg1),
        _ => u32::from(word) + FIRST,
    };
    number.into()
}

/// The word with which a register begins, if a part of a key can begin there: not at the first, which is loaded.
pub(super) fn word(found: Register) -> Option<u8> {
    (1..WORDS).find(|word| register(*word) == found)
}

/// Where the parts of a connection are in a packet, and with which word each begins in the key.
pub(super) fn connection_parts(family: Family) -> [(Field, u8); 4] {
    let address = words(usize::from(family.address_bits() / 8));
    let port = 1;
    [
        (source(family), 0),
        (SOURCE_PORT, address),
        (destination(family), address + port),
        (DESTINATION_PORT, 2 * address + port),
    ]
}

fn words(bytes: usize) -> u8 {
    u8::try_from(bytes.div_ceil(WORD)).unwrap_or(WORDS)
}

/// How long a key of such a set is, in bytes.
pub(super) fn length(kind: SetKind) -> u32 {
    let address = u32::from(kind.family().address_bits() / 8);
    match kind {
        SetKind::Addresses(_) => address,
        SetKind::Connections(_) => 2 * (address + 4),
    }
}

/// An element as the key by which it is found.
pub(super) fn encode(element: &Element) -> Vec<u8> {
    let mut bytes = Vec::new();
    match element {
        Element::Address(address) => push(&mut bytes, *address),
        Element::Connection(connection) => {
            for end in [connection.source(), connection.destination()] {
                push(&mut bytes, end.ip());
                bytes.extend(end.port().to_be_bytes());
                bytes.resize(bytes.len().next_multiple_of(WORD), 0);
            }
        }
    }
    bytes
}

fn push(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
}

/// The element that has this key in a set of this kind; none when it is none of ours.
pub(super) fn decode(kind: SetKind, key: &[u8]) -> Option<Element> {
    let (address, family) = (usize::from(kind.family().address_bits() / 8), kind.family());
    let element: Element = match kind {
        SetKind::Addresses(_) => ip(family, key)?.into(),
        SetKind::Connections(_) => {
            let (there, back) = key.split_at_checked(address + WORD)?;
            let end = |bytes: &[u8]| {
                let (ip_bytes, port) = bytes.split_at_checked(address)?;
                let port = port.get(..2)?.try_into().ok().map(u16::from_be_bytes)?;
                Some(SocketAddr::new(ip(family, ip_bytes)?, port))
            };
            Connection::new(end(there)?, end(back)?).ok()?.into()
        }
    };
    // What is not written as we write it, such as an IPv4 address in IPv6 clothes, is not what we would find.
    (encode(&element) == key).then_some(element)
}

fn ip(family: Family, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        Family::V4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        Family::V6 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As `nft --debug=netlink` prints the same condition (1.0.6).
    #[test]
    fn parts_are_where_nft_puts_them() {
        let registers = |family| connection_parts(family).map(|(_, word)| u32::from(register(word)));
        assert_eq!(registers(Family::V4), [1, 9, 10, 11]);
        assert_eq!(registers(Family::V6), [1, 2, 13, 17]);
        assert_eq!(word(Register::Reg1), None);
        assert_eq!(word(Register::Verdict), None);
    }

    /// As `nft` sends `10.0.0.1 . 80 . 10.0.0.2 . 4000`.
    #[test]
    fn an_element_has_the_form_of_nft() {
        let connection =
            Connection::new("10.0.0.1:80".parse().unwrap(), "10.0.0.2:4000".parse().unwrap()).unwrap();
        let bytes = b"\x0a\x00\x00\x01\x00\x50\x00\x00\x0a\x00\x00\x02\x0f\xa0\x00\x00";
        assert_eq!(encode(&connection.into()), bytes);
    }

    pub(crate) fn elements() -> impl Strategy<Value = Element> {
        let ends = |address: fn(u128) -> IpAddr| {
            ((any::<u128>(), 1_u16..), (any::<u128>(), 1_u16..)).prop_map(
                move |((one, port), (other, other_port))| {
                    let (one, other) =
                        (SocketAddr::new(address(one), port), SocketAddr::new(address(other), other_port));
                    Connection::new(one, other).ok().map(Element::from)
                },
            )
        };
        prop_oneof![
            any::<IpAddr>().prop_map(Element::from),
            ends(|bits| u32::try_from(bits >> 96).map(|bits| IpAddr::V4(bits.into())).unwrap())
                .prop_filter_map("valid", |element| element),
            ends(|bits| IpAddr::V6(bits.into())).prop_filter_map("valid", |element| element),
        ]
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(element in elements()) {
            let bytes = encode(&element);
            prop_assert_eq!(bytes.len(), usize::try_from(length(element.kind())).unwrap());
            prop_assert_eq!(decode(element.kind(), &bytes), Some(element));
        }

        #[test]
        fn a_key_means_one_element_or_none(bytes: Vec<u8>) {
            for kind in SetKind::ALL {
                if let Some(element) = decode(kind, &bytes) {
                    prop_assert_eq!((element.kind(), encode(&element)), (kind, bytes.clone()));
                }
            }
        }
    }
}
