//! Outsider: a pod without an identity asks a pod of the mesh, in plaintext.

use anyhow::{Context as _, Result};
use proxy_core::{ConnectionError, Direction};

use super::exchange::is_on_the_wire;
use crate::app::greeting;
use crate::evidence::{Evidence, holds, same};
use crate::meetings::Meetings;
use crate::mesh::Mesh;
use crate::program;
use crate::stage::Stage;
use crate::wire::watch;
use crate::workloads::{Mode, STRICT, snapshot};

pub(crate) fn tries(
    stage: &Stage,
    mesh: &Mesh,
    meetings: &Meetings,
    canary: &str,
    evidence: &mut Evidence,
) -> Result<()> {
    permissive(stage, canary, evidence)?;
    mesh.learn(snapshot(&stage.members(), Mode::Strict)?);
    strict(stage, meetings, canary, evidence)?;
    mesh.learn(snapshot(&stage.members(), Mode::Permissive)?);
    Ok(())
}

fn permissive(stage: &Stage, canary: &str, evidence: &mut Evidence) -> Result<()> {
    let url = stage.url_v4(format!("/{canary}"));
    let ask = || program::fetch(&stage.outsider, &url)?.body("the outsider, permissive mode");
    let (body, seen) = watch(&stage.pods(), ask)?;
    let outsider = stage.outsider.v4();
    same(
        "the server's answer",
        &greeting(outsider.into(), url.path()),
        &String::from_utf8_lossy(&body).into_owned(),
    )?;
    evidence.add(
        "permissive: the server answers it",
        format_args!("and sees the outsider's address, {outsider}"),
    );
    is_on_the_wire(&seen, canary)?;
    evidence.add("in plaintext: the bytes are on the wire", "which a capture like that of step 5 does see");
    Ok(())
}

fn strict(stage: &Stage, meetings: &Meetings, canary: &str, evidence: &mut Evidence) -> Result<()> {
    let url = stage.url_v4(format!("/{canary}"));
    meetings.forget();
    let said = program::fetch(&stage.outsider, &url)?.failure("the outsider, strict mode")?;
    evidence.add("strict: it gets no answer", format_args!("\"{said}\""));
    let refused = meetings.find(|report| report.direction == Direction::Plaintext);
    let refused = refused.context("plaintext to the server: expected a report, got none")?;
    let reason = match &refused.outcome {
        Err(ConnectionError::Denied(denied)) => denied.to_string(),
        other => format!("{other:?}"),
    };
    let named = reason.ends_with(STRICT);
    holds("why the proxy refused", named, format_args!("policy {STRICT}"), &reason)?;
    evidence.add("the proxy's reason", reason);
    program::fetch(&stage.client, &url)?.body("the client, strict mode")?;
    evidence.add("strict: the server answers the client", "which has an identity");
    Ok(())
}
