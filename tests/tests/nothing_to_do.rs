//! A run with nothing to do reads the table once and writes nothing.

use kymhost_tests::fixture::{Fixture, TABLE};
use kymhost_tests::{Output, Run, TestDir, assert_untouched, skip, snapshot};
use std::fs;
use std::process::{Command, Stdio};

fn settled(dir: &TestDir) -> Fixture {
    let data = Fixture::with_images(dir.join("data.zarr"), 12, 3);
    run(&data, "replace").output().expect_code(0);
    data
}

fn run(data: &Fixture, mode: &str) -> Run {
    Run::new(["run", "--json", "--plugin", "velocity_events", "--mode", mode]).dataset(data.path())
}

#[track_caller]
fn expect_nothing_done(output: Output) {
    let stats = output.json()["stats"].clone();
    assert_eq!((&stats["updated"], &stats["skipped_fresh"]), (&0.into(), &12.into()), "{output}");
    output.expect_code(0);
}

#[test]
fn nothing_is_written() {
    let dir = TestDir::new();
    let data = settled(&dir);
    let before = snapshot(data.path());
    expect_nothing_done(run(&data, "incremental").output());
    assert_untouched(&before, &snapshot(data.path()));
}

#[test]
fn the_table_is_opened_once() {
    let runs = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stdin(Stdio::null()).output();
    if !runs.is_ok_and(|output| output.status.success()) {
        return skip("strace is absent or may not trace");
    }
    let dir = TestDir::new();
    let data = settled(&dir);
    let trace = dir.join("trace");
    let trace_path = trace.display().to_string();
    let strace = [
        "strace",
        "-f",
        "-s",
        "4096",
        "-e",
        "trace=open,openat,openat2,rename,renameat,renameat2,unlink,unlinkat",
        "-o",
        &trace_path,
    ];
    expect_nothing_done(run(&data, "incremental").under(strace).output());
    let trace = fs::read_to_string(&trace).expect("what strace wrote");
    // A handle of kind O_PATH reads nothing: it is how a key is looked at without following links.
    let none = ["ENOENT", "O_PATH"];
    let of_data: Vec<&str> = trace.lines().filter(|line| !none.iter().any(|word| line.contains(word))).collect();
    let table = TABLE.rsplit('/').next().unwrap_or(TABLE);
    let opened: Vec<&&str> = of_data.iter().filter(|line| line.contains(table)).collect();
    assert_eq!(opened.len(), 1, "the table was opened other than once: {opened:#?}");
    let written: Vec<&&str> = of_data
        .iter()
        .filter(|line| line.contains("data.zarr"))
        .filter(|line| ["O_WRONLY", "O_RDWR", "O_CREAT", "rename", "unlink"].iter().any(|word| line.contains(word)))
        .collect();
    assert!(written.is_empty(), "written: {written:#?}");
}
