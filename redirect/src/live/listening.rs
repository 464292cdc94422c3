//! Listening: a TCP socket that waits for connections, as the kernel tells of the sockets in a namespace.

use std::net::SocketAddr;

/// A TCP socket that waits for connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listening {
    pub(crate) local: SocketAddr,
    pub(crate) only_ipv6: bool,
    pub(crate) mark: Option<u32>,
    pub(crate) user: u32,
    pub(crate) waiting: u32,
    pub(crate) most_waiting: u32,
}

impl Listening {
    /// Where it waits. The unspecified address is any of the host's; that of IPv6 stands for those of IPv4 too, unless
    /// it [is only for IPv6](Self::is_only_ipv6).
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether it takes connections over IPv6 alone (`IPV6_V6ONLY`).
    pub fn is_only_ipv6(&self) -> bool {
        self.only_ipv6
    }

    /// The socket's mark (`SO_MARK`); none when the kernel does not tell, as it does to `CAP_NET_ADMIN`.
    pub fn mark(&self) -> Option<u32> {
        self.mark
    }

    /// The user whose socket it is, by the number in the user namespace of who asked.
    pub fn user(&self) -> u32 {
        self.user
    }

    /// How many connections wait to be accepted.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// How many can wait (`listen(2)`). When more do, new ones are not answered.
    pub fn most_waiting(&self) -> u32 {
        self.most_waiting
    }

    /// Whether a connection to this address of the host would come to it, or to another that waits there too.
    pub fn takes(&self, destination: SocketAddr) -> bool {
        let (own, to) = (self.local.ip(), destination.ip().to_canonical());
        let same_family = own.is_ipv4() == to.is_ipv4();
        let is_there =
            own == to || (own.is_unspecified() && (same_family || (own.is_ipv6() && !self.only_ipv6)));
        self.local.port() == destination.port() && is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_what_comes_to_its_address() {
        let at = |local: &str, only_ipv6| Listening {
            local: local.parse().unwrap(),
            only_ipv6,
            mark: None,
            user: 0,
            waiting: 0,
            most_waiting: 1,
        };
        let takes = |local, only_ipv6, to: &str| at(local, only_ipv6).takes(to.parse().unwrap());
        assert!(takes("[::]:80", false, "10.0.0.1:80"));
        assert!(takes("[::]:80", false, "[fd00::1]:80"));
        assert!(!takes("[::]:80", true, "10.0.0.1:80"));
        assert!(takes("0.0.0.0:80", false, "10.0.0.1:80"));
        assert!(!takes("0.0.0.0:80", false, "[fd00::1]:80"));
        assert!(!takes("127.0.0.1:80", false, "10.0.0.1:80"));
        assert!(takes("10.0.0.1:80", false, "[::ffff:10.0.0.1]:80"));
        assert!(!takes("[::]:80", false, "10.0.0.1:81"));
    }
}
