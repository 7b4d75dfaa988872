//! A run with nothing to do reads the table once, writes nothing and starts no worker.

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

/// A run with nothing to do writes nothing.
#[test]
fn idle_run_writes_nothing() {
    let dir = TestDir::new();
    let data = settled(&dir);
    let before = snapshot(data.path());
    expect_nothing_done(run(&data, "incremental").output());
    assert_untouched(&before, &snapshot(data.path()));
}

/// What strace sees of a run with nothing to do.
fn traced(dir: &TestDir, data: &Fixture, calls: &str) -> Option<String> {
    traced_run(dir, calls, |strace| expect_nothing_done(run(data, "incremental").under(strace).output()))
}

/// What strace sees of what `run` runs under it.
fn traced_run(dir: &TestDir, calls: &str, run: impl FnOnce([&str; 8])) -> Option<String> {
    let runs = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stdin(Stdio::null()).output();
    if !runs.is_ok_and(|output| output.status.success()) {
        skip("strace is absent or may not trace");
        return None;
    }
    let trace = dir.join("trace");
    let trace_path = trace.display().to_string();
    let strace = ["strace", "-f", "-s", "4096", "-e", calls, "-o", &trace_path];
    run(strace);
    Some(fs::read_to_string(&trace).expect("what strace wrote"))
}

/// A run with nothing to do starts no worker.
#[test]
fn idle_run_starts_no_worker() {
    let dir = TestDir::new();
    let data = settled(&dir);
    let Some(trace) = traced(&dir, &data, "trace=execve,execveat") else { return };
    let started: Vec<&str> = trace.lines().filter(|line| line.contains("exec")).collect();
    assert_eq!(started.len(), 1, "other programs were started: {started:#?}");
    // The same check does see a worker if there is one.
    let image = data.image(&kymhost_tests::fixture::image_id(3));
    image.params(&serde_json::json!({"threshold": "another"}));
    image.params(&serde_json::json!({"threshold": 3}));
    let Some(trace) = traced(&dir, &data, "trace=execve,execveat") else { return };
    let started = trace.lines().filter(|line| line.contains("exec")).count();
    assert!(started <= 1, "params that were rewritten alike were asked for again");
    data.remove("index/kymhost");
    fs::remove_file(data.key(&image.key("velocity_events/summary.json"))).expect("a marker");
    image.marker(&serde_json::json!({"threshold": 3}), 3);
    let Some(trace) = traced(&dir, &data, "trace=execve,execveat") else { return };
    let started = trace.lines().filter(|line| line.contains("exec")).count();
    assert_eq!(started, 2, "a marker of Python's needs the plugin: {trace}");
}

/// Several indexers share one listing of the images.
#[test]
fn indexers_share_one_image_listing() {
    let dir = TestDir::new();
    let data = settled(&dir);
    let both = || {
        let plugins = ["--plugin", "velocity_events", "--plugin", "radon"];
        Run::new(["run", "--json"]).args(plugins).dataset(data.path())
    };
    both().output().expect_code(0);
    let listings = |run: &dyn Fn() -> Run| {
        let trace = traced_run(&dir, "trace=open,openat,openat2", |strace| {
            run().under(strace).output().expect_code(0);
        })?;
        let of_images = trace.lines().filter(|line| line.contains("\"images\"") && line.contains("O_DIRECTORY"));
        Some(of_images.filter(|line| !line.contains("O_PATH")).count())
    };
    let Some(of_both) = listings(&both) else { return };
    let of_one = listings(&|| run(&data, "incremental")).expect("strace did run");
    assert!(of_one > 0, "the look sees no listing");
    assert_eq!(of_both, of_one, "folders of images that were opened");
}

/// A run with nothing to do opens the table once.
#[test]
fn idle_run_opens_table_once() {
    let dir = TestDir::new();
    let data = settled(&dir);
    let calls = "trace=open,openat,openat2,rename,renameat,renameat2,unlink,unlinkat";
    let Some(trace) = traced(&dir, &data, calls) else { return };
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
