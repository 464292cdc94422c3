//! The whole harness once, as short as it gets: that it works, not what it measures.

use std::path::Path;
use std::process::{Command, ExitCode};

use testkit::kernel::{Outcome, run, test};

const BENCH: &str = env!("CARGO_BIN_EXE_inpod-bench");

fn main() -> ExitCode {
    let proxy = Path::new(BENCH).with_file_name("node-proxy");
    run(vec![
        test("every_cell_gives_figures", every_cell).needs_path(proxy),
        test("no_proxy_says_how", no_proxy),
    ])
}

fn every_cell() -> Outcome {
    let folder = tempfile::tempdir()?;
    let json = folder.path().join("figures.json");
    let mut bench = Command::new(BENCH);
    bench.args(["--rounds", "1", "--seconds", "0.2", "--json"]).arg(&json).env_remove("INPOD_PEER_ZTUNNEL");
    let output = bench.output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&std::fs::read(&json)?)?;
    let figure = |contender, name| figures.pointer(&format!("/rounds/0/{contender}/{name}"))?.as_f64();
    for name in
        ["requests~1s", "new connections~1s", "1 stream, Gb~1s", "8 streams, Gb~1s", "latency p99, us"]
    {
        for contender in ["direct", "ours"] {
            assert!(figure(contender, name).is_some_and(|figure| figure > 0.0), "{name}: {figures:#}");
        }
    }
    // Ticks are too coarse for a CPU time above zero here.
    for name in
        ["proxy us~1request", "proxy us~1connection", "8 streams, proxy s~1GB", "idle, KiB~1connection"]
    {
        assert!(figure("ours", name).is_some() && figure("direct", name).is_none(), "{name}: {figures:#}");
    }
    Ok(())
}

fn no_proxy() -> Outcome {
    let output = Command::new(BENCH).args(["--proxy", "/nowhere/node-proxy"]).output()?;
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr)?;
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("/nowhere/node-proxy") && error.contains("cargo build"), "{error}");
    Ok(())
}
