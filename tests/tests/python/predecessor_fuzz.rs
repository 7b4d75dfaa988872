//! kymhost against a simulation of its Python predecessor, over random datasets, with pandas 2 and pandas 3:
//! deciding and writing alike with `--compat kymflow`, and taking turns on one dataset by its own rules.
//!
//! This file decides how many datasets there are and from which seed. `tests/python/predecessor.py` makes them,
//! applies the rules with pandas itself, and compares.
//!
//! `KYMHOST_FUZZ_SEED` and `KYMHOST_FUZZ_COUNT` choose others; a fault names its seed.

use kymhost_tests::{TestDir, library, program, python, repository, shared, skip};
use std::path::Path;
use std::process::Command;

/// Datasets of one run.
const COUNT: &str = "20";
const SEED: &str = "1";

/// Runs the script; it must find no fault. The command that is shown otherwise has the seed.
#[track_caller]
fn script(interpreter: &Path, configure: impl FnOnce(&mut Command)) {
    let mut command = Command::new(interpreter);
    command.arg(repository().join("tests/python/predecessor.py"));
    configure(&mut command);
    let output = command.output().expect("the interpreter runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{text}");
}

fn check(pandas: &str, recorded: &str) {
    let Some(interpreter) = python::interpreter(Path::new(env!("CARGO_TARGET_TMPDIR")), pandas) else { return };
    match shared() {
        Some(shared) => script(&interpreter, |command| {
            command.arg("replay").arg(shared.join("conformance").join(recorded));
        }),
        None => skip("the simulation of the predecessor was not compared with recorded cases"),
    }
    let setting = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let (seed, count) = (setting("KYMHOST_FUZZ_SEED", SEED), setting("KYMHOST_FUZZ_COUNT", COUNT));
    let dir = TestDir::new();
    let libraries = library("radon").parent().expect("a library is in a folder").to_path_buf();
    for what in ["fuzz", "turns"] {
        script(&interpreter, |command| {
            command.arg(what).arg(program()).arg(&libraries).args([&seed, &count]).arg(dir.path());
        });
    }
}

#[test]
#[ignore = "slow"]
fn predecessor_shares_datasets_pandas_2() {
    check("<3", "pandas2");
}

#[test]
#[ignore = "slow"]
fn predecessor_shares_datasets_pandas_3() {
    check(">=3", "pandas3");
}
