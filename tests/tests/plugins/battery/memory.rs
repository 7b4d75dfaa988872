//! Memory over load, ten thousand extractions and errors, as valgrind sees it, in this host's process.
//!
//! Decides what is extracted and how often, and reads valgrind's report. Skipped, and reported so, without valgrind.

use kymhost_tests::fixture::{Fixture, batch, floats, image_id, texts};
use kymhost_tests::{Run, TestDir, built, skip};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How often is extracted: what is lost once, at load, is lost in both.
const FEW: u64 = 400;
pub const MANY: u64 = 10_000;
/// Valgrind takes some twenty times as long, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// What valgrind says of one run, and what came of the run.
#[derive(Debug)]
struct Report {
    /// Reads and writes outside the program's memory, uses of uninitialised memory, bad frees; not leaks.
    errors: u64,
    definitely_lost_bytes: u64,
    result: String,
    text: String,
}

/// The number in a line such as `==1==    definitely lost: 1,024 bytes in 2 blocks`.
fn number_after(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    let digits: String = rest.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
    digits.replace(',', "").parse().ok()
}

/// A process that loads these probes in this order and then lets each extract `count` times.
pub fn exercise(libraries: &[&Path], data: &Fixture, count: u64) -> Run {
    Run::program(&built().join("kymhost-exercise"), ["abi_probe".as_ref(), data.path().as_os_str()])
        .arg(count.to_string())
        .args(libraries)
}

fn under_valgrind(folder: &Path, library: &Path, data: &Fixture, count: u64) -> Report {
    let log = folder.join(format!("valgrind-{count}.log"));
    let log_file = format!("--log-file={}", log.display());
    let output = exercise(&[library], data, count)
        // Errors are counted; a leak is judged by whether it grows.
        .under(["valgrind", "--leak-check=full", "--errors-for-leak-kinds=none", "--keep-stacktraces=alloc", &log_file])
        .env("RUST_BACKTRACE", "0")
        .patience(PATIENCE)
        .output()
        .expect_code(0);
    let text = std::fs::read_to_string(&log).expect("valgrind's report");
    Report {
        errors: number_after(&text, "ERROR SUMMARY:").unwrap_or_else(|| panic!("no summary:\n{text}")),
        definitely_lost_bytes: number_after(&text, "definitely lost:").unwrap_or_else(|| panic!("no leaks:\n{text}")),
        result: output.stdout().trim().to_owned(),
        text,
    }
}

/// Panics unless memory is used rightly, and no more of it is lost the more is extracted; see [`verdict`].
pub fn check_loses_nothing(library: &Path, actions: &[&str], failing: usize, many: u64) {
    if let Some(Err(why)) = verdict(library, actions, failing, many) {
        panic!("{why}");
    }
}

/// Runs the probe over images of these actions, `failing` of which fail, a few and `many` times, and compares what is
/// lost. Gives what is wrong; `None`, reported as skipped, without valgrind.
pub fn verdict(library: &Path, actions: &[&str], failing: usize, many: u64) -> Option<Result<(), String>> {
    if !Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success()) {
        skip("there is no valgrind");
        return None;
    }
    assert_eq!(many % actions.len() as u64, 0, "each action as often as the others");
    assert_eq!(FEW % actions.len() as u64, 0, "each action as often as the others");
    let folder = TestDir::new();
    let data = Fixture::new(folder.join("data.zarr"));
    for (number, action) in actions.iter().enumerate() {
        let image = data.add_image(&image_id(number as u64));
        image.json("probe/params", &json!({"do": action}));
        data.put(&image.key("probe/broken.json"), "{\"x\": ");
        image.parquet("probe/table", &batch([("a", floats([1.0, 2.0])), ("b", texts(["x", "y"]))]));
    }
    let few = under_valgrind(folder.path(), library, &data, FEW);
    let more = under_valgrind(folder.path(), library, &data, many);
    for (count, found) in [(FEW, &few), (many, &more)] {
        let failed = count * failing as u64 / actions.len() as u64;
        assert_eq!(found.result, format!("{} done, {failed} failed", count - failed), "it did what it was asked to");
        if found.errors > 0 {
            return Some(Err(format!("memory is used wrongly {} times:\n{}", found.errors, found.text)));
        }
    }
    let (before, after) = (few.definitely_lost_bytes, more.definitely_lost_bytes);
    if after > before {
        let what = format!("{before} bytes are lost after {FEW} extractions, {after} after {many}");
        return Some(Err(format!("{what}:\n{}", more.text)));
    }
    Some(Ok(()))
}
