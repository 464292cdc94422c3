//! Entering: a socket made in each of many namespaces in turn.

use std::fs::File;
use std::net::UdpSocket;

use anyhow::{Context as _, Result};
use netns::{Home, Namespace};
use nix::sched::{CloneFlags, setns};

use crate::sample::Sample;

/// A socket in each namespace, so often, by each means in turn.
pub(crate) fn measure(namespaces: usize, visits: usize) -> Result<Vec<(&'static str, Sample)>> {
    let pods = (0..namespaces)
        .map(|_| Namespace::create())
        .collect::<Result<Vec<_>, _>>()
        .context("new namespaces")?;
    let here = File::open("/proc/thread-self/ns/net")?;
    let home = Home::of_this_thread()?;
    let [mut socket, mut by_hand, mut by_run, mut by_visit] = [(); 4].map(|()| Sample::default());
    for _ in 0..visits {
        for pod in &pods {
            socket.time(make)?;
            by_hand.time(|| -> Result<()> {
                setns(pod, CloneFlags::CLONE_NEWNET)?;
                let made = make();
                setns(&here, CloneFlags::CLONE_NEWNET)?;
                made
            })?;
            by_run.time(|| pod.run(make))??;
            by_visit.time(|| home.visit(pod, make))??;
        }
    }
    Ok(vec![
        ("a socket, without entering", socket),
        ("setns there and back by hand: no checks", by_hand),
        ("Namespace::run", by_run),
        ("Home::visit", by_visit),
    ])
}

/// Not bound: what is measured is the way.
fn make() -> Result<()> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    drop(UdpSocket::from(socket));
    Ok(())
}
