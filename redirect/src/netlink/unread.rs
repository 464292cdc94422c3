//! Unread: what nf_tables answers, read only as far as needed.
//!
//! The packet crate can read whole rules, but builds the text of a possible error for each attribute as it goes,
//! which takes longer than everything else in reading a ruleset back. Attribute by attribute it does not.

use netlink_packet_core::{
    DecodeError, NLA_HEADER_SIZE, NetlinkDeserializable, NetlinkHeader, NlaBuffer, NlasIterator, Parseable,
};
use netlink_packet_netfilter::nftables::NfTablesMessageType;

/// A message of nf_tables whose attributes are not read yet.
pub(super) struct Unread {
    pub(super) kind: NfTablesMessageType,
    pub(super) attributes: Vec<u8>,
}

/// The length of the header between netlink's own and the attributes (`struct nfgenmsg`).
const HEADER_LEN: usize = 4;

impl NetlinkDeserializable for Unread {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let attributes = payload
            .get(HEADER_LEN..)
            .ok_or_else(|| DecodeError::buffer_too_small(payload.len(), HEADER_LEN))?;
        // The high byte says which subsystem, and this conversation has but one.
        let [_, kind] = header.message_type.to_be_bytes();
        Ok(Self { kind: kind.into(), attributes: attributes.into() })
    }
}

/// The attributes, unread.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<NlaBuffer<&[u8]>, DecodeError>> {
    NlasIterator::new(bytes)
}

/// The attributes, read.
pub(super) fn read<'bytes, T>(bytes: &'bytes [u8]) -> Result<Vec<T>, DecodeError>
where
    T: Parseable<NlaBuffer<&'bytes [u8]>>,
{
    attributes(bytes).map(|attribute| T::parse(&attribute?)).collect()
}

/// What is inside an attribute.
pub(super) fn inside<'bytes>(attribute: &NlaBuffer<&'bytes [u8]>) -> &'bytes [u8] {
    // The crate's own `value` borrows from the attribute and not from the bytes under it.
    let end = usize::from(attribute.length());
    attribute.into_inner().get(NLA_HEADER_SIZE..end).unwrap_or_default()
}
