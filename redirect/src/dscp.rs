//! Dscp: the class of service that a packet asks for.

use std::fmt;
use std::str::FromStr;

/// The differentiated services code point of a packet: six bits of its IP header (RFC 2474, section 3). Always valid: from 1
/// to 63, because 0 is what every packet has that nobody classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dscp(u8);

/// Why a number or a text is not a [`Dscp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a class of service (DSCP) is a number from 1 to 63, in decimal or after 0x in hexadecimal")]
#[non_exhaustive]
pub struct DscpError;

impl Dscp {
    /// The code point of this number.
    ///
    /// # Errors
    /// When it is 0 or has more than six bits.
    pub const fn new(number: u8) -> Result<Self, DscpError> {
        if number == 0 || number > 63 { Err(DscpError) } else { Ok(Self(number)) }
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Dscp {
    type Err = DscpError;

    fn from_str(text: &str) -> Result<Self, DscpError> {
        let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
        // `from_str_radix` also takes a sign.
        if !digits.chars().all(|digit| digit.is_digit(radix)) {
            return Err(DscpError);
        }
        u8::from_str_radix(digits, radix).map_err(|_| DscpError).and_then(Self::new)
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_class_or_too_many_bits_is_refused() {
        for text in ["", "0", "0x", "64", "0x40", "+1", "0x+1", "ef", "256"] {
            assert_eq!(text.parse::<Dscp>(), Err(DscpError), "{text:?}");
        }
        for number in 1..64 {
            let dscp = Dscp::new(number).unwrap();
            assert_eq!(dscp.to_string().parse(), Ok(dscp));
            assert_eq!(number.to_string().parse(), Ok(dscp));
        }
    }
}
