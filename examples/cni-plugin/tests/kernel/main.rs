//! The plugin's program in chains of real plugins, the agent's side against all kinds of callers, and the installation against
//! what machines do: in namespaces of their own.

mod agent;
mod chain;
mod hostile;
mod installing;

use std::process::ExitCode;

fn main() -> ExitCode {
    // One case runs this program again, to kill it.
    if let Some(folder) = std::env::var_os(installing::FOLDER) {
        return installing::for_ever(folder.as_ref());
    }
    let cases = [chain::cases(), hostile::cases(), installing::cases()];
    testkit::kernel::run(cases.into_iter().flatten().collect())
}
