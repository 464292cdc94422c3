//! Why bytes are no PROXY header, and why something cannot be put into one.

use thiserror::Error;

/// Why bytes are not a PROXY protocol header of version 2.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// What is there is the beginning of a header.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// They do not begin as a header of this version does.
    #[error("the bytes do not begin a PROXY header of version 2")]
    NotProxy,
    /// Another version.
    #[error("version of byte {byte:#04x} is not 2")]
    Version {
        /// Byte 13.
        byte: u8,
    },
    /// Neither LOCAL nor PROXY.
    #[error("byte {byte:#04x} has no command")]
    Command {
        /// Byte 13.
        byte: u8,
    },
    /// No family and transport that the protocol has.
    #[error("byte {byte:#04x} is no address family with a transport")]
    Family {
        /// Byte 14.
        byte: u8,
    },
    /// It says that it is longer than is read.
    #[error("the header has {length} bytes of addresses and more, and {max} are the most")]
    TooLong {
        /// Bytes after the fixed part.
        length: usize,
        /// The most that are read.
        max: usize,
    },
    /// Addresses or a value go on beyond the length that the header has.
    #[error("the header ends within one of its parts")]
    Truncated,
    /// Its checksum is another than it says.
    #[error("the header's checksum is wrong")]
    Checksum,
    /// One of its values cannot be.
    #[error("the header has a value that cannot be")]
    Tlv {
        /// Which, and why.
        #[from]
        source: TlvError,
    },
}

/// More bytes are needed to read a header.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("a PROXY header needs {needed} bytes")]
pub struct Incomplete {
    /// Bytes that there must be at least, with those that are.
    pub needed: usize,
}

/// Why a value cannot be in a header.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlvError {
    /// Its type belongs to the encoding.
    #[error("type {kind:#04x} belongs to the encoding")]
    Reserved {
        /// The type.
        kind: u8,
    },
    /// Its type is there already; readers would differ in which of two they take.
    #[error("type {kind:#04x} is repeated")]
    Repeated {
        /// The type.
        kind: u8,
    },
    /// It, or all together, is longer than is read or written.
    #[error("{length} bytes of values, and {max} are the most")]
    TooLong {
        /// Bytes.
        length: usize,
        /// The most.
        max: usize,
    },
}
