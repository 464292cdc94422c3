//! Istio's ztunnel, with the CA that its `testing` feature brings (its environment: `src/config.rs` there).

use std::num::NonZeroUsize;
use std::path::PathBuf;

use tokio::process::Command;

use super::{Files, LOG};

#[derive(Clone, Debug)]
pub(crate) struct Ztunnel {
    pub(super) program: PathBuf,
    pub(super) workers: NonZeroUsize,
}

impl Ztunnel {
    pub(super) fn command(&self, files: &Files) -> Command {
        let mut command = Command::new(&self.program);
        command.env("FAKE_CA", "true").env("XDS_ADDRESS", "").env("PROXY_MODE", "shared");
        command.env("LOCAL_XDS_PATH", &files.workloads).env("INPOD_UDS", &files.zds);
        command.env("ZTUNNEL_WORKER_THREADS", self.workers.to_string()).env(LOG.0, LOG.1);
        command
    }
}
