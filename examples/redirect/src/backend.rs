//! Backend: by what rules are put in place.

use anyhow::{Context as _, Result};
use redirect::iptables::{self, Programs, Variant};
use redirect::{Ipv6, Plan, Verdict, apply, remove, verify};

use crate::place::Place;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Backend {
    /// The kernel is spoken to directly; no program is run
    Nftables,
    /// iptables-restore: of the variant in which there are rules already
    Iptables,
    /// iptables-legacy-restore
    IptablesLegacy,
    /// iptables-nft-restore
    IptablesNft,
}

impl Backend {
    pub(crate) fn apply(self, place: &Place, plan: &Plan) -> Result<Ipv6> {
        let applied = match self.programs(place)? {
            None => place.run(|| apply(plan).context("applying the rules"))?,
            Some(programs) => place.run(|| iptables::apply(plan, &programs).context("applying the rules"))?,
        };
        Ok(applied.ipv6)
    }

    pub(crate) fn verify(self, place: &Place, plan: &Plan) -> Result<Verdict> {
        match self.programs(place)? {
            None => place.run(|| verify(plan).context("reading the rules")),
            Some(programs) => place.run(|| iptables::verify(plan, &programs).context("reading the rules")),
        }
    }

    pub(crate) fn remove(self, place: &Place, plan: &Plan) -> Result<()> {
        match self.programs(place)? {
            None => place.run(|| remove(plan).context("removing the rules")),
            Some(programs) => place.run(|| iptables::remove(plan, &programs).context("removing the rules")),
        }
    }

    fn programs(self, place: &Place) -> Result<Option<Programs>> {
        Ok(match self {
            Self::Nftables => None,
            Self::Iptables => Some(place.run(|| Ok(Programs::choose()?))?),
            Self::IptablesLegacy => Some(Programs::of(Variant::Legacy)?),
            Self::IptablesNft => Some(Programs::of(Variant::Nft)?),
        })
    }
}
