//! Gone: after the rules, the pods, the proxy and the programs, nothing is left.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use testkit::leaks::Baseline;

use crate::app::greeting;
use crate::evidence::{Evidence, same};
use crate::program;
use crate::rules::Rules;
use crate::stage::Stage;

/// The kernel closes what an ended thread held a moment after it.
const SETTLES: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What this process holds at one moment.
#[derive(Debug)]
pub(crate) struct Held {
    baseline: Baseline,
    files: usize,
    threads: usize,
}

impl Held {
    /// Looks before anything was begun.
    pub(crate) fn at_first() -> Result<Self> {
        // The first runtime of a process opens a pair of sockets for signals, where that feature of tokio is on, and they stay
        // for the life of the process.
        drop(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
        Self::look()
    }

    fn look() -> Result<Self> {
        let count = |folder| fs::read_dir(folder).map(Iterator::count);
        Ok(Self {
            baseline: Baseline::take()?,
            files: count("/proc/self/fd")?,
            threads: count("/proc/self/task")?,
        })
    }

    /// Waits until the process holds what it held then.
    fn settled(&self) -> Result<Self> {
        let end = Instant::now() + SETTLES;
        self.baseline.settled(SETTLES).context("what is left")?;
        loop {
            let now = Self::look()?;
            let is_as_before = (now.files, now.threads) == (self.files, self.threads);
            if is_as_before || Instant::now() > end {
                same("open files", &self.files, &now.files)?;
                same("threads", &self.threads, &now.threads)?;
                return Ok(now);
            }
            // Nothing tells when a thread that was joined has left the list, so it is asked for again.
            sleep(LOOK_EVERY);
        }
    }
}

pub(crate) fn proves(
    stage: Stage,
    folder: TempDir,
    rules: &Rules,
    before: &Held,
    canary: &str,
    evidence: &mut Evidence,
) -> Result<()> {
    for pod in stage.members() {
        let pieces = rules.release(pod)?;
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
    let now = before.settled()?;
    evidence.add(
        "the pods are gone, we hold what we held",
        format_args!("{} open files, no namespace among them, {} thread", now.files, now.threads),
    );
    Ok(())
}
