//! PortRange: TCP or UDP ports that follow each other.

use std::fmt;
use std::str::FromStr;

use crate::port::{Port, PortError};

/// Ports that follow each other, both ends included: `80`, `8000-8080`. Always valid: the first is not after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: Port,
    last: Port,
}

/// Why a text or two ports are not a [`PortRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortRangeError {
    /// An end is no port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The first port is after the last.
    #[error("port {first} is after port {last}")]
    Backwards {
        /// The first.
        first: Port,
        /// The last.
        last: Port,
    },
}

impl PortRange {
    /// The ports from `first` to `last`.
    ///
    /// # Errors
    /// When the first is after the last.
    pub fn new(first: Port, last: Port) -> Result<Self, PortRangeError> {
        if first > last {
            return Err(PortRangeError::Backwards { first, last });
        }
        Ok(Self { first, last })
    }

    /// One port.
    pub const fn single(port: Port) -> Self {
        Self { first: port, last: port }
    }

    /// The first port.
    pub const fn first(self) -> Port {
        self.first
    }

    /// The last port.
    pub const fn last(self) -> Port {
        self.last
    }

    /// Whether the port is one of them.
    pub fn contains(self, port: Port) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl From<Port> for PortRange {
    fn from(port: Port) -> Self {
        Self::single(port)
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    /// `80` or `8000-8080`; `8000:8080`, as iptables writes it, as well.
    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        match text.split_once(['-', ':']) {
            Some((first, last)) => Self::new(first.parse()?, last.parse()?),
            None => Ok(Self::single(text.parse()?)),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_are_no_range_are_refused() {
        for text in ["", "-", "80-", "-80", "80-81-82", "0-80", "80 - 81", "a-b"] {
            assert_eq!(text.parse::<PortRange>(), Err(PortRangeError::Port(PortError)), "{text:?}");
        }
        let (first, last) = (Port::literal(81), Port::literal(80));
        assert_eq!("81-80".parse::<PortRange>(), Err(PortRangeError::Backwards { first, last }));
    }

    proptest! {
        #[test]
        fn text_round_trips(one in 1_u16.., other in 1_u16..) {
            let (first, last) = (one.min(other), one.max(other));
            let range = PortRange::new(Port::new(first).unwrap(), Port::new(last).unwrap()).unwrap();
            prop_assert_eq!(range.to_string().parse(), Ok(range));
            prop_assert_eq!(format!("{first}:{last}").parse(), Ok(range));
            prop_assert!(range.contains(Port::new(one).unwrap()));
        }
    }
}
