//! Child: a program that runs in a namespace, writes to a log, and does not outlive the test.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use netns::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{LIMIT, Result};

pub(crate) struct Child {
    name: &'static str,
    child: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts a program inside `namespace`; what it says goes to `log`.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        namespace: &Namespace,
        log: &Path,
    ) -> Result<Self> {
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A child starts in the namespace of the thread that forks it.
        let child = namespace.run(|| command.spawn())??;
        Ok(Self { name, child, log: log.to_owned() })
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().try_into()?), signal)?)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > end {
                return Err(self.with_log("it does not end".into()));
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    pub(crate) fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// An error, with what the program had to say.
    pub(crate) fn with_log(&self, error: Box<dyn Error>) -> Box<dyn Error> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        format!("{}: {error}; it said:\n{log}", self.name).into()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that has ended by itself needs no ending.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many sockets listen on `port` in a namespace: proc_pid_net(5), state 0A.
pub(crate) fn listening(namespace: &Namespace, port: u16) -> Result<usize> {
    let read = |file| namespace.run(|| fs::read_to_string(format!("/proc/thread-self/net/{file}")));
    let (v4, v6) = (read("tcp")??, read("tcp6")??);
    let is_it = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        local.ends_with(&format!(":{port:04X}")) && fields.nth(1) == Some("0A")
    };
    Ok(v4.lines().chain(v6.lines()).filter(is_it).count())
}
