//! ProbeAddresses: from where the node's health probes come.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::family::Family;

/// The addresses from which the node's health probes come (the node translates the source of each probe to
/// them, so that rules in the pod can know it). Always valid: neither unspecified, loopback nor multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeAddresses {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

/// An address from which no probe can come: unspecified, loopback or multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no probe can come from {0}")]
#[non_exhaustive]
pub struct ProbeAddressError(pub IpAddr);

impl ProbeAddresses {
    /// Istio's: 169.254.7.127 and fd16:9254:7127:1337:ffff:ffff:ffff:ffff (`HOST_PROBE_SNAT_IP` and
    /// `HOST_PROBE_SNAT_IPV6`).
    pub const ISTIO: Self = Self {
        v4: Ipv4Addr::new(169, 254, 7, 127),
        v6: Ipv6Addr::new(0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff),
    };

    /// These addresses.
    ///
    /// # Errors
    /// When no probe can come from one of them.
    pub const fn new(v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Self, ProbeAddressError> {
        if v4.is_unspecified() || v4.is_loopback() || v4.is_multicast() || v4.is_broadcast() {
            return Err(ProbeAddressError(IpAddr::V4(v4)));
        }
        if v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() {
            return Err(ProbeAddressError(IpAddr::V6(v6)));
        }
        Ok(Self { v4, v6 })
    }

    /// The address of this family.
    pub const fn of(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_probe_comes_from_loopback_or_everywhere() {
        let v6 = "fd00::1".parse().unwrap();
        assert!(ProbeAddresses::new(Ipv4Addr::new(169, 254, 7, 127), v6).is_ok());
        assert!(ProbeAddresses::new(Ipv4Addr::UNSPECIFIED, v6).is_err());
        assert!(ProbeAddresses::new(Ipv4Addr::LOCALHOST, v6).is_err());
        assert!(ProbeAddresses::new(Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::LOCALHOST).is_err());
    }
}
