//! The chained CNI plugin. A container runtime runs it once for each command; it takes no arguments.

#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use cni_plugin::configuration::MAX_CONFIGURATION;
use cni_plugin::failure::Failure;
use cni_plugin::{client, plugin};

fn main() -> ExitCode {
    match answer() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("inpod-cni: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> io::Result<ExitCode> {
    let mut configuration = Vec::new();
    // One byte more than is allowed, so that what is too long is seen to be.
    let most = u64::try_from(MAX_CONFIGURATION).unwrap_or(u64::MAX).saturating_add(1);
    io::stdin().lock().take(most).read_to_end(&mut configuration)?;
    let (output, code) = match plugin::run(|name| std::env::var_os(name), &configuration, client::ask) {
        Ok(said) => {
            said.warning.iter().for_each(tell);
            (said.output, ExitCode::SUCCESS)
        }
        Err(failure) => {
            tell(&failure);
            (failure.to_json(), ExitCode::FAILURE)
        }
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(output.as_bytes())?;
    stdout.flush()?;
    Ok(code)
}

/// For the runtime's log.
fn tell(failure: &Failure) {
    eprintln!("inpod-cni: {failure}");
}
