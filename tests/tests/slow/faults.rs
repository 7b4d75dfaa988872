//! Every change of the disk that a command makes fails once, and is once the moment of a SIGKILL.
//!
//! The debug program numbers its changes (each write, sync, rename …). `KYMHOST_FAULT=<n>:<fault>` makes the
//! n-th fail, or kills the process there (`TORN`: after a part of the bytes); `KYMHOST_FAULT_LOG` names a file
//! that gets one line for each. After each: the table opens and is the old or the new one, no image's rows are
//! mixed, `status` and the exit code are right, and the next run ends as an undisturbed one does, with
//! nothing left behind.

use kymhost_tests::fixture::{Fixture, image_id};
use kymhost_tests::judge::{self, Lab, MARKER, Rows, Truth};
use kymhost_tests::{Output, Run};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// With a `+`: that change and all after it fail.
const FAULTS: [&str; 6] = ["KILL", "TORN", "ENOSPC", "EIO", "EACCES", "+ENOSPC"];
const KILL: i32 = 9;

/// Which faults are tried at each change.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Faults {
    /// All of them.
    All,
    /// A kill, and the others in turn.
    InTurn,
    /// One of them at every tenth change.
    Few,
}

impl Faults {
    fn at(self, number: u64) -> Vec<&'static str> {
        match self {
            Self::All => FAULTS.to_vec(),
            Self::InTurn => vec![FAULTS[0], FAULTS[1 + number as usize % (FAULTS.len() - 1)]],
            Self::Few if number.is_multiple_of(10) => vec![FAULTS[number as usize / 10 % FAULTS.len()]],
            Self::Few => Vec::new(),
        }
    }
}

/// What is done to a dataset, and what is to become of it.
struct Scene<'a> {
    lab: &'a Lab,
    data: &'a Fixture,
    truth: Truth,
    /// The table is never anything but the old or the new one.
    has_one_commit: bool,
    command: &'a (dyn Fn(&Fixture) -> Run + Sync),
}

/// A run that has everything to do: images that are new, changed in params or in what they read, that fail,
/// lose their rows, widen a column; rows of a deleted image; markers to be freshened (of all that are fresh: a
/// copy's files have times of their own).
fn busy_dataset(lab: &Lab) -> Fixture {
    let data = Fixture::new(lab.fresh("busy.zarr"));
    let params = |number: u64, value: Value| data.image(&image_id(number)).json("reader/params", &value);
    let artifact = |number: u64, value: Value| data.image(&image_id(number)).json("a", &value);
    for number in 0..8 {
        data.add_image(&image_id(number));
        params(number, json!({"read": [["json", "a"], ["pixels"]]}));
        artifact(number, json!({"v": number}));
    }
    lab.run(&data).output().expect_code(0);
    params(1, json!({"read": [["json", "a"]], "rows": 5}));
    artifact(2, json!({"v": "changed"}));
    artifact(3, json!({"fail": true}));
    data.remove(&format!("images/{}", image_id(4)));
    params(5, json!({"read": [["pixels"]], "rows": 0}));
    params(6, json!({"read": [["json", "a"]], "float": true, "extra": true}));
    data.add_image(&image_id(8));
    data
}

/// A run survives some faults at some of its changes of the disk.
#[test]
fn run_survives_some_faults() {
    let lab = Lab::new();
    let data = busy_dataset(&lab);
    let truth = lab.truth(&data, "the busy dataset");
    let command = |data: &Fixture| lab.command(data, &["run", "--jobs", "1"]);
    Scene { lab: &lab, data: &data, truth, has_one_commit: true, command: &command }.sweep(Faults::Few);
}

/// A run survives each fault at each of its changes of the disk.
#[test]
#[ignore = "slow"]
fn run_survives_every_fault() {
    let lab = Lab::new();
    let data = busy_dataset(&lab);
    let truth = lab.truth(&data, "the busy dataset");
    assert_eq!(truth.failing, BTreeSet::from([image_id(3)]));
    let command = |data: &Fixture| lab.command(data, &["run", "--jobs", "1"]);
    Scene { lab: &lab, data: &data, truth, has_one_commit: true, command: &command }.sweep(Faults::All);
}

/// The same for a run with checkpoints.
#[test]
#[ignore = "slow"]
fn run_with_checkpoints_survives_faults() {
    let lab = Lab::new();
    let data = busy_dataset(&lab);
    let truth = lab.truth(&data, "the busy dataset");
    let command = |data: &Fixture| lab.command(data, &["run", "--jobs", "1", "--checkpoint", "0"]);
    Scene { lab: &lab, data: &data, truth, has_one_commit: false, command: &command }.sweep(Faults::InTurn);
}

/// The same for mode `replace`.
#[test]
#[ignore = "slow"]
fn replace_survives_faults() {
    let lab = Lab::new();
    let data = busy_dataset(&lab);
    let truth = lab.truth(&data, "the busy dataset");
    let command = |data: &Fixture| lab.command(data, &["run", "--jobs", "1", "--mode", "replace"]);
    Scene { lab: &lab, data: &data, truth, has_one_commit: true, command: &command }.sweep(Faults::InTurn);
}

/// The same for `adopt`.
#[test]
#[ignore = "slow"]
fn adopt_survives_faults() {
    let lab = Lab::new();
    let data = Fixture::new(lab.fresh("adopt.zarr"));
    for number in 0..4 {
        data.add_image(&image_id(number)).json("reader/params", &json!({"read": [["pixels"]], "rows": 2}));
    }
    lab.run(&data).output().expect_code(0);
    for number in 1..4 {
        data.image(&image_id(number)).json("reader/params", &json!({"read": [["pixels"]], "rows": 2, "why": number}));
    }
    let adopt = |data: &Fixture| lab.command(data, &["adopt", "--reason", "a test"]);
    // What adopting leaves is the truth here: the earlier rows with the current params.
    let adopted = lab.copy(&data);
    adopt(&adopted).output().expect_code(0);
    let rows = judge::rows(&adopted, "adopted");
    assert_ne!(rows, judge::rows(&data, "not adopted"), "adopting changes provenance");
    let truth = Truth { rows, failing: BTreeSet::new(), images: judge::images(&adopted) };
    Scene { lab: &lab, data: &data, truth, has_one_commit: true, command: &adopt }.sweep(Faults::InTurn);
}

/// What an undisturbed command did.
struct Undisturbed {
    old: Rows,
    new: Rows,
    files: Vec<String>,
}

impl Scene<'_> {
    /// Runs the command on copies of the dataset, once for each of its changes of the disk and each fault.
    fn sweep(&self, faults: Faults) {
        let Self { lab, data, truth, command, .. } = self;
        // kymhost does not trust the times of young files. That is not what is tested here.
        std::thread::sleep(Duration::from_millis(50));
        let copy = lab.copy(data);
        let log = lab.fresh("log");
        let output = command(&copy).env("KYMHOST_FAULT_LOG", &log).output();
        assert_eq!(output.code(), Some(self.code()), "undisturbed\n{output}");
        let changes = numbers(&log);
        let count = changes.len() as u64;
        assert_eq!(changes.keys().copied().collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>(), "numbers of changes");
        assert!(count >= 10, "the program numbers its changes only when built for debugging; log: {changes:?}");
        eprintln!("{count} changes of the disk, faults: {faults:?}");
        let old = judge::rows(data, "old");
        let new = judge::rows(&copy, "new");
        judge::expect_up_to_date(&new, &old, truth, "undisturbed");
        command(&copy).output().expect_code(self.code());
        let undisturbed = Undisturbed { old, new, files: lasting(&copy) };

        let cases: Vec<(u64, &str)> =
            (1..=count).flat_map(|number| faults.at(number).into_iter().map(move |fault| (number, fault))).collect();
        let visited = Mutex::new(BTreeSet::new());
        let next = Mutex::new(cases.iter());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let case = next.lock().expect("cases").next();
                        let Some((number, fault)) = case else { return };
                        let story = format!("{fault} at change {number} ({})", changes[number]);
                        self.one_fault(&undisturbed, *number, fault, &story);
                        visited.lock().expect("visited").insert(*number);
                    }
                });
            }
        });
        let expected: BTreeSet<u64> = (1..=count).filter(|number| !faults.at(*number).is_empty()).collect();
        assert_eq!(visited.into_inner().expect("visited"), expected, "changes that were visited");
    }

    /// The exit code of an undisturbed end.
    fn code(&self) -> i32 {
        if self.truth.failing.is_empty() { 0 } else { 3 }
    }
}

/// The lines of a log of changes by their number.
fn numbers(log: &Path) -> BTreeMap<u64, String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let line = |line: &str| {
        let (number, what) = line.split_once(' ').unwrap_or((line, ""));
        (number.parse().unwrap_or_else(|_| panic!("no number in the log's line {line:?}")), what.to_owned())
    };
    text.lines().map(line).collect()
}

impl Scene<'_> {
    /// One fault at one change, and what becomes of it.
    fn one_fault(&self, undisturbed: &Undisturbed, number: u64, fault: &str, story: &str) {
        let Self { lab, data, truth, command, .. } = self;
        let copy = lab.copy(data);
        let log = lab.fresh("log");
        let order = match fault.strip_prefix('+') {
            Some(fault) => format!("{number}+:{fault}"),
            None => format!("{number}:{fault}"),
        };
        let output = command(&copy).env("KYMHOST_FAULT", order).env("KYMHOST_FAULT_LOG", &log).output();
        assert!(numbers(&log).contains_key(&number), "{story}: was never visited\n{output}");
        let killed = matches!(fault, "KILL" | "TORN");
        if killed {
            assert_eq!(output.signal(), Some(KILL), "{story}\n{output}");
        } else {
            assert!(output.signal().is_none(), "{story}\n{output}");
            judge::expect_no_panic(&output, story);
        }

        let found = judge::rows(&copy, story);
        judge::expect_unmixed(&found, &undisturbed.old, &undisturbed.new, story);
        if self.has_one_commit {
            let whole = found == undisturbed.old || found == undisturbed.new;
            assert!(whole, "{story}: the table is neither the old nor the new one\n{output}");
        }
        for image in judge::images(&copy) {
            if let Ok(bytes) = fs::read(copy.key(&copy.image(&image).key(&format!("{MARKER}.json")))) {
                let marker = serde_json::from_slice::<Value>(&bytes);
                assert!(marker.is_ok_and(|marker| marker.is_object()), "{story}: the marker of {image} is torn");
            }
        }
        let verdicts = lab.status(&copy, story);
        judge::expect_true(&verdicts, &found, truth, story);
        if !killed {
            expect_honest_end(&output, &verdicts.stale(), story);
        }

        let output = command(&copy).output();
        assert_eq!(output.code(), Some(self.code()), "{story}: the next run\n{output}");
        let found = judge::rows(&copy, story);
        judge::expect_up_to_date(&found, &undisturbed.old, truth, &format!("{story}: after the next run"));
        let verdicts = lab.status(&copy, story);
        judge::expect_true(&verdicts, &found, truth, &format!("{story}: after the next run"));
        assert_eq!(verdicts.stale(), truth.failing, "{story}: stale after the next run: {verdicts:?}");
        assert_eq!(judge::strays(&copy), Vec::<String>::new(), "{story}: left after the next run");
        assert_eq!(
            lasting(&copy),
            undisturbed.files,
            "{story}: files after the next run, and after an undisturbed one"
        );
        fs::remove_dir_all(copy.path()).expect("remove the copy");
    }
}

/// An exit code of 0 or 3 means: what is stale now is listed as failed.
fn expect_honest_end(output: &Output, stale: &BTreeSet<String>, story: &str) {
    let code = output.code().unwrap_or_default();
    assert!([0, 1, 3, 5].contains(&code), "{story}: exit code\n{output}");
    if code == 0 || code == 3 {
        let failed = judge::failed(output);
        assert!(stale.is_subset(&failed), "{story}: stale and not reported: {stale:?}\n{output}");
        assert_eq!(code == 3, !failed.is_empty(), "{story}: exit code\n{output}");
    } else {
        let error = &output.json()["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{story}: no message\n{output}");
    }
}

/// The files that stay: not the locks, which appear when they are needed.
fn lasting(data: &Fixture) -> Vec<String> {
    let files = judge::files(data).into_iter();
    files.filter(|name| !name.starts_with("index/kymhost/locks/") && !name.ends_with('/')).collect()
}
