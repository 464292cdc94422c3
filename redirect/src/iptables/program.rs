//! Programs: which iptables there is, and how it is spoken to.

use std::ffi::OsString;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::family::Family;
use crate::intent::Families;

use super::error::{NoProgram, ProgramError};
use super::restore::Script;
use super::saved::Saved;

/// Which of the two implementations of iptables. Their rules are not visible to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Over nf_tables (`iptables-nft-restore`).
    Nft,
    /// The kernel's own, older one (`iptables-legacy-restore`).
    Legacy,
}

/// The programs of one variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    variant: Variant,
    folder: PathBuf,
    families: Families,
}

/// How long the lock of xtables is waited for, in seconds: longer than anybody restores rules.
const LOCK_WAIT: u32 = 10;

/// How iptables ends when it did not get the lock (`RESOURCE_PROBLEM` in its `xtables.h`).
const RESOURCE_PROBLEM: i32 = 4;

/// How much of what a program says is kept, in bytes.
const MAX_SAID: u64 = 4096;

/// How much of what a program saves is read, in bytes: far more than any pod has.
const MAX_SAVED: u64 = 64 << 20;

impl Programs {
    /// The programs of a variant, looked for in `PATH`: in the first folder that has them for both families, else in the first
    /// that has them for IPv4. Then only plans that leave IPv6 alone can be put in place.
    ///
    /// # Errors
    /// When restore or save is missing for IPv4.
    pub fn of(variant: Variant) -> Result<Self, NoProgram> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = || std::env::split_paths(&path).filter_map(|folder| Self::at(variant, folder).ok());
        let whole = found().find(|programs| programs.families == Families::V4AndV6);
        whole.or_else(|| found().next()).ok_or_else(|| NoProgram::new(&names(variant), &path))
    }

    /// The programs of a variant in this folder. The same holds.
    ///
    /// # Errors
    /// When restore or save is missing for IPv4.
    pub fn at(variant: Variant, folder: impl Into<PathBuf>) -> Result<Self, NoProgram> {
        let folder = folder.into();
        let has = |family| names_of(variant, family).iter().all(|name| folder.join(name).is_file());
        match (has(Family::V4), has(Family::V6)) {
            (true, true) => Ok(Self { variant, folder, families: Families::V4AndV6 }),
            (true, false) => Ok(Self { variant, folder, families: Families::V4 }),
            (false, _) => Err(NoProgram::new(&names(variant), folder.as_os_str())),
        }
    }

    /// The families whose rules these programs see.
    pub(super) fn families(&self) -> &'static [Family] {
        self.families.all()
    }

    /// What it takes to see the rules of the other family.
    pub(super) fn missing(&self, family: Family) -> NoProgram {
        NoProgram::new(&names_of(self.variant, family), self.folder.as_os_str())
    }

    /// The programs to use in the network namespace that the calling thread is in: of the variant in which there are rules
    /// already, else over nf_tables, else what there is.
    ///
    /// # Errors
    /// When neither variant is there.
    pub fn choose() -> Result<Self, NoProgram> {
        match (Self::of(Variant::Nft), Self::of(Variant::Legacy)) {
            (Ok(nft), Ok(legacy)) => {
                let has_rules = |programs: &Self| {
                    let families = programs.families().iter();
                    families.copied().any(|family| programs.save(family).is_ok_and(|saved| saved.has_rules()))
                };
                Ok(if !has_rules(&nft) && has_rules(&legacy) { legacy } else { nft })
            }
            (Ok(nft), Err(_)) => Ok(nft),
            (Err(_), Ok(legacy)) => Ok(legacy),
            (Err(mut missing), Err(more)) => {
                missing.looked_for.extend(more.looked_for);
                Err(missing)
            }
        }
    }

    /// Which variant they are.
    pub const fn variant(&self) -> Variant {
        self.variant
    }

    /// What is there.
    pub(super) fn save(&self, family: Family) -> Result<Saved, ProgramError> {
        let name = name(family, self.variant, "save");
        let mut child = self.command(&name).stdin(Stdio::null()).spawn().map_err(speak(&name))?;
        let mut text = String::new();
        let read = child.stdout.take().map_or(Ok(0), |said| said.take(MAX_SAVED).read_to_string(&mut text));
        if text.len() as u64 >= MAX_SAVED {
            // It would wait for somebody to read on. That it has not ended well is then the error.
            child.kill().map_err(speak(&name))?;
        }
        let said = complaint(&mut child);
        let status = child.wait().map_err(speak(&name))?;
        if !status.success() {
            return Err(ProgramError::Refused { program: name, piece: None, status, said });
        }
        match read {
            Ok(_) => Ok(Saved::read(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(ProgramError::NoText { program: name })
            }
            Err(source) => Err(ProgramError::Speak { program: name, source }),
        }
    }

    /// Has the script done.
    pub(super) fn restore(&self, family: Family, script: &Script) -> Result<(), ProgramError> {
        if script.text.is_empty() {
            return Ok(());
        }
        let name = name(family, self.variant, "restore");
        let mut command = self.command(&name);
        command.args(["--noflush", "--wait", &LOCK_WAIT.to_string()]).stdin(Stdio::piped());
        let mut child = command.spawn().map_err(speak(&name))?;
        // A program that ends before it has read everything says why; that its pipe is gone adds nothing.
        let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(script.text.as_bytes()));
        let said = complaint(&mut child);
        let status = child.wait().map_err(speak(&name))?;
        if status.success() {
            return written.map_err(speak(&name));
        }
        if status.code() == Some(RESOURCE_PROBLEM) && said.contains("lock") {
            return Err(ProgramError::Locked { program: name, seconds: LOCK_WAIT });
        }
        let piece = line(&said).and_then(|line| script.piece(line)).cloned().map(Box::new);
        Err(ProgramError::Refused { program: name, piece, status, said })
    }

    /// No shell, and of the environment only where programs are.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        let path: OsString = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// All that a variant is used by.
fn names(variant: Variant) -> Vec<String> {
    Family::ALL.into_iter().flat_map(|family| names_of(variant, family)).collect()
}

fn names_of(variant: Variant, family: Family) -> [String; 2] {
    ["restore", "save"].map(|what| name(family, variant, what))
}

fn name(family: Family, variant: Variant, what: &str) -> String {
    let program = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    format!("{program}-{variant}-{what}")
}

fn speak(program: &str) -> impl FnOnce(std::io::Error) -> ProgramError {
    |source| ProgramError::Speak { program: program.to_owned(), source }
}

/// What it says on stderr, until it has nothing more to say; the first of it is kept.
fn complaint(child: &mut std::process::Child) -> String {
    let mut said = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        let kept = stderr.by_ref().take(MAX_SAID).read_to_end(&mut said);
        if kept.is_ok() {
            // A program that cannot speak on would wait.
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        }
    }
    String::from_utf8_lossy(&said).trim().replace('\n', "; ")
}

/// The number of the line that a program complains of: "line 7 failed", "Error occurred at line: 7".
fn line(said: &str) -> Option<usize> {
    let after = said.rsplit("line").next()?;
    let digits = after.trim_start_matches([':', ' ']);
    digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

impl fmt::Display for Variant {
    /// As the programs have it in their names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        })
    }
}
