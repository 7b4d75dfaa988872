//! Some hundred damaged files of each format; `kymhost-fuzz` runs for as long as one says.

use kymhost_tests::{Run, TestDir, built, seed};
use std::time::Duration;

/// No damaged file makes the host panic, take much memory, or end with an undocumented exit code.
#[test]
#[ignore = "slow"]
fn damaged_files_do_no_harm() {
    let home = TestDir::new();
    let program = built().join(format!("kymhost-fuzz{}", std::env::consts::EXE_SUFFIX));
    let seed = seed().to_string();
    let run = Run::program(&program, ["--inputs", "1500", "--seed", &seed, "--findings"]).arg(home.join("findings"));
    run.patience(Duration::from_secs(1800)).output().expect_code(0);
}
