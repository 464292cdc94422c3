//! How many instructions the small operations take, and what they ask of the allocator: counts, which are the same on a busy
//! machine.
//!
//! Each is run once, under valgrind. `docs/src/benchmarks.md` says how.

#![forbid(unsafe_code)]
#![expect(unused_qualifications, reason = "gungraun's macros have them")]
#![expect(clippy::expect_used, reason = "what cannot be made cannot be counted")]

mod headers;
mod identities;
mod ledger;
mod proxy_protocol;
mod targets;

use std::env;
use std::fmt::Debug;
use std::path::Path;
use std::str::FromStr;

fn main() {
    // Under valgrind, where gungraun's runner starts this program again for each of them.
    let is_counted = env::args().nth(1).is_some_and(|argument| argument == "--gungraun-run");
    if is_counted || may_count() {
        counts::run();
    }
}

/// Whether all is there that is needed; says what is not.
fn may_count() -> bool {
    if !env::args().any(|argument| argument == "--bench") {
        println!("nothing is counted: without --bench, gungraun does nothing");
        return false;
    }
    match missing() {
        Some(program) => println!("nothing is counted: {program} is not in PATH (docs/src/benchmarks.md)"),
        None => return true,
    }
    false
}

/// A program that is needed, and is not in `PATH`.
fn missing() -> Option<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let runner = option_env!("GUNGRAUN_RUNNER")
        .map_or_else(|| is_there("gungraun-runner"), |at| Path::new(at).is_file());
    if !runner {
        return Some("gungraun-runner");
    }
    (!is_there("valgrind")).then_some("valgrind")
}

/// What `text` says.
fn parsed<T: FromStr<Err: Debug>>(text: &str) -> &'static T {
    kept(text.parse().expect("it is well formed"))
}

/// What is not dropped while it is counted.
fn kept<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

mod counts {
    use gungraun::{Dhat, LibraryBenchmarkConfig};

    use crate::headers::headers;
    use crate::identities::identities;
    use crate::ledger::ledger;
    use crate::proxy_protocol::proxy_protocol;
    use crate::targets::targets;

    gungraun::main!(
        config = LibraryBenchmarkConfig::default().tool(Dhat::default());
        library_benchmark_groups = identities, targets, headers, proxy_protocol, ledger
    );

    pub(super) fn run() {
        main();
    }
}
