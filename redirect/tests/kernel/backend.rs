//! The ways to put a plan in place.

use std::error::Error;
use std::fmt;

use inpod_redirect::iptables::{self, Programs, Variant};
use inpod_redirect::{Applied, Plan, Verdict, apply, remove, verify};
use testkit::kernel::{Case, Outcome};
use testkit::lab::Pod;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Nftables,
    Iptables(Variant),
}

impl Backend {
    pub(crate) const ALL: [Self; 3] =
        [Self::Nftables, Self::Iptables(Variant::Legacy), Self::Iptables(Variant::Nft)];

    pub(crate) fn apply(self, pod: &Pod, plan: &Plan) -> Result<Applied, Box<dyn Error>> {
        Ok(match self {
            Self::Nftables => pod.run(|| apply(plan))??,
            Self::Iptables(variant) => {
                let programs = Programs::of(variant)?;
                pod.run(|| iptables::apply(plan, &programs))??
            }
        })
    }

    pub(crate) fn verify(self, pod: &Pod, plan: &Plan) -> Result<Verdict, Box<dyn Error>> {
        Ok(match self {
            Self::Nftables => pod.run(|| verify(plan))??,
            Self::Iptables(variant) => {
                let programs = Programs::of(variant)?;
                pod.run(|| iptables::verify(plan, &programs))??
            }
        })
    }

    pub(crate) fn remove(self, pod: &Pod, plan: &Plan) -> Outcome {
        match self {
            Self::Nftables => pod.run(|| remove(plan))??,
            Self::Iptables(variant) => {
                let programs = Programs::of(variant)?;
                pod.run(|| iptables::remove(plan, &programs))??;
            }
        }
        Ok(())
    }

    /// Whether it can say the plan of this name among the golden files. iptables cannot tell the answers of a proxy that is known by
    /// its group.
    pub(crate) fn can_say(self, name: &str) -> bool {
        self == Self::Nftables || name != "proxy_by_group"
    }

    /// Whether the kernel takes the plan of this name only from the machine's own root: iptables' owners have to be in the user
    /// namespace, and one that is made for a test has but its own.
    pub(crate) fn needs_root(self, name: &str) -> bool {
        self != Self::Nftables
            && ["sidecar", "inclusions", "exceptions"].iter().any(|kind| name.starts_with(kind))
    }

    /// The case, which needs the programs.
    pub(crate) fn needed(self, case: Case) -> Case {
        match self {
            Self::Nftables => case,
            Self::Iptables(_) => case.needs_program("iptables"),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nftables => f.write_str("nftables"),
            Self::Iptables(variant) => write!(f, "iptables_{variant}"),
        }
    }
}
