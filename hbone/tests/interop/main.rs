//! Conversations with another implementation of HTTP/2: python's h2, over loopback.
//!
//! `INPOD_PYTHON_H2` is a python that can `import h2`; without it, one is looked for. Where there is none, the tests are
//! reported as ignored, with the reason. With it, they must run.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy.toml exempts only test functions"
)]

mod asking;
mod python;
mod serving;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use python::Python;

/// A name, and what to do with the python.
struct Case {
    name: &'static str,
    body: Box<dyn FnOnce(&Python) + Send>,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let python = Python::find();
    if let Err(reason) = &python {
        eprintln!("conversations with python are ignored: {reason}");
    }
    let cases = serving::cases().into_iter().chain(asking::cases());
    let trials = cases.map(|case| trial(case, python.clone())).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(Case { name, body }: Case, python: Result<Python, String>) -> Trial {
    match python {
        Ok(python) => Trial::test(name, move || {
            body(&python);
            Ok(())
        }),
        Err(reason) => Trial::test(name, || Ok(())).with_ignored_flag(true).with_kind(reason),
    }
}
