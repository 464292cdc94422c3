//! Gone: after the rules, the pods, the proxy and the programs, nothing is left.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use proxy_core::capture;
use redirect::{Difference, Verdict};
use tempfile::TempDir;
use testkit::lab::Pod;
use testkit::leaks::Baseline;

use crate::app::greeting;
use crate::evidence::{Evidence, same};
use crate::mesh;
use crate::program;
use crate::stage::Stage;

/// The kernel closes what an ended thread held a moment after it.
const SETTLES: Duration = Duration::from_secs(2);

/// What this process holds at one moment.
#[derive(Debug)]
pub(crate) struct Held {
    baseline: Baseline,
    files: usize,
    threads: usize,
}

impl Held {
    pub(crate) fn look() -> Result<Self> {
        let count = |folder| fs::read_dir(folder).map(Iterator::count);
        Ok(Self {
            baseline: Baseline::take()?,
            files: count("/proc/self/fd")?,
            threads: count("/proc/self/task")?,
        })
    }
}

pub(crate) fn proves(
    stage: Stage,
    folder: TempDir,
    before: &Held,
    canary: &str,
    evidence: &mut Evidence,
) -> Result<()> {
    for pod in stage.members() {
        let pieces = release(pod)?;
        evidence.add(
            format!("pod {} is released", pod.name()),
            format_args!("all {pieces} pieces of the rules are gone"),
        );
    }
    let url = stage.url_v4(format!("/{canary}"));
    let body = program::fetch(&stage.client, &url)?.body("the client, released")?;
    let expected = greeting(stage.client.v4().into(), url.path());
    same("the server's answer", &expected, &String::from_utf8_lossy(&body).into_owned())?;
    evidence.add("the client asks again, without us", format_args!("the same {} bytes", body.len()));
    drop(stage);
    folder.close().context("removing the agent's folder")?;
    before.baseline.settled(SETTLES).context("what is left")?;
    let now = Held::look()?;
    same("open files", &before.files, &now.files)?;
    same("threads", &before.threads, &now.threads)?;
    evidence.add(
        "the pods are gone, we hold what we held",
        format_args!("{} open files, no namespace among them, {} thread", now.files, now.threads),
    );
    Ok(())
}

/// Takes the rules out; tells how many pieces are gone.
fn release(pod: &Pod) -> Result<usize> {
    let plan = mesh::plan()?;
    capture::release(pod.namespace(), &plan).with_context(|| format!("releasing pod {}", pod.name()))?;
    match capture::verify(pod.namespace(), &plan)? {
        Verdict::Differs(all) if all.iter().all(|one| matches!(one, Difference::Missing(_))) => Ok(all.len()),
        other => bail!("the rules in pod {}: expected all missing, got {other:?}", pod.name()),
    }
}
