//! PROXY protocol, version 2: tells an application who is behind a connection that is handed over to it.
//!
//! Section numbers are those of HAProxy's `proxy-protocol.txt`. Both ends must agree that it is spoken: an application that
//! would take it from anybody believes anybody.
//!
//! ```text
//!   0            12  13  14     16            16 + addresses          16 + length
//!   | signature  |v,c|f,t|length| source, destination | type, length, value ... |
//! ```
//!
//! ```
//! use inpod_hbone::proxy_protocol::{Addresses, AUTHORITY, Incomplete, Parsed, ProxyHeader, Transport, parse};
//!
//! let addresses = Addresses::inet(Transport::Stream, "10.0.0.1:4000".parse()?, "10.0.0.5:80".parse()?);
//! let header = ProxyHeader::from(addresses).with_tlv(AUTHORITY, "web.example:80")?;
//! let mut bytes = header.to_bytes();
//! bytes.extend_from_slice(b"GET /");
//!
//! let Parsed { header: read, length } = parse(&bytes)?;
//! assert_eq!((&read, &bytes[length..]), (&header, b"GET /".as_slice()));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use bytes::{BufMut, Bytes, BytesMut};

mod address;
mod checksum;
mod error;
mod tlv;

pub use address::{Addresses, Transport};
pub use error::{Incomplete, ParseError, TlvError};
pub use tlv::{ALPN, AUTHORITY, NETWORK_NAMESPACE, PEER_IDENTITY, SSL, Tlvs, UNIQUE_ID};

/// What stands before the bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The sender speaks for itself: the connection's own addresses count.
    Local,
    /// The sender does not know for whom it speaks.
    Unknown,
    /// The sender speaks for somebody.
    Proxied {
        /// For whom, and where that one wanted to go.
        addresses: Addresses,
        /// What else is known.
        tlvs: Tlvs,
    },
}

impl From<Addresses> for ProxyHeader {
    fn from(addresses: Addresses) -> Self {
        Self::Proxied { addresses, tlvs: Tlvs::default() }
    }
}

impl ProxyHeader {
    /// With one thing more that is known. A header that is not [`Proxied`](Self::Proxied) stays as it is: readers pass over
    /// what it has (section 2.2).
    ///
    /// # Errors
    ///
    /// See [`TlvError`].
    pub fn with_tlv(mut self, kind: u8, value: impl Into<Bytes>) -> Result<Self, TlvError> {
        if let Self::Proxied { tlvs, .. } = &mut self {
            tlvs.push(kind, value.into())?;
        }
        Ok(self)
    }

    /// The bytes to send before all others.
    pub fn to_bytes(&self) -> BytesMut {
        self.encode(Checksum::Without)
    }

    /// As [`to_bytes`](Self::to_bytes), with a checksum, where the way to the reader may change bytes (section 2.2.3).
    pub fn to_checked_bytes(&self) -> BytesMut {
        self.encode(Checksum::With)
    }

    fn encode(&self, checksum: Checksum) -> BytesMut {
        let (command, family) = match self {
            Self::Local => (LOCAL, UNSPECIFIED),
            Self::Unknown => (PROXY, UNSPECIFIED),
            Self::Proxied { addresses, .. } => (PROXY, addresses.family()),
        };
        let mut bytes = BytesMut::with_capacity(USUAL);
        bytes.put_slice(SIGNATURE);
        bytes.put_slice(&[VERSION | command, family]);
        // The length of what follows, which is known later.
        bytes.put_u16(0);
        if let Self::Proxied { addresses, tlvs } = self {
            addresses.write(&mut bytes);
            tlvs.write(&mut bytes);
        }
        let sum = matches!(checksum, Checksum::With).then(|| tlv::reserve_checksum(&mut bytes));
        // Always fits: addresses and TLVs are bounded far below.
        let length = u16::try_from(bytes.len() - FIXED).unwrap_or(u16::MAX);
        if let Some(place) = bytes.get_mut(FIXED - 2..FIXED) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        if let Some(at) = sum {
            checksum::fill(&mut bytes, at);
        }
        bytes
    }
}

enum Checksum {
    With,
    Without,
}

/// A header, and how many bytes it had; what follows belongs to the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The header.
    pub header: ProxyHeader,
    /// Its bytes, of those given.
    pub length: usize,
}

/// Reads the header that `bytes` begin with.
///
/// # Errors
///
/// [`ParseError::Incomplete`] says how many bytes to have before asking again; on any other, close the connection
/// (section 2.2): nothing may be taken from it.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let there = SIGNATURE.iter().zip(bytes);
    if !there.clone().all(|(expected, byte)| expected == byte) {
        return Err(ParseError::NotProxy);
    }
    let Some((head, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Err(Incomplete { needed: FIXED }.into());
    };
    let [.., version_and_command, family, high, low] = *head;
    if version_and_command & 0xf0 != VERSION {
        return Err(ParseError::Version { byte: version_and_command });
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_BLOCK {
        return Err(ParseError::TooLong { length, max: MAX_BLOCK });
    }
    let whole = bytes.get(..FIXED + length).ok_or(Incomplete { needed: FIXED + length })?;
    let block = rest.get(..length).unwrap_or(rest);
    let header = match version_and_command & 0x0f {
        // "The receiver must discard the protocol block including the family".
        LOCAL => ProxyHeader::Local,
        PROXY if family == UNSPECIFIED => ProxyHeader::Unknown,
        PROXY => {
            let (addresses, rest) = Addresses::read(family, block)?;
            ProxyHeader::Proxied { addresses, tlvs: Tlvs::read(whole, rest)? }
        }
        _ => return Err(ParseError::Command { byte: version_and_command }),
    };
    Ok(Parsed { header, length: FIXED + length })
}

/// Section 2.2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED: usize = SIGNATURE.len() + 4;
/// Room for addresses, a checksum, and a host name and an identity as meshes have them. Longer ones make it grow.
const USUAL: usize = 256;
/// Section 2.2, the high half of byte 13.
const VERSION: u8 = 0x20;
/// Section 2.2, the low half of byte 13.
const LOCAL: u8 = 0;
/// Section 2.2, the low half of byte 13.
const PROXY: u8 = 1;
/// Section 2.2, byte 14.
const UNSPECIFIED: u8 = 0;
/// Bytes after the fixed part that are read: a page. The specification asks to take what fits a TCP segment of 536 bytes;
/// the longest name that is handed over has 2048 (a SPIFFE id).
const MAX_BLOCK: usize = 4096;
