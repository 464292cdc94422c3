//! Wire: what passes on the cables between pods while something is done.

use std::collections::BTreeMap;

use anyhow::Result;
use testkit::canary::{Capture, Frames};
use testkit::lab::{INTERFACE, Pod};

use crate::evidence::same;

/// Ports from here on are what the kernel gives to clients (`ip_local_port_range` of ip-sysctl.rst); below are services.
const FIRST_CLIENT_PORT: u16 = 32_768;

/// What was seen, one capture a cable.
#[derive(Debug)]
pub(crate) struct Seen {
    cables: Vec<Frames>,
}

/// Does `act` while the cables of `pods` are watched. Of a lab's pods together that is all that its bridge carries between
/// them.
pub(crate) fn watch<T>(pods: &[&Pod], act: impl FnOnce() -> Result<T>) -> Result<(T, Seen)> {
    let start = |pod: &&Pod| Capture::start(pod.namespace(), INTERFACE);
    let captures = pods.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let done = act();
    let cables = captures.into_iter().map(Capture::stop).collect::<Result<Vec<_>, _>>()?;
    let done = done?;
    // With gaps, not having seen something would prove nothing.
    same("frames that the capture missed", &0, &cables.iter().map(Frames::drops).sum())?;
    Ok((done, Seen { cables }))
}

impl Seen {
    /// Whether these bytes were on a cable.
    pub(crate) fn contains(&self, canary: &str) -> bool {
        self.cables.iter().any(|frames| frames.contains(canary.as_bytes()))
    }

    /// TCP ports of services that something was sent to.
    pub(crate) fn service_ports(&self) -> Vec<u16> {
        let mut ports: BTreeMap<u16, usize> = self.cables.iter().flat_map(Frames::tcp_ports).collect();
        ports.retain(|port, _| *port < FIRST_CLIENT_PORT);
        ports.into_keys().collect()
    }

    /// How many frames were seen on all cables.
    pub(crate) fn frames(&self) -> usize {
        self.cables.iter().map(Frames::len).sum()
    }
}
