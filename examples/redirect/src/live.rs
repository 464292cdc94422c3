//! Live: what is done to a pod that runs, and what is said of it.

use anyhow::{Context as _, Result};
use redirect::{Ipv6, Plan, TcpSocket};

use crate::args::Existing;

/// Captures it; what became of the connections that were there.
pub(crate) fn enrol(plan: &Plan, existing: Existing) -> Result<(String, Ipv6)> {
    let choice = match existing {
        Existing::Keep => redirect::Existing::Keep,
        Existing::Reset => redirect::Existing::Reset,
    };
    let enrolled = redirect::enrol(plan, choice).context("enrolling")?;
    let mut text = String::from("enrolled, and read back: as planned\n");
    text += &list("kept", &enrolled.kept);
    text += &list("reset", &enrolled.reset);
    text += &list("to be reset at its next packet", &enrolled.left);
    Ok((text, enrolled.applied.ipv6))
}

/// Ends the capture of new connections; which ones go on.
pub(crate) fn drain(plan: &Plan) -> Result<String> {
    let drained = redirect::drain(plan).context("draining")?;
    Ok(format!("draining: {} captured\n{}", drained.captured.len(), list("goes on", &drained.captured)))
}

/// Forgets kept connections that are over; how many there are.
pub(crate) fn forget(plan: &Plan) -> Result<String> {
    let forgotten = redirect::forget(plan).context("forgetting")?;
    Ok(format!("forgotten: {}, kept: {}\n", forgotten.forgotten, forgotten.kept))
}

fn list(what: &str, sockets: &[TcpSocket]) -> String {
    sockets.iter().map(|socket| format!("{what}: {socket}\n")).collect()
}
