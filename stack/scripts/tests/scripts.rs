//! Each script in `cases/` is two tests: at one node, and moving between any two events.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use baton_scripts::{Moves, Script, cases, find, play};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let scripts = match find(&cases()) {
        Ok(scripts) if !scripts.is_empty() => scripts,
        Ok(_) => panic!("there is no script in {}", cases().display()),
        Err(error) => panic!("{}: {error}", cases().display()),
    };
    let trials = scripts.into_iter().flat_map(|(name, path)| {
        [(Moves::Never, "stays"), (Moves::Always, "moves")].map(|(moves, how)| {
            let path = path.clone();
            Trial::test(format!("{name}/{how}"), move || run(&path, moves))
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn run(path: &Path, moves: Moves) -> Result<(), Failed> {
    let told = |error: String| Failed::from(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    let script = Script::parse(&text).map_err(told)?;
    match catch_unwind(|| play(&script, moves)) {
        Ok(result) => result.map_err(told),
        Err(_) => Err(told("it panics".to_owned())),
    }
}
