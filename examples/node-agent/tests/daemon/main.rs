//! The agent as it is run: beside a proxy, with pod files, in a cluster, by CNI; killed and started again.

mod cluster;
mod cni;
mod command_line;
mod hitless;
mod interop;
mod killed;
mod life;
mod manifests;
mod many;
mod mesh;
mod networks;
mod why;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        command_line::cases(),
        life::cases(),
        cni::cases(),
        cluster::cases(),
        manifests::cases(),
        networks::cases(),
        hitless::cases(),
        killed::cases(),
        many::cases(),
        interop::cases(),
        why::cases(),
    ];
    testkit::kernel::run(cases.into_iter().flatten().collect())
}
