//! Every case's text against `tests/golden/<case>.nft`. With `INPOD_BLESS=1` the files are written instead.

use std::path::PathBuf;

use inpod_redirect::{Plan, render};

#[cfg(test)]
mod cases;

#[test]
fn each_case_renders_as_its_golden_file() {
    let bless = std::env::var_os("INPOD_BLESS").is_some_and(|value| value == "1");
    let mut differing = Vec::new();
    for (name, intent) in cases::all() {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.nft"));
        let text = render::nft(&Plan::new(&intent));
        if bless {
            std::fs::write(&file, text).unwrap();
        } else if std::fs::read_to_string(&file).ok().as_deref() != Some(&text) {
            differing.push(name);
        }
    }
    assert!(differing.is_empty(), "{differing:?} differ: look at them, then run with INPOD_BLESS=1");
}
