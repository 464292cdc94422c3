//! The program as it is run: its command line, its life, whom it believes, real programs through it, and a peer of another make.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command_line;
mod double;
mod hand_over;
mod interop;
#[cfg(feature = "istio-ca")]
mod istio_ca;
mod life;
mod mesh;
mod programs;
mod trust;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        command_line::cases(),
        life::cases(),
        trust::cases(),
        #[cfg(feature = "istio-ca")]
        istio_ca::cases(),
        programs::cases(),
        double::cases(),
        hand_over::cases(),
        interop::cases(),
    ];
    testkit::kernel::run(cases.into_iter().flatten().collect())
}
