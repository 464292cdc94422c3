use proptest::prelude::*;

use super::*;
use crate::intent::Intent;
use crate::live::{SocketName, TcpState};

const HERE: &str = "10.0.0.1";
const THERE: &str = "10.9.9.9";

fn socket(local: (&str, u16), remote: (&str, u16), mark: u32) -> TcpSocket {
    let address = |(ip, port): (&str, u16)| SocketAddr::new(ip.parse().unwrap(), port);
    let (local, remote) = (address(local), address(remote));
    let mut bytes = [0; SocketName::LEN];
    bytes[..2].copy_from_slice(&local.port().to_be_bytes());
    bytes[2..4].copy_from_slice(&remote.port().to_be_bytes());
    let name = SocketName { family: Family::of(local.ip()), bytes };
    TcpSocket { local, remote, state: TcpState::Established, mark: Some(mark), user: 0, name }
}

fn decide(looks: &[Vec<TcpSocket>], tracked: Tracked) -> Vec<TcpSocket> {
    let plan = Plan::new(&Intent::ambient());
    let candidates = candidates(&plan, looks).into_iter().map(|socket| (socket, tracked)).collect();
    uncaptured(&plan, looks, candidates)
}

#[test]
fn conntrack_has_the_word_and_the_proxys_end_is_what_is_left() {
    let application = socket((HERE, 40_000), (THERE, 80), 0);
    let at_proxy = socket(("127.0.0.1", 15001), (HERE, 40_000), 0x539);
    for (tracked, alone, with_proxy) in
        [(Tracked::AsMeant, 1, 1), (Tracked::Elsewhere, 0, 0), (Tracked::Unknown, 1, 0)]
    {
        let alone_looks = [vec![application.clone()], vec![]];
        assert_eq!(decide(&alone_looks, tracked).len(), alone, "{tracked:?}");
        // The same port of the application may be that of two connections: so the proxy's end is not proof.
        let looks = [vec![application.clone()], vec![at_proxy.clone()]];
        assert_eq!(decide(&looks, tracked).len(), with_proxy, "{tracked:?}");
    }
}

#[test]
fn the_proxys_own_and_what_stays_in_the_pod_are_none() {
    let sockets = vec![
        socket((HERE, 40_000), (THERE, 15008), 0x539),
        socket((HERE, 15008), (THERE, 40_000), 0),
        socket(("127.0.0.1", 40_000), ("127.0.0.1", 80), 0),
        socket((HERE, 40_001), (HERE, 80), 0),
        socket((HERE, 80), (HERE, 40_001), 0),
        // What the proxy delivers, as the client: both ends are here.
        socket((THERE, 50_000), (HERE, 81), 0x539),
        socket((HERE, 81), (THERE, 50_000), 0),
    ];
    assert_eq!(decide(&[sockets, vec![]], Tracked::Unknown), []);
}

#[test]
fn what_is_only_in_the_last_look_may_be_captured() {
    let application = socket((HERE, 40_000), (THERE, 80), 0);
    assert_eq!(decide(&[vec![], vec![application]], Tracked::Unknown), []);
}

proptest! {
    /// One look may miss a socket; what is in any but the last is there once.
    #[test]
    fn each_socket_is_there_once(seen in proptest::collection::vec(any::<[bool; 3]>(), 0..20)) {
        let of = |look: usize| {
            let ports = (0_u16..).zip(&seen).filter(|(_, seen)| seen[look]).map(|(number, _)| 40_000 + number);
            ports.map(|port| socket((HERE, port), (THERE, 80), 0)).collect::<Vec<_>>()
        };
        let found = decide(&[of(0), of(1), of(2)], Tracked::Unknown);
        let expected = seen.iter().filter(|[first, second, _]| *first || *second).count();
        prop_assert_eq!(found.len(), expected);
    }
}
