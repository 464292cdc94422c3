//! This project's node-proxy.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use tokio::process::Command;

use super::{Files, LOG};

#[derive(Clone, Debug)]
pub(crate) struct Ours {
    pub(super) program: PathBuf,
    pub(super) workers: NonZeroUsize,
}

impl Ours {
    pub(super) fn command(&self, files: &Files) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--zds").arg(&files.zds).arg("--workloads").arg(&files.workloads);
        command.arg("--ca-cert").arg(&files.ca_cert).arg("--ca-key").arg(&files.ca_key);
        command.arg("--workers").arg(self.workers.to_string()).env(LOG.0, LOG.1);
        command
    }
}
