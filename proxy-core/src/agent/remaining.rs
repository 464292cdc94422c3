//! Remaining: how many connections of applications a proxy still carries in a pod. Its tunnels stay open with nothing in them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use redirect::{Ports, TcpSocket};

/// A socket's own address and its peer's.
pub(super) type Ends = (SocketAddr, SocketAddr);

pub(super) fn ends(socket: &TcpSocket) -> Ends {
    (socket.local(), socket.remote())
}

/// Counts those of the proxy's sockets in a pod (`its`, among `all`) that an application is at the other end of: what was captured,
/// and what it has opened to a listener in the pod. Not its tunnels from and to other nodes.
pub(super) fn remaining(
    all: impl IntoIterator<Item = Ends>,
    its: impl IntoIterator<Item = Ends>,
    ports: Ports,
) -> usize {
    let all: BTreeSet<Ends> = all.into_iter().collect();
    let carries = |(local, remote): Ends| {
        let is = |port: redirect::Port| local.port() == port.number();
        let is_captured = is(ports.outbound) || is(ports.inbound_plaintext);
        is_captured || (!is(ports.inbound_hbone) && all.contains(&(remote, local)))
    };
    its.into_iter().filter(|&ends| carries(ends)).count()
}

#[cfg(test)]
mod tests {
    use redirect::Intent;

    use super::*;

    fn ends(local: &str, remote: &str) -> Ends {
        (local.parse().unwrap(), remote.parse().unwrap())
    }

    #[test]
    fn tunnels_are_not_counted_and_what_they_carry_is() {
        let captured = ends("127.0.0.1:15001", "10.0.0.1:40000");
        let plaintext = ends("10.0.0.1:15006", "10.0.0.9:40001");
        let tunnel_in = ends("10.0.0.1:15008", "10.0.0.2:40002");
        let tunnel_out = ends("10.0.0.1:40003", "10.0.0.2:15008");
        let to_application = ends("10.0.0.2:40004", "10.0.0.1:8080");
        let applications = ends("10.0.0.1:8080", "10.0.0.2:40004");
        let its = [captured, plaintext, tunnel_in, tunnel_out, to_application];
        let all = [&its[..], &[applications]].concat();
        let count = |its: &[Ends]| remaining(all.clone(), its.to_vec(), Intent::ambient().ports());
        assert_eq!(count(&its), 3);
        assert_eq!(count(&[tunnel_in, tunnel_out]), 0);
        assert_eq!(count(&[to_application]), 1);
    }
}
