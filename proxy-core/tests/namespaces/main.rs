//! The mesh in one process: pods in namespaces of their own, the proxy between them, and real kernels' sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod carrying;
mod enrolling;
mod following;
mod given_listeners;
mod hand_over;
mod hostile_agents;
mod hostile_peers;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod mesh;
mod permitting;
mod routing;
mod trusting;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        carrying::cases(),
        routing::cases(),
        permitting::cases(),
        trusting::cases(),
        following::cases(),
        enrolling::cases(),
        hand_over::cases(),
        hostile_peers::cases(),
        hostile_agents::cases(),
        given_listeners::cases(),
        #[cfg(feature = "kubernetes")]
        kubernetes::cases(),
    ];
    testkit::kernel::run(cases.into_iter().flatten().collect())
}
