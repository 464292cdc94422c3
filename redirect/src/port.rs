//! Port: a TCP or UDP port that one can listen on.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A TCP or UDP port, never 0 (port 0 means "choose one" and can be neither matched nor redirected to).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

/// Why a number or a text is not a [`Port`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a port is a number from 1 to 65535")]
#[non_exhaustive]
pub struct PortError;

impl Port {
    /// The port of this number.
    ///
    /// # Errors
    /// When the number is 0.
    pub const fn new(number: u16) -> Result<Self, PortError> {
        match NonZeroU16::new(number) {
            Some(number) => Ok(Self(number)),
            None => Err(PortError),
        }
    }

    /// A port written in this crate's source.
    #[expect(clippy::expect_used, reason = "evaluated at compile time only: a zero does not compile")]
    pub(crate) const fn literal(number: u16) -> Self {
        Self(NonZeroU16::new(number).expect("a literal port is not zero"))
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u16> for Port {
    type Error = PortError;

    fn try_from(number: u16) -> Result<Self, PortError> {
        Self::new(number)
    }
}

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        // `u16::from_str` also takes a sign, which is no port.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PortError);
        }
        text.parse().map_err(|_| PortError).and_then(Self::new)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_signs_and_words_are_no_ports() {
        assert_eq!(Port::new(0), Err(PortError));
        for text in ["", "0", "+80", "-1", "65536", "http", " 80"] {
            assert_eq!(text.parse::<Port>(), Err(PortError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(number in 1_u16..) {
            let port = Port::new(number).unwrap();
            prop_assert_eq!(port.to_string().parse::<Port>().unwrap(), port);
        }
    }
}
