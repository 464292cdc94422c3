//! Addresses by the part they play, so that two of them cannot change places unnoticed.
//!
//! A dual-stack listener reports IPv4 peers as `::ffff:a.b.c.d`; every role type holds the canonical form, so that
//! an address compares equal however it arrived (RFC 4291 §2.5.5.2).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(SocketAddr);

        impl $name {
            /// Takes `address` in this role, in its canonical form.
            #[must_use]
            pub fn new(address: SocketAddr) -> Self {
                Self(SocketAddr::new(address.ip().to_canonical(), address.port()))
            }

            /// The IP address, canonical.
            #[must_use]
            pub fn ip(self) -> IpAddr {
                self.0.ip()
            }

            /// The port.
            #[must_use]
            pub fn port(self) -> u16 {
                self.0.port()
            }

            /// The address without its role, for handing to the kernel.
            #[must_use]
            pub fn socket_addr(self) -> SocketAddr {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

role! {
    /// Who opened the connection: the application in the pod (outbound) or the peer on the network (inbound).
    ClientAddr
}
role! {
    /// Where the client meant to go before the kernel redirected it to us (`SO_ORIGINAL_DST`).
    OriginalDst
}
role! {
    /// Our own end of an accepted connection; on 15008 its IP is the pod's address that the peer dialled.
    LocalAddr
}
role! {
    /// A hop that is dialled: a peer's HBONE port, or a destination outside the mesh.
    HopAddr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_its_ipv4_self() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:80".parse().unwrap();
        let plain: SocketAddr = "10.0.0.1:80".parse().unwrap();
        assert_eq!(ClientAddr::new(mapped), ClientAddr::new(plain));
        assert_eq!(ClientAddr::new(mapped).to_string(), "10.0.0.1:80");
    }
}
