//! Tests that need the kernel: run in namespaces of their own, rootless where they must, and never silently green.
//!
//! A test binary with `harness = false` hands its cases to [`run`], which first moves the whole process into a
//! [`sandbox`]. Nothing that a case does can touch the machine's own network.
//!
//! ```no_run
//! use testkit::kernel::{Case, run, test};
//! # use inpod_testkit as testkit;
//!
//! fn main() -> std::process::ExitCode {
//!     run(vec![
//!         test("loopback_is_up", || {
//!             std::net::TcpListener::bind("127.0.0.1:80")?;
//!             Ok(())
//!         }),
//!         test("curl_speaks", || Ok(())).needs_program("curl"),
//!     ])
//! }
//! ```
//!
//! What cannot run here is reported as *ignored*, with the reason beside its name. With `INPOD_REQUIRE_KERNEL=1` in
//! the environment it fails instead, so that a gate can demand that everything ran.

mod case;
mod sandbox;

use std::error::Error;
use std::process::ExitCode;

use libtest_mimic::Arguments;

pub use self::case::{Case, test};
pub use self::sandbox::{Sandbox, Unavailable, sandbox};

/// How a case ends: any error fails it, and is printed with its causes. A panic fails it too.
pub type Outcome = Result<(), Box<dyn Error>>;

/// With this variable set to `1`, a case that cannot run here fails instead of being ignored.
pub const REQUIRE_KERNEL: &str = "INPOD_REQUIRE_KERNEL";

/// How many cases run at once when the command line does not say (`--test-threads`).
const THREADS: usize = 2;

/// Enters a sandbox, runs the cases as the command line asks (libtest's options), and says how it went.
///
/// To be called first in `main`, while the process has one thread.
pub fn run(cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let sandbox = sandbox();
    if let Err(unavailable) = &sandbox {
        eprintln!("no sandbox for kernel tests: {}", case::chain(unavailable));
    }
    let missing = sandbox.as_ref().err().map(case::chain);
    let strictness = case::Strictness::from_environment();
    let trials = cases.into_iter().map(|case| case.into_trial(missing.as_deref(), strictness)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
