//! One case: its name, what it needs, and its body.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::{env, thread};

use libtest_mimic::{Failed, Trial};

use super::{Outcome, REQUIRE_KERNEL};

/// A test, to be given to [`run`](super::run); made by [`test()`].
pub struct Case {
    name: String,
    needs: Vec<Need>,
    company: Company,
    body: Box<dyn FnOnce() -> Outcome + Send>,
}

/// Makes a test. Its body runs on a thread of its own, inside the sandbox.
pub fn test(name: impl Into<String>, body: impl FnOnce() -> Outcome + Send + 'static) -> Case {
    Case { name: name.into(), needs: Vec::new(), company: Company::Others, body: Box::new(body) }
}

impl Case {
    /// This case runs a program that must be found in `PATH`.
    #[must_use]
    pub fn needs_program(self, program: impl Into<String>) -> Self {
        self.needs(Need::Program(program.into()))
    }

    /// This case uses a file or directory that must exist.
    #[must_use]
    pub fn needs_path(self, path: impl Into<PathBuf>) -> Self {
        self.needs(Need::File(path.into()))
    }

    /// This case is only asked for when this variable is set; without it, it is ignored even when the kernel is
    /// required.
    #[must_use]
    pub fn needs_env(self, variable: impl Into<String>) -> Self {
        self.needs(Need::Variable(variable.into()))
    }

    /// This case does what only the machine's own root may, whatever namespaces there are; elsewhere it is ignored even when the
    /// kernel is required.
    #[must_use]
    pub fn needs_root(self) -> Self {
        self.needs(Need::Root)
    }

    /// No other case may run at the same time: this one looks at the whole process (its files, its memory).
    #[must_use]
    pub fn serial(mut self) -> Self {
        self.company = Company::Alone;
        self
    }

    fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// The case as libtest-mimic runs it; `no_sandbox` says why there is none, when there is none.
    pub(super) fn into_trial(self, no_sandbox: Option<&str>, strictness: Strictness) -> Trial {
        let Self { name, needs, company, body } = self;
        let optional = needs.iter().find(|need| need.is_optional() && !need.is_met());
        let unmet = needs.iter().find(|need| !need.is_met());
        let (reason, ignored) = match (optional, no_sandbox, unmet) {
            (Some(need), ..) => (need.to_string(), true),
            (None, Some(reason), _) => (reason.to_owned(), strictness == Strictness::Ignore),
            (None, None, Some(need)) => (need.to_string(), strictness == Strictness::Ignore),
            (None, None, None) => {
                let thread_name = name.clone();
                return Trial::test(name, move || company.run(thread_name, body));
            }
        };
        let kind = if ignored { format!("cannot run: {reason}") } else { String::new() };
        Trial::test(name, move || Err(Failed::from(reason))).with_ignored_flag(ignored).with_kind(kind)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("needs", &self.needs)
            .field("company", &self.company)
            .finish_non_exhaustive()
    }
}

/// What becomes of a case that cannot run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    Ignore,
    Fail,
}

impl Strictness {
    pub(super) fn from_environment() -> Self {
        if env::var_os(REQUIRE_KERNEL).is_some_and(|value| value == "1") { Self::Fail } else { Self::Ignore }
    }
}

/// Who may run at the same time.
#[derive(Clone, Copy, Debug)]
enum Company {
    Others,
    Alone,
}

/// Held for reading by cases that bear company, for writing by those that do not.
static RUNNING: RwLock<()> = RwLock::new(());

impl Company {
    /// Runs a body on a thread with the case's name, so that whatever it does to its thread ends with it.
    fn run(self, name: String, body: Box<dyn FnOnce() -> Outcome + Send>) -> Result<(), Failed> {
        let on_own_thread = || {
            let body = move || body().map_err(|error| Failed::from(chain(&*error)));
            thread::Builder::new().name(name).spawn(body).map(thread::JoinHandle::join)
        };
        let ended = match self {
            Self::Others => {
                let _shared = RUNNING.read().unwrap_or_else(PoisonError::into_inner);
                on_own_thread()
            }
            Self::Alone => {
                let _exclusive = RUNNING.write().unwrap_or_else(PoisonError::into_inner);
                on_own_thread()
            }
        };
        ended.map_err(Failed::from)?.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Something that a case cannot run without.
#[derive(Debug)]
enum Need {
    Program(String),
    File(PathBuf),
    Variable(String),
    Root,
}

/// What proc_pid_uid_map (user_namespaces(7)) says where no user namespace is between a process and the machine.
const MACHINES_OWN: [&str; 3] = ["0", "0", "4294967295"];

impl Need {
    /// Whether it can be missing where the kernel is required.
    fn is_optional(&self) -> bool {
        matches!(self, Self::Variable(_) | Self::Root)
    }

    fn is_met(&self) -> bool {
        match self {
            Self::Program(program) => is_in_path(program, env::var_os("PATH").as_deref()),
            Self::File(path) => path.exists(),
            Self::Variable(variable) => env::var_os(variable).is_some_and(|value| !value.is_empty()),
            Self::Root => {
                let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
                let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
                is_root && map.split_whitespace().eq(MACHINES_OWN)
            }
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(program) => write!(f, "needs the program {program}"),
            Self::File(path) => write!(f, "needs {}", path.display()),
            Self::Variable(variable) => write!(f, "needs {variable} in the environment"),
            Self::Root => f.write_str("needs the machine's own root"),
        }
    }
}

fn is_in_path(program: &str, path: Option<&OsStr>) -> bool {
    path.is_some_and(|path| env::split_paths(path).any(|folder| Path::is_file(&folder.join(program))))
}

/// An error and all its causes on one line.
pub(super) fn chain(error: &(impl Error + ?Sized)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(line, ": {error}");
        cause = error.source();
    }
    line
}
