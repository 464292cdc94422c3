//! One target under libFuzzer: `INPOD_FUZZ_TARGET` says which.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let name = std::env::var("INPOD_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = inpod_fuzz::TARGETS.iter().find(|target| target.name == name) else {
        let names: Vec<&str> = inpod_fuzz::TARGETS.iter().map(|target| target.name).collect();
        panic!("INPOD_FUZZ_TARGET is one of {}", names.join(", "));
    };
    (target.run)(bytes);
});

#[cfg(not(fuzzing))]
fn main() {
    for target in inpod_fuzz::TARGETS {
        println!("{}", target.name);
    }
}
