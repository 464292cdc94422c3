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

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Longest wait for its end.
const LIMIT: Duration = Duration::from_secs(20);

/// A program that runs. It ends with this.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    child: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts a program inside `namespace`; what it says goes to `log`.
    ///
    /// # Errors
    ///
    /// When the log cannot be made or the program not be started.
    pub fn start(
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

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().try_into()?), signal)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not end, with what it had to say.
    pub fn wait(&mut self) -> Result<ExitStatus> {
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
    ///
    /// # Errors
    ///
    /// When the kernel cannot tell.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// What it has said so far.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error, with what the program had to say.
    #[must_use]
    pub fn with_log(&self, error: Box<dyn Error>) -> Box<dyn Error> {
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
