//! ProbeExemption: what the node does so that pods can tell its health probes from other traffic.

use crate::cgroup::Cgroup;
use crate::elements::Elements;
use crate::id_range::IdRange;
use crate::intent::{Families, ProbeAddresses};
use crate::mark::Mark;
use crate::plan::Plan;
use crate::set::Set;

use std::net::IpAddr;

/// What the node does so that captured pods can tell its health probes from other traffic: the source of what it sends to them
/// becomes an address that nobody else has, and that rules in the pods except ([`Intent::with_probe_addresses`]).
///
/// Kubelet and what a service proxy passes on can both reach a pod with the node's own address; only the first has a socket on
/// the node. [`plan`](Self::plan) is applied in the *node's* namespace, in a table of its own, and all that it says is said
/// before a network plugin's masquerading. Where nothing is to be done on the node, leave this away, and either send probes at
/// the proxy or build intents without probe addresses.
///
/// [`Intent::with_probe_addresses`]: crate::Intent::with_probe_addresses
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeExemption {
    /// What the source becomes.
    pub addresses: ProbeAddresses,
    /// Whose traffic it is.
    pub prober: Prober,
    /// For which families.
    pub families: Families,
}

/// Whose traffic health probes are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prober {
    /// That of every process in the node's network namespace, so also of pods in it. As Istio with iptables.
    AnySocket,
    /// That of these users. As Istio with nf_tables, which takes the user that kubelet runs as; mostly that is 0.
    Users(Vec<IdRange>),
    /// That of the processes of this control group, such as kubelet's service.
    Cgroup {
        /// The group.
        cgroup: Cgroup,
        /// By what their connections are known until their address is changed: bits of connection marks that nobody else on the
        /// node uses.
        mark: Mark,
    },
}

impl ProbeExemption {
    /// Istio's addresses, for every process of the node, both families.
    pub const ISTIO: Self =
        Self { addresses: ProbeAddresses::ISTIO, prober: Prober::AnySocket, families: Families::V4AndV6 };

    /// The rules, for the node's namespace. In which pods probes are known is not part of them: see [`pods`](Self::pods).
    pub fn plan(&self) -> Plan {
        Plan::of_probe_exemption(self)
    }

    /// The elements that name these pods, by their addresses: for [`apply_with`](crate::apply_with) and
    /// [`set_elements`](crate::set_elements). Addresses of a family that is not exempted are left out.
    pub fn pods(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Elements {
        Elements::of_addresses(&self.sets(), addresses)
    }

    pub(crate) fn sets(&self) -> Vec<Set> {
        self.families.all().iter().filter_map(|&family| crate::plan::pods(family)).collect()
    }
}
