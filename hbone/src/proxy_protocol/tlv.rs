//! What a header says besides the addresses: types with values (section 2.2.1 and following).

use std::str;

use bytes::{BufMut, Bytes, BytesMut};

use super::{ParseError, TlvError, checksum};

/// Types with values, each type at most once, in their order; at most 3840 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlvs {
    entries: Vec<(u8, Bytes)>,
    /// Bytes of all entries on the wire.
    length: usize,
}

impl Tlvs {
    /// The value of a type.
    pub fn get(&self, kind: u8) -> Option<&[u8]> {
        self.entries().find_map(|(there, value)| (there == kind).then_some(value))
    }

    /// The host name that the connection was for ([`AUTHORITY`]), if it is text.
    pub fn authority(&self) -> Option<&str> {
        self.get(AUTHORITY).and_then(|value| str::from_utf8(value).ok())
    }

    /// Who is at the other end ([`PEER_IDENTITY`]), if it is text. It is as true as the one who sent the header.
    pub fn peer_identity(&self) -> Option<&str> {
        self.get(PEER_IDENTITY).and_then(|value| str::from_utf8(value).ok())
    }

    /// All of them, in their order.
    pub fn entries(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.entries.iter().map(|(kind, value)| (*kind, &**value))
    }

    pub(super) fn push(&mut self, kind: u8, value: Bytes) -> Result<(), TlvError> {
        if matches!(kind, CHECKSUM | NOOP) {
            return Err(TlvError::Reserved { kind });
        }
        if self.get(kind).is_some() {
            return Err(TlvError::Repeated { kind });
        }
        if kind == UNIQUE_ID && value.len() > MAX_UNIQUE_ID {
            return Err(TlvError::TooLong { length: value.len(), max: MAX_UNIQUE_ID });
        }
        let length = self.length.saturating_add(HEAD).saturating_add(value.len());
        if length > MAX_LENGTH {
            return Err(TlvError::TooLong { length, max: MAX_LENGTH });
        }
        self.length = length;
        self.entries.push((kind, value));
        Ok(())
    }

    pub(super) fn write(&self, block: &mut BytesMut) {
        for (kind, value) in self.entries() {
            block.put_u8(kind);
            // Always fits: push has bounded it.
            block.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
            block.put_slice(value);
        }
    }

    /// Those in `rest`, the end of the header `whole`, whose checksum is looked at if it has one.
    pub(super) fn read(whole: &[u8], mut rest: &[u8]) -> Result<Self, ParseError> {
        let mut tlvs = Self::default();
        let mut checked = false;
        while !rest.is_empty() {
            let ([kind, high, low], tail) = rest.split_first_chunk::<HEAD>().ok_or(ParseError::Truncated)?;
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (value, tail) = tail.split_at_checked(length).ok_or(ParseError::Truncated)?;
            rest = tail;
            match *kind {
                NOOP => {}
                CHECKSUM if checked => return Err(TlvError::Repeated { kind: CHECKSUM }.into()),
                CHECKSUM => {
                    let at = whole.len() - rest.len() - value.len();
                    checked = true;
                    checksum::verify(whole, at, value)?;
                }
                kind => tlvs.push(kind, Bytes::copy_from_slice(value))?,
            }
        }
        Ok(tlvs)
    }
}

/// Adds room for a checksum, and says where its value is.
pub(super) fn reserve_checksum(block: &mut BytesMut) -> usize {
    block.put_slice(&[CHECKSUM, 0, 4]);
    let at = block.len();
    block.put_u32(0);
    at
}

/// The protocol above, as ALPN names it (section 2.2.2).
pub const ALPN: u8 = 0x01;
/// The host name that the client wanted, UTF-8 (section 2.2.2).
pub const AUTHORITY: u8 = 0x02;
/// A name of up to 128 bytes for this connection (section 2.2.5).
pub const UNIQUE_ID: u8 = 0x05;
/// What TLS found (section 2.2.6).
pub const SSL: u8 = 0x20;
/// The network namespace of the addresses (section 2.2.7).
pub const NETWORK_NAMESPACE: u8 = 0x30;
/// The SPIFFE id that the peer has proved. The specification does not know it; Istio's ztunnel writes it for waypoints.
pub const PEER_IDENTITY: u8 = 0xd0;

/// CRC32c of the whole header (section 2.2.3): checked, and not kept.
const CHECKSUM: u8 = 0x03;
/// Padding (section 2.2.4): passed over.
const NOOP: u8 = 0x04;
/// Section 2.2.5.
const MAX_UNIQUE_ID: usize = 128;
/// Type and length.
const HEAD: usize = 3;
/// What is read at most, without the largest addresses (216 bytes) and a checksum, rounded down.
const MAX_LENGTH: usize = 3840;
