//! Node: the rules of the node's own namespace, beside capture in pods or instead of it.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use redirect::{
    Cgroup, CgroupError, Elements, Families, IdRange, Mark, Marks, NodeLevel, Plan, Ports, ProbeExemption,
    Prober, ReplyRouting, Verdict, apply_with, remove, render, verify_with,
};

use crate::place::Place;

/// What is to be done.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Deed {
    /// Print the rules; touches nothing
    Show,
    /// Put the rules in place for just these pods, and prove that they are there
    Apply,
    /// Tell whether the rules are in place, whole and alone, for just these pods
    Verify,
    /// Take the rules away; those of others stay
    Remove,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// What is to be done
    #[arg(value_enum)]
    deed: Deed,
    /// A captured pod's address; may be given again
    #[arg(long, value_name = "ADDRESS")]
    pod: Vec<IpAddr>,
    /// The namespace: a path, or the number of a process that is in it [default: this one]
    #[arg(long, value_name = "PATH|PID", default_value_t)]
    netns: Place,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Probes {
    #[command(flatten)]
    common: Common,
    /// Only what this user sends is a probe [default: what any process of the node sends]
    #[arg(long, value_name = "IDS", conflicts_with = "prober_cgroup")]
    prober_uid: Vec<IdRange>,
    /// Only what this control group sends is a probe (system.slice/kubelet.service)
    #[arg(long, value_name = "PATH", value_parser = cgroup, requires = "prober_mark")]
    prober_cgroup: Option<Cgroup>,
    /// By which its connections are known meanwhile: bits of connection marks that nobody else uses (0x4000/0x4000)
    #[arg(long, value_name = "MARK", requires = "prober_cgroup")]
    prober_mark: Option<Mark>,
    /// IPv4 only
    #[arg(long)]
    v4_only: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Level {
    #[command(flatten)]
    common: Common,
    /// The proxy is in the node's namespace, on Istio's ports, instead of behind links
    #[arg(long)]
    here: bool,
    /// IPv4 only, with --here
    #[arg(long, requires = "here")]
    v4_only: bool,
    /// The proxy's IPv6 address behind istioout [default: IPv6 is not captured]
    #[arg(long, value_name = "ADDRESS", requires = "inbound_gateway6", conflicts_with = "here")]
    outbound_gateway6: Option<Ipv6Addr>,
    /// The proxy's IPv6 address behind istioin
    #[arg(long, value_name = "ADDRESS", requires = "outbound_gateway6")]
    inbound_gateway6: Option<Ipv6Addr>,
}

/// A control group, by its path below the root of the hierarchy.
pub(crate) fn cgroup(path: &str) -> Result<Cgroup, CgroupError> {
    Cgroup::find(Cgroup::MOUNT, path)
}

fn families(v4_only: bool) -> Families {
    if v4_only { Families::V4 } else { Families::V4AndV6 }
}

impl Probes {
    /// What it says, and whether all is as planned.
    pub(crate) fn act(&self) -> Result<(String, bool)> {
        let prober = match (&self.prober_cgroup, self.prober_mark) {
            (Some(cgroup), Some(mark)) => Prober::Cgroup { cgroup: cgroup.clone(), mark },
            (Some(_), None) | (None, Some(_)) => bail!("--prober-cgroup and --prober-mark go together"),
            (None, None) if self.prober_uid.is_empty() => Prober::AnySocket,
            (None, None) => Prober::Users(self.prober_uid.clone()),
        };
        let families = families(self.v4_only);
        let exemption = ProbeExemption { prober, families, ..ProbeExemption::ISTIO };
        self.common.act(&exemption.plan(), &exemption.pods(self.common.pod.iter().copied()))
    }
}

impl Level {
    /// What it says, and whether all is as planned.
    pub(crate) fn act(&self) -> Result<(String, bool)> {
        let ipv6 =
            self.outbound_gateway6.zip(self.inbound_gateway6).map(|(outbound, inbound)| [outbound, inbound]);
        let level = if self.here {
            let families = families(self.v4_only);
            NodeLevel::here(Ports::ISTIO, Marks::ISTIO, ReplyRouting::ISTIO, families)
        } else {
            NodeLevel::istio(ipv6)?
        };
        self.common.act(&level.plan(), &level.pods(self.common.pod.iter().copied()))
    }
}

impl Common {
    fn act(&self, plan: &Plan, pods: &Elements) -> Result<(String, bool)> {
        match self.deed {
            Deed::Show => Ok((render::nft_with(plan, pods), true)),
            Deed::Apply => {
                self.netns.run(|| apply_with(plan, pods).context("applying the rules"))?;
                Ok(("applied, and read back: as planned\n".into(), true))
            }
            Deed::Verify => match self.netns.run(|| verify_with(plan, pods).context("reading the rules"))? {
                Verdict::Same => Ok(("as planned\n".into(), true)),
                Verdict::Differs(differences) => {
                    Ok((differences.iter().map(|difference| format!("{difference}\n")).collect(), false))
                }
            },
            Deed::Remove => {
                self.netns.run(|| remove(plan).context("removing the rules"))?;
                Ok(("removed\n".into(), true))
            }
        }
    }
}
