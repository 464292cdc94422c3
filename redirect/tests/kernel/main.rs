//! Plans in real network namespaces. Each test makes its own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test without libtest's harness, which clippy does not know for one"
)]

use std::process::ExitCode;

mod backend;
#[path = "../cases/mod.rs"]
mod cases;
mod drain;
mod enrol;
mod escapes;
mod fragments;
mod full;
mod handshakes;
mod iptables;
mod istio_rules;
mod killed;
mod live;
mod load;
mod matrix;
mod node_level;
mod packets;
mod probes;
mod programs;
mod remembered;
mod rules;
mod scene;
mod takeover;
mod text;
mod tproxy;
mod watch;

fn main() -> ExitCode {
    if std::env::var_os(rules::NO_RIGHTS).is_some() {
        rules::apply_without_rights();
        return ExitCode::SUCCESS;
    }
    if let Ok(deed) = std::env::var(killed::DEED) {
        killed::act(&deed);
        return ExitCode::SUCCESS;
    }
    let cases = [
        rules::tests(),
        text::tests(),
        iptables::tests(),
        probes::tests(),
        node_level::tests(),
        takeover::tests(),
        handshakes::tests(),
        packets::tests(),
        escapes::tests(),
        fragments::tests(),
        full::tests(),
        remembered::tests(),
        matrix::tests(),
        tproxy::tests(),
        watch::tests(),
        live::tests(),
        drain::tests(),
        enrol::tests(),
        killed::tests(),
    ];
    testkit::kernel::run(cases.into_iter().flatten().collect())
}
