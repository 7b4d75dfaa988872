//! Reports tests that cannot run on this machine, so that a skipped test is never mistaken for a passed one.

use crate::build::{build_folders, repository};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

/// The folder of recorded cases and recordings that are not part of the repository: `KYMHOST_SHARED`, else
/// `../shared` next to the repository's root. If it is absent, the running test is reported as skipped.
pub fn shared() -> Option<PathBuf> {
    let path = match std::env::var_os("KYMHOST_SHARED") {
        Some(path) => PathBuf::from(path),
        None => repository().parent()?.join("shared"),
    };
    if path.is_dir() {
        return Some(path);
    }
    skip(&format!("{} is absent", path.display()));
    None
}

/// Reports that the running test is skipped: on stderr, past the capture of the test harness, and in
/// `skipped.log` in the target folder, whose lines `.ci/run` prints at its end.
pub fn skip(why: &str) {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: {why}\n", thread.name().unwrap_or("a test"));
    let mut told = TOLD.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if told.contains(&line) {
        return;
    }
    let _ = std::io::stderr().write_all(line.as_bytes());
    let log = build_folders().1.join("skipped.log");
    if let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(log) {
        let _ = file.write_all(line.as_bytes());
    }
    told.push(line);
}
