//! The fuzzer: `BATON_FUZZ_TARGET` names the target, the arguments are libFuzzer's. With `BATON_FUZZ_SEEDS` it writes what a
//! fuzzer of this target begins with into that folder first.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use baton_fuzz::{Target, seeds};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("BATON_FUZZ_TARGET").unwrap_or_default();
    let known = Target::ALL.map(Target::name);
    let target = Target::named(&name).unwrap_or_else(|| panic!("BATON_FUZZ_TARGET={name} is none of {known:?}"));
    if let Some(folder) = std::env::var_os("BATON_FUZZ_SEEDS").map(PathBuf::from) {
        for (n, seed) in seeds(target).iter().enumerate() {
            let file = folder.join(format!("seed-{n:03}"));
            std::fs::write(&file, seed).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
    target
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET.run(bytes));
