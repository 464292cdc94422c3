//! Enrol: the proxy listens in its pods; then, and only then, rules send their traffic to it.

use std::collections::BTreeSet;
use std::process;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use testkit::lab::Pod;

use crate::evidence::{Evidence, same};
use crate::meetings::Meetings;
use crate::mesh::Mesh;
use crate::rules::Rules;
use crate::sockets::{self, Listening};
use crate::stage::{PORT, Stage};
use crate::workloads::{Mode, snapshot};

/// What the proxy listens on inside each pod, and for what.
const LISTENS: [u16; 3] = [15001, 15006, 15008];

/// Starts the mesh, and hands the pods over.
pub(crate) fn start(
    stage: &Stage,
    meetings: &Arc<Meetings>,
    evidence: &mut Evidence,
) -> Result<(Mesh, TempDir)> {
    let folder = tempfile::tempdir().context("making a folder for the agent's socket")?;
    let facts = snapshot(&stage.members(), Mode::Permissive)?;
    let mut mesh = Mesh::start(folder.path(), facts, Arc::<Meetings>::clone(meetings))?;
    let pid = process::id();
    evidence.add("the proxy, its CA in memory", format_args!("process {pid}, {} workers", mesh.workers()));
    let status = mesh.enrol(&stage.members())?;
    same("pods served", &stage.members().len(), &status.serving)?;
    same("pods that could not be started", &0, &status.pending)?;
    evidence.add("pods handed over by ZDS, and served", status.serving);
    for (pod, others) in [(&stage.client, None), (&stage.server, Some(PORT))] {
        listens_in(pod, others)?;
        let [outbound, plaintext, tunnels] = LISTENS;
        evidence.add(
            format!("sockets of process {pid} inside pod {}", pod.name()),
            format_args!("listening on {outbound}, {plaintext}, {tunnels}"),
        );
    }
    same("listening sockets in pod outsider", &BTreeSet::new(), &sockets::listening(&stage.outsider)?)?;
    evidence.add("sockets inside pod outsider", "none");
    Ok((mesh, folder))
}

/// Checks that exactly the proxy's ports, each a socket of this process, and one other program's are listened on.
fn listens_in(pod: &Pod, others: Option<u16>) -> Result<()> {
    let own = sockets::own()?;
    let (ours, theirs): (Vec<Listening>, Vec<Listening>) =
        sockets::listening(pod)?.into_iter().partition(|socket| own.contains(&socket.inode));
    // Each port once: the proxy has a socket for each of its workers on some.
    let ports = |sockets: &[Listening]| {
        let once: BTreeSet<u16> = sockets.iter().map(|socket| socket.port).collect();
        Vec::from_iter(once)
    };
    same(&format!("the proxy's ports in pod {}", pod.name()), &LISTENS[..], &ports(&ours))?;
    let others: Vec<u16> = others.into_iter().collect();
    same(&format!("other programs' ports in pod {}", pod.name()), &others, &ports(&theirs))
}

/// Applies the rules, and reads them back.
pub(crate) fn capture(stage: &Stage, rules: &Rules, evidence: &mut Evidence) -> Result<()> {
    for pod in stage.members() {
        rules.capture(pod)?;
        rules.are_in(pod)?;
        evidence.add(format!("pod {}", pod.name()), format_args!("{rules}, read back: the same"));
    }
    Ok(())
}
