//! Shell: a mesh that stays up while a person, or a command, is in one of its pods.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use proxy_core::AccessLog;
use testkit::lab::Pod;

use crate::mesh::Mesh;
use crate::rules::Rules;
use crate::stage::{PodName, Stage};
use crate::workloads::{Mode, snapshot};

/// Runs `command`, or a shell, inside the pod; hands its exit code on. What was made for it is removed after it.
pub(crate) fn run(name: PodName, command: &[OsString]) -> Result<ExitCode> {
    keep_interrupts_for_the_shell()?;
    let folder = tempfile::tempdir().context("making a folder for the agent's socket and the log")?;
    let log = folder.path().join("access.log");
    write_log_to(&log)?;
    let stage = Stage::build()?;
    let mut mesh =
        Mesh::start(folder.path(), snapshot(&stage.members(), Mode::Permissive)?, Arc::new(AccessLog))?;
    mesh.enrol(&stage.members())?;
    let rules = Rules::new()?;
    for pod in stage.members() {
        rules.capture(pod)?;
    }
    let pod = stage.pod(name);
    let mut inside = match command.split_first() {
        Some((program, arguments)) => {
            let mut inside = Command::new(program);
            inside.args(arguments);
            inside
        }
        None => {
            introduce(&stage, pod, &log);
            shell(pod)
        }
    };
    let program = inside.get_program().to_owned();
    let ended = pod.spawn(&mut inside).and_then(|mut child| child.wait());
    let ended = ended.with_context(|| format!("running {} in pod {}", program.display(), pod.name()))?;
    for pod in stage.members() {
        rules.release(pod)?;
    }
    mesh.stop()?;
    Ok(exit_code(ended))
}

/// Ctrl-C is for what runs in the shell. Blocked here, in threads to come, and not in children, whose mask is emptied.
fn keep_interrupts_for_the_shell() -> Result<()> {
    let interrupts: SigSet = [Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
    interrupts.thread_block().context("blocking interrupts")
}

fn write_log_to(path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    tracing_subscriber::fmt().with_ansi(false).with_writer(Mutex::new(file)).init();
    Ok(())
}

/// On standard error: standard output belongs to what runs inside.
fn introduce(stage: &Stage, pod: &Pod, log: &Path) {
    for pod in stage.pods() {
        eprintln!("{:9} {:12} {}", pod.name(), pod.v4(), pod.v6());
    }
    let (v4, v6) = (stage.url_v4("/"), stage.url_v6("/"));
    eprintln!(
        "client and server are in the mesh, permissive; the server answers HTTP. You are in {}. Try:",
        pod.name()
    );
    eprintln!("  curl {v4}\n  curl '{v6}'\n  ss -tlnp\n  nft list ruleset\n  tail {}", log.display());
    eprintln!("exit ends it, and removes all of it.");
}

/// The person's shell, with a prompt that names the pod: so without the start-up files that would set another.
fn shell(pod: &Pod) -> Command {
    let program = env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
    let mut command = Command::new(&program);
    match Path::new(&program).file_name().and_then(OsStr::to_str) {
        Some("bash") => command.arg("--norc"),
        Some("zsh") => command.arg("-f"),
        _ => &mut command,
    };
    command.env("PS1", format!("[pod {}] $ ", pod.name()));
    command
}

/// As shells do: a signal counts from 128 on (POSIX.1-2024, XCU 2.8.2).
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
