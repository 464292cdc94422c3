//! One target under libFuzzer: `INPOD_FUZZ_TARGET` says which. Without libFuzzer: what the targets are, and their seeds.

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

/// Lists the targets, and writes the seeds of each into its own folder below the one that is given.
#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    let corpora = std::env::args_os().nth(1).map(std::path::PathBuf::from);
    for target in inpod_fuzz::TARGETS {
        println!("{}", target.name);
        let Some(corpus) = corpora.as_ref().map(|corpora| corpora.join(target.name)) else { continue };
        std::fs::create_dir_all(&corpus)?;
        for (number, seed) in target.seeds.iter().enumerate() {
            std::fs::write(corpus.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
