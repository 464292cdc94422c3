//! Act: what each command does, and says.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use redirect::{Ipv6, Plan, Verdict, apply, remove, render, verify};

use crate::args::{Args, Command, Format};
use crate::explain::Question;
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
                Format::Path => render::path(&plan),
            })?;
            Ok(Done::AsPlanned)
        }
        Command::Apply { dry_run: true, netns, options } | Command::Verify { netns, options } => {
            check(netns, &options.plan()?)
        }
        Command::Apply { dry_run: false, netns, options } => put(netns, &options.plan()?),
        Command::Explain { source, destination, udp, netns, options } => {
            let question = Question { source: *source, destination: *destination, udp: *udp };
            let plan = options.plan()?;
            print(&netns.run(|| question.answer(&plan))?)?;
            check(netns, &plan)
        }
        Command::Remove { netns, options } => take(netns, &options.plan()?),
    }
}

fn check(place: &Place, plan: &Plan) -> Result<Done> {
    match place.run(|| verify(plan).context("reading the rules"))? {
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

fn put(place: &Place, plan: &Plan) -> Result<Done> {
    let applied = place.run(|| apply(plan).context("applying the rules"))?;
    print("applied, and read back: as planned\n")?;
    if applied.ipv6 == Ipv6::OffOnLoopback {
        eprintln!("inpod-redirect: IPv6 is off on loopback here, so IPv6 connections that are captured fail");
    }
    Ok(Done::AsPlanned)
}

fn take(place: &Place, plan: &Plan) -> Result<Done> {
    place.run(|| remove(plan).context("removing the rules"))?;
    print("removed\n")?;
    Ok(Done::AsPlanned)
}

/// Whoever reads may have gone, which is no panic.
fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("writing")
}
