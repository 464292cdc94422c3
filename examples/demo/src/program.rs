//! Program: starts `demo serve` and `demo fetch` inside pods, as processes of their own.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use testkit::lab::Pod;

use crate::app::{READY, Url};

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
}

impl Server {
    /// Starts one in `pod`, and waits until it listens.
    pub(crate) fn start(pod: &Pod, port: u16) -> Result<Self> {
        let mut command = ourselves("serve")?;
        command.arg(port.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = pod.spawn(&mut command).context("starting the server")?;
        // Held from here on, so that an error ends the process too.
        let mut server = Self { process };
        let mut said = String::new();
        if let Some(output) = server.process.stdout.take() {
            BufReader::new(output).read_line(&mut said).context("waiting for the server")?;
        }
        if said.trim_end() != READY {
            bail!("the server in pod {} did not start (it says why above)", pod.name());
        }
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a client fared.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// It got a whole answer.
    Body { bytes: Vec<u8>, took: Duration },
    /// It got none, and said this.
    Nothing { said: String },
}

/// Runs a client in `pod` to its end.
pub(crate) fn fetch(pod: &Pod, url: &Url) -> Result<Fetched> {
    let mut command = ourselves("fetch")?;
    command.arg(url.to_string()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let output = pod.spawn(&mut command).and_then(Child::wait_with_output).context("running the client")?;
    if output.status.success() {
        return Ok(Fetched::Body { bytes: output.stdout, took: began.elapsed() });
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Fetched::Nothing { said: said.trim().trim_start_matches("demo: ").to_owned() })
}

impl Fetched {
    /// The answer, where there must be one.
    pub(crate) fn body(self, who: &str) -> Result<Vec<u8>> {
        match self {
            Self::Body { bytes, .. } => Ok(bytes),
            Self::Nothing { said } => bail!("{who}: expected an answer, got \"{said}\""),
        }
    }

    /// What the client said, where it must not have got an answer.
    pub(crate) fn failure(self, who: &str) -> Result<String> {
        match self {
            Self::Nothing { said } => Ok(said),
            Self::Body { bytes, .. } => bail!("{who}: expected no answer, got {} bytes", bytes.len()),
        }
    }
}

fn ourselves(act: &str) -> Result<Command> {
    let mut command = Command::new(env::current_exe().context("finding our own program")?);
    command.arg(act);
    Ok(command)
}
