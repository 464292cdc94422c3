//! Network: a range of addresses, in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::family::Family;

/// A range of addresses (RFC 4632, section 3.1): `10.0.0.0/8`, `fd00::/8`. A bare address is a network of one.
///
/// Always valid: the prefix is no longer than the address, and no bit beyond it is set, so one network has one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text or an address and a prefix are not a [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The text is neither an address nor address/prefix.
    #[error("a network is written as an address, or as address/prefix, such as 10.0.0.0/8")]
    Text,
    /// The prefix is longer than the address.
    #[error("a prefix of {prefix} bits is longer than the address {address}")]
    PrefixTooLong {
        /// The address.
        address: IpAddr,
        /// The prefix, in bits.
        prefix: u8,
    },
    /// Bits beyond the prefix are set, so it is not clear which network is meant.
    #[error("{address}/{prefix} has bits beyond its prefix; the network is {network}")]
    HostBits {
        /// The address.
        address: IpAddr,
        /// The prefix, in bits.
        prefix: u8,
        /// The network in which the address is.
        network: Network,
    },
}

impl Network {
    /// The network of this address and prefix length, in bits.
    ///
    /// # Errors
    /// When the prefix is longer than the address, or when the address has bits beyond the prefix.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        if prefix > Family::of(address).address_bits() {
            return Err(NetworkError::PrefixTooLong { address, prefix });
        }
        let network = Self { address: cut(address, prefix), prefix };
        if network.address != address {
            return Err(NetworkError::HostBits { address, prefix, network });
        }
        Ok(network)
    }

    /// The network of one address.
    pub const fn single(address: IpAddr) -> Self {
        let prefix = match address {
            IpAddr::V4(_) => Family::V4.address_bits(),
            IpAddr::V6(_) => Family::V6.address_bits(),
        };
        Self { address, prefix }
    }

    /// The first address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits all its addresses share.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it holds one address only.
    pub fn is_single(self) -> bool {
        self.prefix == self.family().address_bits()
    }

    /// The family of its addresses.
    pub fn family(self) -> Family {
        Family::of(self.address)
    }

    /// Whether the address is one of its own.
    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && cut(address, self.prefix) == self.address
    }

    /// The last address.
    pub(crate) fn last(self) -> IpAddr {
        let prefix = u32::from(self.prefix);
        match self.address {
            IpAddr::V4(first) => {
                let hosts = u32::MAX.checked_shr(prefix).unwrap_or(0);
                IpAddr::V4((first.to_bits() | hosts).into())
            }
            IpAddr::V6(first) => {
                let hosts = u128::MAX.checked_shr(prefix).unwrap_or(0);
                IpAddr::V6((first.to_bits() | hosts).into())
            }
        }
    }

    /// The bits that all its addresses share, as a mask over an address in network order.
    pub(crate) fn mask(self) -> Vec<u8> {
        match cut(self.family().highest(), self.prefix) {
            IpAddr::V4(mask) => mask.octets().into(),
            IpAddr::V6(mask) => mask.octets().into(),
        }
    }
}

/// The address with all bits beyond the prefix cleared.
fn cut(address: IpAddr, prefix: u8) -> IpAddr {
    // A shift by all bits is no shift at all to the processor, so it is asked for in a checked way.
    match address {
        IpAddr::V4(address) => {
            let beyond = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & !beyond).into()
        }
        IpAddr::V6(address) => {
            let beyond = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & !beyond).into()
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self::single(address)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| NetworkError::Text);
        let Some((first, prefix)) = text.split_once('/') else { return address(text).map(Self::single) };
        // `u8::from_str` also takes a sign.
        if !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NetworkError::Text);
        }
        Self::new(address(first)?, prefix.parse().map_err(|_| NetworkError::Text)?)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_are_no_network_are_refused() {
        for text in
            ["", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "/8", "10.0.0.0/8/8", "10.0.0.0/256", "::1%lo"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Text), "{text:?}");
        }
        let address = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(
            "10.0.0.1/33".parse::<Network>(),
            Err(NetworkError::PrefixTooLong { address, prefix: 33 })
        );
        let network = Network::new([10, 0, 0, 0].into(), 8).unwrap();
        assert_eq!(
            "10.0.0.1/8".parse::<Network>(),
            Err(NetworkError::HostBits { address, prefix: 8, network })
        );
    }

    #[test]
    fn everything_is_in_the_network_of_no_bits() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains([255, 255, 255, 255].into()) && !all.contains(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(all.mask(), [0; 4]);
    }

    fn addresses() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::V4), any::<Ipv6Addr>().prop_map(IpAddr::V6)]
    }

    proptest! {
        #[test]
        fn text_round_trips_and_the_network_holds_what_it_was_cut_from(address in addresses(), prefix in 0_u8..=128) {
            let prefix = prefix.min(Family::of(address).address_bits());
            let network = Network::new(cut(address, prefix), prefix).unwrap();
            prop_assert_eq!(network.to_string().parse(), Ok(network));
            prop_assert!(network.contains(address));
            prop_assert_eq!(network.mask().iter().map(|byte| byte.count_ones()).sum::<u32>(), u32::from(prefix));
        }
    }
}
