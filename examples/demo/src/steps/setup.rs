//! Setup: the pods and the server in one of them.

use std::hash::{BuildHasher as _, RandomState};

use anyhow::Result;

use crate::evidence::Evidence;
use crate::stage::{PORT, Stage};

pub(crate) fn build(evidence: &mut Evidence) -> Result<Stage> {
    let stage = Stage::build()?;
    evidence.add("a bridge on the node", format_args!("{}, {}", stage.lab.v4(), stage.lab.v6()));
    for pod in stage.pods() {
        evidence.add(format!("pod {}", pod.name()), format_args!("{}, {}", pod.v4(), pod.v6()));
    }
    evidence.add(
        format!("a web server in pod {}", stage.server.name()),
        format_args!("port {PORT}, process {}, knows of no mesh", stage.program.pid()),
    );
    Ok(stage)
}

/// Bytes that are nowhere but where this run's programs send them.
pub(crate) fn canary() -> String {
    format!("canary-{:016x}", RandomState::new().hash_one("inpod"))
}
