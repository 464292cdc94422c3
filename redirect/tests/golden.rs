//! Every case's text against `tests/golden/<case>.nft`, and against `.iptables`, both families in one file. With
//! `INPOD_BLESS=1` the files are written instead.

use std::path::PathBuf;

use inpod_redirect::{Family, Plan, render};

#[cfg(test)]
mod cases;

#[test]
fn each_case_renders_as_its_golden_files() {
    let bless = std::env::var_os("INPOD_BLESS").is_some_and(|value| value == "1");
    let mut differing = Vec::new();
    for (name, intent) in cases::all() {
        let plan = Plan::new(&intent);
        for (kind, text) in [("nft", render::nft(&plan)), ("iptables", iptables(&plan))] {
            let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.{kind}"));
            if bless {
                std::fs::write(&file, text).unwrap();
            } else if std::fs::read_to_string(&file).ok().as_deref() != Some(&text) {
                differing.push(format!("{name}.{kind}"));
            }
        }
    }
    assert!(differing.is_empty(), "{differing:?} differ: look at them, then run with INPOD_BLESS=1");
}

/// Or why not.
fn iptables(plan: &Plan) -> String {
    let of = |family| render::iptables(plan, family).unwrap_or_else(|unsayable| format!("# {unsayable}\n"));
    format!("# IPv4\n{}# IPv6\n{}", of(Family::V4), of(Family::V6))
}
