//! Act: what each command does, and says.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use redirect::{Family, Ipv6, Plan, Verdict, find_istio, remove_istio, render};

use crate::args::{Args, Command, Existing, Format};
use crate::backend::Backend;
use crate::explain::Question;
use crate::live;
use crate::place::Place;

/// What came of a command that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    AsPlanned,
    NotAsPlanned,
}

pub(crate) fn run(args: &Args) -> Result<Done> {
    match &args.command {
        Command::Show { format, options } => {
            let plan = options.plan()?;
            print(&match format {
                Format::Nft => render::nft(&plan),
                Format::Iptables => render::iptables(&plan, Family::V4)?,
                Format::Ip6tables => render::iptables(&plan, Family::V6)?,
                Format::Path => render::path(&plan),
            })?;
            Ok(Done::AsPlanned)
        }
        Command::Apply { dry_run: true, backend, netns, options, .. }
        | Command::Verify { backend, netns, options } => check(*backend, netns, &options.plan()?),
        Command::Apply { dry_run: false, existing, replace_istio, backend, netns, options } => {
            let plan = options.plan()?;
            if *replace_istio {
                // Where it could not be replaced nothing is to change.
                netns.run(|| find_istio().context("looking for Istio's rules"))?;
            }
            let done = match existing {
                Some(existing) => enrol(*existing, netns, &plan)?,
                None => put(*backend, netns, &plan)?,
            };
            if *replace_istio {
                replace(netns)?;
            }
            Ok(done)
        }
        Command::Drain { netns, options } => said(&netns.run(|| live::drain(&options.plan()?))?),
        Command::Forget { netns, options } => said(&netns.run(|| live::forget(&options.plan()?))?),
        Command::Explain { source, destination, udp, netns, options } => {
            let question = Question { source: *source, destination: *destination, udp: *udp };
            let plan = options.plan()?;
            print(&netns.run(|| question.answer(&plan))?)?;
            check(Backend::Nftables, netns, &plan)
        }
        Command::Probes(probes) => told(probes.act()?),
        Command::NodeLevel(level) => told(level.act()?),
        Command::Remove { backend, netns, options } => take(*backend, netns, &options.plan()?),
    }
}

fn told((text, as_planned): (String, bool)) -> Result<Done> {
    print(&text)?;
    Ok(if as_planned { Done::AsPlanned } else { Done::NotAsPlanned })
}

fn check(backend: Backend, place: &Place, plan: &Plan) -> Result<Done> {
    match backend.verify(place, plan)? {
        Verdict::Same => {
            print("as planned\n")?;
            Ok(Done::AsPlanned)
        }
        Verdict::Differs(differences) => {
            let lines: String = differences.iter().map(|difference| format!("{difference}\n")).collect();
            print(&lines)?;
            Ok(Done::NotAsPlanned)
        }
    }
}

fn put(backend: Backend, place: &Place, plan: &Plan) -> Result<Done> {
    let ipv6 = backend.apply(place, plan)?;
    print("applied, and read back: as planned\n")?;
    warn(ipv6);
    Ok(Done::AsPlanned)
}

fn enrol(existing: Existing, place: &Place, plan: &Plan) -> Result<Done> {
    let (text, ipv6) = place.run(|| live::enrol(plan, existing))?;
    print(&text)?;
    warn(ipv6);
    Ok(Done::AsPlanned)
}

fn warn(ipv6: Ipv6) {
    if ipv6 == Ipv6::OffOnLoopback {
        eprintln!("inpod-redirect: IPv6 is off on loopback here, so IPv6 connections that are captured fail");
    }
}

fn said(text: &str) -> Result<Done> {
    print(text)?;
    Ok(Done::AsPlanned)
}

fn replace(place: &Place) -> Result<()> {
    let removed = place.run(|| remove_istio().context("taking Istio's rules away"))?;
    let lines: String = removed.iter().map(|piece| format!("replaced: {piece}\n")).collect();
    print(if lines.is_empty() { "nothing of Istio's was there\n" } else { &lines })
}

fn take(backend: Backend, place: &Place, plan: &Plan) -> Result<Done> {
    backend.remove(place, plan)?;
    print("removed\n")?;
    Ok(Done::AsPlanned)
}

/// Whoever reads may have gone, which is no panic.
fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("writing")
}
