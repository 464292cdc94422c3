//! Peer: another implementation of tunnels, as a program that measures itself; its word is taken.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::pipe::Cover;

/// A program that is told what to measure in its arguments, and prints the rate: `bulk plain|tls MEBIBYTES TUNNELS`, in MiB per second,
/// or `opens plain|tls TUNNELS`, in tunnels per second. Each over a pipe in memory, on one thread, when it is warm.
#[derive(Clone, Debug)]
pub(crate) struct Peer(PathBuf);

impl From<OsString> for Peer {
    fn from(program: OsString) -> Self {
        Self(program.into())
    }
}

impl Peer {
    /// MiB per second over so many tunnels together.
    pub(crate) async fn tunnels(&self, cover: Cover, mebibytes: usize, count: usize) -> Result<f64> {
        self.rate(&["bulk", word(cover), &mebibytes.to_string(), &count.to_string()]).await
    }

    /// Tunnels opened and closed in order per second.
    pub(crate) async fn opens(&self, cover: Cover, count: usize) -> Result<f64> {
        self.rate(&["opens", word(cover), &count.to_string()]).await
    }

    async fn rate(&self, args: &[&str]) -> Result<f64> {
        let output = Command::new(&self.0).args(args).output().await;
        let output = output.with_context(|| format!("running {}", self.0.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let says = || format!("{} {}: {}", self.0.display(), args.join(" "), said.trim());
        ensure!(output.status.success(), "{}, {}", says(), output.status);
        let rate: f64 = said.trim().parse().with_context(says)?;
        ensure!(rate.is_finite() && rate > 0.0, "{}", says());
        Ok(rate)
    }
}

fn word(cover: Cover) -> &'static str {
    match cover {
        Cover::Plain => "plain",
        Cover::Tls => "tls",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn opens(script: &str) -> Result<f64> {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("peer");
        fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
        Peer(program).opens(Cover::Tls, 7).await
    }

    #[tokio::test]
    async fn its_word_is_taken_if_it_is_a_rate() {
        assert_eq!(opens(r#"[ "$*" = "opens tls 7" ] && echo 12.5"#).await.unwrap(), 12.5);
        for bad in ["echo many", "echo 0", "echo inf", "echo NaN", "true", "echo 5; false"] {
            assert!(opens(bad).await.is_err(), "{bad}");
        }
        assert!(Peer("/nowhere/peer".into()).opens(Cover::Plain, 1).await.is_err());
    }
}
