//! Two pods, client and server, in a lab of their own, so that nothing of one session is left for the next: no
//! connections that still wait, no conntrack entries, no remembered paths.

use std::path::Path;

use anyhow::{Context as _, Result};
use proxy_core::workload::PodName;
use testkit::lab::{Lab, Pod};

#[derive(Debug)]
pub(crate) struct Pods {
    lab: Lab,
    pub(crate) client: Pod,
    pub(crate) server: Pod,
}

impl Pods {
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::new().context("building the lab")?;
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        Ok(Self { lab, client, server })
    }

    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(crate) fn each(&self) -> [&Pod; 2] {
        [&self.client, &self.server]
    }

    /// The facts about both, in the shape that both proxies read.
    pub(crate) fn workloads(&self) -> String {
        let entries = self.each().map(|pod| {
            let (name, uid, v4, v6) = (pod.name(), uid(pod), pod.v4(), pod.v6());
            format!(
                "- uid: {uid}\n  name: {name}\n  namespace: {NAMESPACE}\n  serviceAccount: {name}\n  \
                 workloadIps: [\"{v4}\", \"{v6}\"]\n  protocol: HBONE\n  node: local\n  network: \"\"\n  services: {{}}\n"
            )
        });
        format!("workloads:\n{}", entries.concat())
    }

    /// How many tunnels the server pod's proxy holds open: established connections to its HBONE port.
    pub(crate) fn tunnels(&self, hbone: u16) -> Result<usize> {
        let read = |file| std::fs::read_to_string(Path::new("/proc/thread-self/net").join(file));
        let (v4, v6) = self.server.run(|| (read("tcp"), read("tcp6")))?;
        Ok([v4?, v6?]
            .iter()
            .flat_map(|table| table.lines())
            .filter(|line| is_established(line, hbone))
            .count())
    }
}

const NAMESPACE: &str = "bench";

/// What the agent calls a pod.
pub(crate) fn uid(pod: &Pod) -> String {
    format!("bench//v1/Pod/{NAMESPACE}/{}", pod.name())
}

/// What the agent says about a pod.
pub(crate) fn name(pod: &Pod) -> PodName {
    PodName {
        namespace: NAMESPACE.to_owned(),
        name: pod.name().to_owned(),
        service_account: pod.name().to_owned(),
    }
}

/// Whether a line of proc_pid_net(5)'s `tcp` or `tcp6` is an established connection of this local port.
fn is_established(line: &str, port: u16) -> bool {
    /// TCP_ESTABLISHED in include/net/tcp_states.h.
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, _remote, state) = (fields.next(), fields.next(), fields.next());
    let local_port = local.and_then(|local| local.rsplit_once(':')).map(|(_, port)| port);
    local_port == Some(format!("{port:04X}").as_str()) && state == Some(ESTABLISHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn established_lines_by_local_port() {
        let line = "   1: 0300004D0A:3AA0 0200004D0A:9C40 01 00000000:00000000 00:00000000 00000000 0 0 1";
        assert!(is_established(line, 15008));
        assert!(!is_established(line, 40000));
        assert!(!is_established(&line.replace(" 01 ", " 0A "), 15008));
        assert!(!is_established("  sl  local_address rem_address   st tx_queue rx_queue", 15008));
        assert!(!is_established("", 15008));
    }
}
