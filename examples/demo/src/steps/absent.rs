//! Absent: the proxy ends while the rules stay, as after a crash. Nothing may pass then.

use anyhow::{Context as _, Result};
use testkit::lab::Pod;

use super::exchange::is_not_on_the_wire;
use crate::evidence::{Evidence, same};
use crate::mesh::Mesh;
use crate::program;
use crate::rules::Rules;
use crate::sockets;
use crate::stage::Stage;
use crate::wire::watch;

pub(crate) fn proves(
    stage: &Stage,
    mesh: Mesh,
    rules: &Rules,
    canary: &str,
    evidence: &mut Evidence,
) -> Result<()> {
    mesh.stop().context("stopping the proxy")?;
    let own = sockets::own()?;
    for pod in stage.members() {
        let left = sockets::listening(pod)?.into_iter().filter(|socket| own.contains(&socket.inode)).count();
        same(&format!("the proxy's sockets in pod {}", pod.name()), &0, &left)?;
        rules.are_in(pod)?;
    }
    evidence.add("the proxy is stopped, the rules are not", "none of its sockets, all of the rules");
    no_answer(stage, "the client", &stage.client, canary, evidence)?;
    no_answer(stage, "the outsider", &stage.outsider, canary, evidence)
}

fn no_answer(stage: &Stage, who: &str, pod: &Pod, canary: &str, evidence: &mut Evidence) -> Result<()> {
    let url = stage.url_v4(format!("/{canary}"));
    let (said, seen) = watch(&stage.pods(), || program::fetch(pod, &url)?.failure(who))?;
    is_not_on_the_wire(&seen, canary)?;
    evidence.add(format!("{who} gets no answer"), format_args!("\"{said}\""));
    evidence.add("nothing that it asks is on the wire", format_args!("{} frames", seen.frames()));
    Ok(())
}
