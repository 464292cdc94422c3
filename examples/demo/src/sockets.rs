//! Sockets: which TCP ports are listened on in a pod, and whether by this process.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use testkit::lab::Pod;

/// A listening TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listening {
    pub(crate) port: u16,
    pub(crate) inode: u64,
}

/// The listening sockets in `pod`'s namespace, of whatever process, by port.
pub(crate) fn listening(pod: &Pod) -> Result<BTreeSet<Listening>> {
    // Of this thread, which is the one that is inside; `self` would be the main thread.
    let read = |table| fs::read_to_string(format!("/proc/thread-self/net/{table}"));
    let (v4, v6) = pod.run(|| (read("tcp"), read("tcp6")))?;
    let v4 = v4.context("reading the pod's sockets")?;
    // Where there is no IPv6, there is no such file.
    let v6 = v6.unwrap_or_default();
    Ok(v4.lines().chain(v6.lines()).filter_map(parse).collect())
}

/// Inodes of the sockets that this process has open.
pub(crate) fn own() -> Result<BTreeSet<u64>> {
    let mut inodes = BTreeSet::new();
    for descriptor in fs::read_dir("/proc/self/fd")? {
        // One that was closed meanwhile is not open.
        let Ok(target) = fs::read_link(descriptor?.path()) else { continue };
        let target = target.to_string_lossy();
        inodes.extend(
            target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')?.parse::<u64>().ok()),
        );
    }
    Ok(inodes)
}

/// A line of /proc/net/tcp or tcp6 (Documentation/networking/proc_net_tcp.rst); `None` for the heading and for sockets that do
/// not listen.
fn parse(line: &str) -> Option<Listening> {
    /// `TCP_LISTEN` of include/net/tcp_states.h, as it is printed.
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let (_address, port) = fields.nth(1)?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    (state == LISTEN).then_some(())?;
    Some(Listening { port: u16::from_str_radix(port, 16).ok()?, inode: inode.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_are_found() {
        let tables = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7123 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C1A2 01 00000000:00000000 00:00000000 00000000     0        0 7124 1 0000000000000000 20 4 30 10 -1
   0: 00000000000000000000000000000000:3AA0 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7125 1 0000000000000000 100 0 0 10 0
";
        let found: Vec<_> = tables.lines().filter_map(parse).collect();
        assert_eq!(found, [Listening { port: 8080, inode: 7123 }, Listening { port: 15008, inode: 7125 }]);
    }
}
