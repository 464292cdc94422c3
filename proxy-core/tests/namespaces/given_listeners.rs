//! Listening sockets that come with a pod: what is not its listeners is refused, what is is accepted from, and exchanged while it is.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use inpod_proxy_core::zds::Request;
use netns::{Namespace, SocketOptions};
use socket2::{Domain, Socket, Type};
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Pod;
use testkit::leaks::Baseline;

use crate::mesh::foreign_agent::{ForeignAgent, Reaction, descriptors_settle};
use crate::mesh::{APPLICATION, Result, listening, pod_name};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("sockets_that_are_not_the_pods_listeners_are_refused", wrong_sockets_are_refused).serial(),
        test("a_proxy_serves_on_sockets_that_it_was_given", a_proxy_serves_on_given_sockets).serial(),
        test("listeners_are_exchanged_while_they_accept", listeners_are_exchanged).serial(),
    ]
}

const MARK: u32 = 0x539;

fn all(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

fn bound(namespace: &Namespace, address: SocketAddr, mark: u32) -> Result<OwnedFd> {
    let options = SocketOptions::default().mark(mark).reuse_port().transparent();
    Ok(namespace.tcp_listener(address, &options)?.into())
}

/// Listeners as an agent binds them.
fn right(namespace: &Namespace) -> Result<Vec<OwnedFd>> {
    [15001, 15006, 15008].iter().map(|port| bound(namespace, all(*port), MARK)).collect()
}

fn add(pod: &Pod) -> Vec<u8> {
    Request::Add { uid: pod.name().into(), name: pod_name(pod) }.encode()
}

fn descriptors<'a>(pod: &'a Pod, sockets: &'a [OwnedFd]) -> Vec<BorrowedFd<'a>> {
    let sockets = sockets.iter().map(|socket| socket.as_fd());
    [pod.namespace().as_fd()].into_iter().chain(sockets).collect()
}

fn wrong_sockets_are_refused() -> Outcome {
    let mut scene = ForeignAgent::new()?;
    let new = scene.mesh.lab.pod("new")?;
    let (pod, node) = (new.namespace(), scene.mesh.lab.node().clone());
    let baseline = Baseline::take()?;
    let silent = pod.run(|| Socket::new(Domain::IPV6, Type::STREAM, None))??;
    let datagrams = pod.udp_socket(all(15008), &SocketOptions::default())?;
    let with = |other: OwnedFd| -> Result<Vec<OwnedFd>> {
        let mut sockets = right(pod)?;
        sockets.truncate(2);
        sockets.push(other);
        Ok(sockets)
    };
    let one: SocketAddr = (Ipv4Addr::LOCALHOST, 15008).into();
    let wrong: Vec<(&str, Vec<OwnedFd>, &str)> = vec![
        ("a namespace", with(nix::unistd::dup(pod.as_fd())?)?, "what it is"),
        ("a socket that does not listen", with(silent.into())?, "not a TCP listener"),
        ("a datagram socket", with(datagrams.into())?, "not a TCP listener"),
        ("a listener of the node", with(bound(&node, all(15008), MARK)?)?, "not in the pod"),
        ("no mark", with(bound(pod, all(15008), 1)?)?, "mark 0x1; 0x539 is ours"),
        ("another port", with(bound(pod, all(15009), MARK)?)?, "[::]:15009, where none is wanted"),
        ("one address", with(bound(pod, one, MARK)?)?, "127.0.0.1:15008, where none is wanted"),
        ("one port twice", with(bound(pod, all(15001), MARK)?)?, "no listener on port 15008"),
        ("one port only", vec![bound(pod, all(15008), MARK)?], "no listener on port 15001"),
    ];
    for (what, sockets, reason) in &wrong {
        let reaction = scene.say(&add(&new), &descriptors(&new, sockets))?;
        assert!(
            matches!(&reaction, Reaction::Refused(said) if said.contains(reason)),
            "{what}: {reaction:?}"
        );
        scene.pods_are_served()?;
    }
    drop(wrong);
    descriptors_settle(&baseline)?;
    assert_eq!(listening(&new, 15008)?, 0);
    scene.pods_are_served()
}

/// Who accepts there is all that it needs.
fn a_proxy_serves_on_given_sockets() -> Outcome {
    let mut scene = ForeignAgent::new()?;
    let [client, server] = scene.pods.clone();
    let new = scene.mesh.lab.pod("new")?;
    let sockets = right(new.namespace())?;
    let reaction = scene.say(&add(&new), &descriptors(&new, &sockets))?;
    assert!(matches!(reaction, Reaction::Acknowledged), "{reaction:?}");
    assert_eq!(listening(&new, 15008)?, 1, "none is bound beside the one that was given");
    let _server = http::Server::start(server.namespace(), APPLICATION + 1)?;
    for address in [SocketAddr::from((server.v4(), APPLICATION + 1)), (server.v6(), APPLICATION + 1).into()] {
        assert_eq!(http::request(client.namespace(), address, "/", b"hello")?.status(), 200);
    }
    Ok(())
}

/// Other listeners come for a pod that is served: as from an agent that was started again.
fn listeners_are_exchanged() -> Outcome {
    let mut scene = ForeignAgent::new()?;
    let [client, server] = scene.pods.clone();
    let _server = http::Server::start(server.namespace(), APPLICATION + 1)?;
    let address = SocketAddr::from((server.v4(), APPLICATION + 1));
    for _ in 0..3 {
        for pod in [&client, &server] {
            let sockets = right(pod.namespace())?;
            for _same in 0..2 {
                let reaction = scene.say(&add(pod), &descriptors(pod, &sockets))?;
                assert!(matches!(reaction, Reaction::Acknowledged), "{reaction:?}");
            }
            for _ in 0..20 {
                assert_eq!(http::request(client.namespace(), address, "/", b"hello")?.status(), 200);
            }
        }
    }
    crate::mesh::wait_for(|| Ok(listening(&client, 15001)? == 1 && listening(&server, 15008)? == 1))?;
    scene.live_connection_lives()
}
