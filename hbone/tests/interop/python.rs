//! A python with h2, and the programs that it runs.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The interpreter.
#[derive(Clone)]
pub(crate) struct Python(OsString);

impl Python {
    /// What `INPOD_PYTHON_H2` names; else the first of the usual ones that has h2.
    pub(crate) fn find() -> Result<Self, String> {
        if let Some(named) = env::var_os(VARIABLE) {
            assert!(has_h2(&named), "{VARIABLE} is {}, which cannot import h2", named.display());
            return Ok(Self(named));
        }
        let usual = ["python3", "/usr/bin/python3"].map(OsString::from);
        let found = usual.into_iter().find(has_h2).map(Self);
        found.ok_or_else(|| "no python3 has h2".to_owned())
    }

    /// Runs one of the programs beside this one.
    pub(crate) fn run(&self, program: &str, arguments: &[String]) -> Running {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(program);
        // -B: no compiled files beside the sources.
        let mut command = Command::new(&self.0);
        command.arg("-B").arg(path).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().unwrap()))
    }
}

fn has_h2(python: &OsString) -> bool {
    let tried = Command::new(python).args(["-c", "import h2.connection"]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// A program that runs; it ends with this.
pub(crate) struct Running(Option<Child>);

impl Running {
    /// The first line that it prints.
    pub(crate) fn first_line(&mut self) -> String {
        let output = self.0.as_mut().unwrap().stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        line
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn ends_well(mut self) {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const VARIABLE: &str = "INPOD_PYTHON_H2";
