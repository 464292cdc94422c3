//! TcpFlags: what the flags of a TCP segment say.

use std::fmt;

/// What the flags of a TCP segment say (RFC 9293, section 3.1). Only what rules ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TcpFlags {
    /// It opens a connection: SYN, and none of ACK, FIN and RST.
    Opens,
    /// It does not open a connection: ACK. Every later segment has it, but some that reset (RFC 9293, section 3.1).
    Acknowledges,
    /// It resets a connection: RST. Such a segment carries no data.
    Resets,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl TcpFlags {
    /// All that rules ask for.
    pub(crate) const ALL: [Self; 3] = [Self::Opens, Self::Acknowledges, Self::Resets];

    /// Which flags count.
    pub(crate) const fn mask(self) -> u8 {
        match self {
            Self::Opens => FIN | SYN | RST | ACK,
            Self::Acknowledges => ACK,
            Self::Resets => RST,
        }
    }

    /// Which of them are set.
    pub(crate) const fn value(self) -> u8 {
        match self {
            Self::Opens => SYN,
            Self::Acknowledges => ACK,
            Self::Resets => RST,
        }
    }
}

impl fmt::Display for TcpFlags {
    /// As `nft` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opens => "tcp flags & (fin | syn | rst | ack) == syn",
            Self::Acknowledges => "tcp flags & ack == ack",
            Self::Resets => "tcp flags & rst == rst",
        })
    }
}
