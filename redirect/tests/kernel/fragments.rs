//! Packets in pieces, which do not all show what they are for: they are captured as whole ones are.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use inpod_redirect::{Family, Intent, remove};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use testkit::canary::Capture;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Pod};

use crate::escapes::CANARY;
use crate::scene::{OUTBOUND, PLAINTEXT, SOME, Scene, settle};

/// The port from which the packet comes.
const CLIENT: u16 = 40_000;
/// The length of a header of TCP with as many options as make it a multiple of 8 bytes.
const HEADER: usize = 24;
/// `IPPROTO_RAW` (`linux/in.h`): headers are given.
const RAW: i32 = 255;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `IPPROTO_FRAGMENT` (`linux/in6.h`).
const FRAGMENT: u8 = 44;
/// What tells the pieces of one packet from those of another.
const PACKET: u16 = 7;

/// Its name, and what happens.
type Test = (&'static str, fn(&Scene) -> Outcome);

/// The length of the first piece, in bytes: the least that the kernel takes for one. In IPv4 it has the ports of TCP, and not
/// its flags; in IPv6 it has all headers (RFC 8200, section 4.5).
fn first(family: Family) -> usize {
    match family {
        Family::V4 => 8,
        Family::V6 => HEADER,
    }
}

pub(crate) fn tests() -> Vec<Case> {
    let tests: [Test; 2] = [("outbound", outbound), ("inbound", inbound)];
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        for (name, body) in tests {
            let case = test(format!("fragments::{family}_{name}_are_captured"), move || {
                body(&Scene::new(Intent::ambient(), family)?)
            });
            cases.push(case.needs_program("conntrack"));
        }
    }
    cases
}

fn outbound(scene: &Scene) -> Outcome {
    let wire = Capture::start(scene.peer.namespace(), INTERFACE)?;
    send_in_pieces(&scene.app, scene.app_ip(), scene.peer_ip())?;
    settle(&scene.app, &scene.peer, scene.family)?;
    assert!(!wire.stop()?.contains(CANARY), "it escaped");
    assert!(is_redirected(scene, OUTBOUND)?);

    // Without the plan it does leave.
    scene.app.run(|| remove(&scene.plan))??;
    let wire = Capture::start(scene.peer.namespace(), INTERFACE)?;
    send_in_pieces(&scene.app, scene.app_ip(), scene.peer_ip())?;
    settle(&scene.app, &scene.peer, scene.family)?;
    assert!(wire.stop()?.contains(CANARY), "the packet is one that can be sent");
    Ok(())
}

fn inbound(scene: &Scene) -> Outcome {
    assert!(!is_redirected(scene, PLAINTEXT)?);
    send_in_pieces(&scene.peer, scene.peer_ip(), scene.app_ip())?;
    settle(&scene.peer, &scene.app, scene.family)?;
    assert!(is_redirected(scene, PLAINTEXT)?);
    Ok(())
}

/// Whether conntrack in the pod knows the connection as one that goes to this port of the proxy.
fn is_redirected(scene: &Scene, port: u16) -> Result<bool, Box<dyn Error>> {
    let arguments =
        ["-L", "-f", &scene.family.to_string(), "-p", "tcp", "--orig-port-src", &CLIENT.to_string()];
    let listed = scene.app.run(|| Command::new("conntrack").args(arguments).output())??;
    Ok(String::from_utf8(listed.stdout)?.contains(&format!("sport={port} dport={CLIENT}")))
}

/// A packet that opens a connection and has data already.
fn send_in_pieces(from: &Pod, source: IpAddr, destination: IpAddr) -> Outcome {
    let to = SocketAddr::new(destination, 0);
    let socket =
        from.run(|| Socket::new(Domain::for_address(to), Type::RAW, Some(Protocol::from(RAW))))??;
    let segment = segment(source, destination);
    let length = first(if source.is_ipv4() { Family::V4 } else { Family::V6 });
    let (first, rest) = segment.split_at(length);
    for piece in [packet(source, destination, first, 0), packet(source, destination, rest, length)] {
        assert_eq!(socket.send_to(&piece, &SockAddr::from(to))?, piece.len());
    }
    Ok(())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

/// RFC 9293, section 3.1: SYN, a window, the canary.
fn segment(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let header = |sum: u16| {
        [
            &CLIENT.to_be_bytes()[..],
            &SOME.to_be_bytes(),
            &1_u32.to_be_bytes(),
            &0_u32.to_be_bytes(),
            &[6 << 4, 0x02],
            &u16::MAX.to_be_bytes(),
            &sum.to_be_bytes(),
            &[0, 0],
            // Options that say nothing.
            &[1; 4],
            CANARY,
        ]
        .concat()
    };
    let length = u16::try_from(header(0).len()).unwrap();
    let pseudo =
        [&octets(source)[..], &octets(destination), &[0, TCP], &length.to_be_bytes(), &header(0)].concat();
    header(checksum(&pseudo))
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    };
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

/// A piece in a packet of its own (RFC 791, section 3.1; RFC 8200, sections 3 and 4.5). More follow, but on the last.
fn packet(source: IpAddr, destination: IpAddr, piece: &[u8], offset: usize) -> Vec<u8> {
    let place = u16::try_from(offset).unwrap();
    let more = u16::from(offset == 0);
    let header = match source {
        IpAddr::V4(_) => {
            // The kernel fills in the checksum.
            let length = u16::try_from(20 + piece.len()).unwrap();
            let fragment = (more << 13) | (place / 8);
            [
                &[0x45, 0][..],
                &length.to_be_bytes(),
                &PACKET.to_be_bytes(),
                &fragment.to_be_bytes(),
                &[64, TCP, 0, 0],
                &octets(source),
                &octets(destination),
            ]
            .concat()
        }
        IpAddr::V6(_) => {
            let length = u16::try_from(8 + piece.len()).unwrap();
            [
                &[0x60, 0, 0, 0][..],
                &length.to_be_bytes(),
                &[FRAGMENT, 64],
                &octets(source),
                &octets(destination),
                &[TCP, 0],
                &(place | more).to_be_bytes(),
                &u32::from(PACKET).to_be_bytes(),
            ]
            .concat()
        }
    };
    [header, piece.into()].concat()
}
