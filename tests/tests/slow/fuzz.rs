//! Some hundred damaged files of each format; `kymhost-fuzz` runs for as long as one says.

use kymhost_tests::{TestDir, built, seed};
use std::process::Command;

/// No damaged file makes the host panic, take much memory, or end with an undocumented exit code.
#[test]
#[ignore = "slow"]
fn damaged_files_do_no_harm() {
    let home = TestDir::new();
    let program = built().join(format!("kymhost-fuzz{}", std::env::consts::EXE_SUFFIX));
    // With the environment of the tests: the fuzzer asks cargo whether the program is up to date.
    let mut fuzz = Command::new(program);
    fuzz.args(["--inputs", "1500", "--seed", &seed().to_string(), "--findings"]).arg(home.join("findings"));
    let output = fuzz.output().expect("the fuzzer starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
}
