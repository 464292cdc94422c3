//! Mark: some bits of a packet's or a connection's mark, and the two marks that capture stands on.

use std::fmt;
use std::str::FromStr;

/// A value in some bits of a 32 bit mark: `value/mask`, as `ip rule` and iptables write it.
///
/// Always valid: the value lies within the mask and is not 0, because every packet that nobody marked has 0 there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    value: u32,
    mask: u32,
}

/// Why two numbers or a text are not a [`Mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// The value is 0, which every unmarked packet has.
    #[error("a mark's value is not 0: every unmarked packet would carry it")]
    Zero,
    /// The value has bits that the mask leaves out, so nothing could ever match it.
    #[error("the value {value:#x} does not lie within the mask {mask:#x}")]
    OutsideMask {
        /// The value.
        value: u32,
        /// The mask.
        mask: u32,
    },
    /// The text is not `value/mask`, both in hexadecimal after `0x` or in decimal.
    #[error("a mark is written value/mask, as in 0x539/0xfff")]
    Text,
}

impl Mark {
    /// The mark whose bits under `mask` are `value`.
    ///
    /// # Errors
    /// When the value is 0 or has bits outside the mask.
    pub const fn new(value: u32, mask: u32) -> Result<Self, MarkError> {
        if value == 0 {
            return Err(MarkError::Zero);
        }
        if value & !mask != 0 {
            return Err(MarkError::OutsideMask { value, mask });
        }
        Ok(Self { value, mask })
    }

    /// The bits.
    pub const fn value(self) -> u32 {
        self.value
    }

    /// Which bits count.
    pub const fn mask(self) -> u32 {
        self.mask
    }

    /// Whether a packet or connection with these 32 bits carries this mark.
    pub const fn is_on(self, bits: u32) -> bool {
        bits & self.mask == self.value
    }

    /// Whether what carries only the one is never taken for the other.
    pub(crate) const fn differs(self, other: Self) -> bool {
        !self.is_on(other.value) && !other.is_on(self.value)
    }
}

impl FromStr for Mark {
    type Err = MarkError;

    fn from_str(text: &str) -> Result<Self, MarkError> {
        let (value, mask) = text.split_once('/').ok_or(MarkError::Text)?;
        Self::new(number(value)?, number(mask)?)
    }
}

fn number(text: &str) -> Result<u32, MarkError> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // `from_str_radix` also takes a sign.
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(MarkError::Text);
    }
    u32::from_str_radix(digits, radix).map_err(|_| MarkError::Text)
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

/// The two marks that capture stands on. Always valid: neither can be taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Marks {
    proxy: Mark,
    connection: Mark,
}

/// Two marks cannot be told apart: a packet that carries only the one would match the other too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy's mark {proxy} and the connection mark {connection} cannot be told apart")]
#[non_exhaustive]
pub struct MarksError {
    /// The mark of the proxy's sockets.
    pub proxy: Mark,
    /// The mark of connections that the proxy opened.
    pub connection: Mark,
}

impl Marks {
    /// Istio's: 0x539/0xfff (1337) and 0x111/0xfff.
    pub const ISTIO: Self =
        Self { proxy: Mark { value: 0x539, mask: 0xfff }, connection: Mark { value: 0x111, mask: 0xfff } };

    /// These two marks.
    ///
    /// # Errors
    /// When a packet that carries only the one would match the other. Were the proxy's packets to carry the
    /// connection mark, they would be routed back to the pod; were replies to carry the proxy's, they would
    /// escape capture.
    pub const fn new(proxy: Mark, connection: Mark) -> Result<Self, MarksError> {
        if !proxy.differs(connection) {
            return Err(MarksError { proxy, connection });
        }
        Ok(Self { proxy, connection })
    }

    /// What the proxy sets with `SO_MARK` on each socket that it makes in the pod: the only sign by which the
    /// rules know its packets.
    pub const fn proxy(self) -> Mark {
        self.proxy
    }

    /// What a connection carries that the proxy opened to the application, so that the replies find the proxy.
    pub const fn connection(self) -> Mark {
        self.connection
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_that_match_unmarked_packets_or_nothing_are_refused() {
        assert_eq!(Mark::new(0, 0xfff), Err(MarkError::Zero));
        assert_eq!(Mark::new(0x1000, 0xfff), Err(MarkError::OutsideMask { value: 0x1000, mask: 0xfff }));
    }

    #[test]
    fn marks_that_can_be_taken_for_each_other_are_refused() {
        let mark = |value, mask| Mark::new(value, mask).unwrap();
        assert!(Marks::new(mark(0x539, 0xfff), mark(0x111, 0xfff)).is_ok());
        assert!(Marks::new(mark(1, 1), mark(2, 2)).is_ok());
        assert!(Marks::new(mark(1, 1), mark(3, 3)).is_err(), "3/3 also carries 1/1");
        assert!(Marks::new(mark(3, 3), mark(1, 1)).is_err());
        assert!(Marks::new(mark(5, 0xff), mark(5, 0xff)).is_err());
    }

    #[test]
    fn text_that_is_no_mark_is_refused() {
        for text in ["", "0x539", "0x539/", "/0xfff", "0x539/0xfff/1", "+1/1", "0x+1/1", "0x1ffffffff/0xfff"]
        {
            assert_eq!(text.parse::<Mark>(), Err(MarkError::Text), "{text:?}");
        }
        assert_eq!("1337/4095".parse(), Mark::new(0x539, 0xfff));
    }

    proptest! {
        #[test]
        fn text_round_trips(value: u32, mask: u32) {
            if let Ok(mark) = Mark::new(value, mask) {
                prop_assert_eq!(mark.to_string().parse(), Ok(mark));
                prop_assert!(mark.is_on(value) && !mark.is_on(0));
            }
        }
    }
}
