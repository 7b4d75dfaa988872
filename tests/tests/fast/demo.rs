//! The demo: from recordings of known velocity to events, compared with the truth, and what runs again when
//! something changes.
//!
//! Tests how far the plugins' results may be from what was simulated, and what the demo promises about folders.
//! The rule of comparison is tested elsewhere (the unit tests of `host/cli/src/demo/truth.rs`).

use kymhost_tests::fixture::{Fixture, image_id};
use kymhost_tests::table::Table;
use kymhost_tests::{Run, TestDir, assert_untouched, library, program, snapshot};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The updated images of each plugin in each step: all, nothing, one param of the events, one recording.
const UPDATED: [[u64; 3]; 4] = [[6, 6, 6], [0, 0, 0], [0, 1, 1], [1, 1, 1]];
/// How far the mean speed of a recording may be off. The angle has steps of 0.25°: half of one is 0.4 % of a
/// speed at 45° and 0.6 % at the fastest here, and evens out in the mean. What is left is the method's own: in
/// windows of 16 lines × 48 pixels it measures 0.7 to 3.1 % too fast, the slower the more (the same method with
/// windows of 32 lines: 0.1 to 0.3 %; docs/guides/analyses.md).
const MEAN_PERCENT: f64 = 4.0;
/// How far half of the windows may be off: that, and half a step.
const MEDIAN_PERCENT: f64 = 4.0;
/// How far 95 of 100 may be off: with noise, and a pulse within the window.
const P95_PERCENT: f64 = 8.0;
/// In a stall streaks stand upright, at 0°: one step of 0.25° would be 0.0022 mm/s.
const STILL_MM_S: f64 = 0.0022;
/// Windows of 16 lines every 4 lines that see one of the flash's two lines: at most five.
const FLASHED: u64 = 5;
/// Half of the 0.25 s that are compared, 0.025 s in which the flow stops, half a window.
const START_SEC: f64 = 0.158;

fn demo(dir: &TestDir) -> Value {
    Run::new(["demo", "--json"]).folder(dir.path()).output().expect_code(0).json()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// An answer is as good as the method can be, and no better.
fn check_answer(answer: &Value) {
    let (flow, still, stalls) = (&answer["flow"], &answer["still"], &answer["stalls"]);
    assert!(flow["windows"].as_u64() > Some(900) && flow["unknown"].as_u64() <= Some(FLASHED), "{answer:#}");
    let error = number(&flow["mean_error_percent"]);
    assert!(error.abs() <= MEAN_PERCENT, "{answer:#}");
    let (found, truth) = (number(&flow["found_mm_s"]), number(&flow["true_mm_s"]));
    assert!(((found / truth - 1.0) * 100.0 - error).abs() < 1e-6, "{answer:#}");
    assert!((0.5..1.7).contains(&truth.abs()), "{answer:#}");
    // An answer in steps that were right to the last digit would be the truth, not an answer.
    let (median, p95) = (number(&flow["median_error_percent"]), number(&flow["p95_error_percent"]));
    assert!(median > 0.1 && median <= MEDIAN_PERCENT, "{answer:#}");
    assert!(p95 > median && p95 <= P95_PERCENT, "{answer:#}");
    assert_eq!(stalls["found"], stalls["put_in"], "{answer:#}");
    assert_eq!((&stalls["missed"], &stalls["false"]), (&json!(0), &json!(0)), "{answer:#}");
    let starts = stalls["start_error_sec"].as_array().expect("a list");
    assert_eq!(starts.len() as u64, stalls["put_in"], "{answer:#}");
    assert!(starts.iter().all(|error| number(error).abs() <= START_SEC), "{answer:#}");
    if stalls["put_in"] != 0 {
        assert!(still["windows"].as_u64() > Some(30) && still["unknown"] == 0, "{answer:#}");
        assert!(number(&still["max_speed_mm_s"]) <= STILL_MM_S, "{answer:#}");
    }
}

/// The demo's velocities and stalls are those that it simulated.
#[test]
fn demo_measures_simulated_speeds_and_stalls() {
    let dir = TestDir::in_memory();
    let document = demo(&dir);
    let answers = document["answers"].as_array().expect("a list");
    assert_eq!(answers.len(), 6);
    answers.iter().for_each(check_answer);
    let put_in: Vec<&Value> = answers.iter().map(|answer| &answer["stalls"]["put_in"]).collect();
    assert_eq!(put_in, [2, 1, 3, 0, 2, 1]);
    // Both directions.
    let speeds: Vec<f64> = answers.iter().map(|answer| number(&answer["flow"]["found_mm_s"])).collect();
    assert!(speeds.iter().any(|speed| *speed > 0.0) && speeds.iter().any(|speed| *speed < 0.0), "{speeds:?}");
    check_files_tell_no_truth(&dir);
    // The one that was recorded again flows the other way, in the dataset as well.
    let (before, after) = (&answers[0], &document["replaced"]);
    check_answer(after);
    assert_eq!(before["image_id"], after["image_id"]);
    assert!(number(&before["flow"]["found_mm_s"]) * number(&after["flow"]["found_mm_s"]) < 0.0);
    let data = dir.join("kymhost-demo.zarr");
    let summaries = Table::read(&data.join("tables/kym_radon_velocity.parquet"));
    let row = summaries.column("image_id").iter().position(|id| **id == after["image_id"]).expect("its row");
    assert!(number(summaries.column("vel_mean")[row]) * number(&after["flow"]["found_mm_s"]) > 0.0);
    // What the demo counts stands in the table that it leaves: of all recordings but the two that were changed since.
    let events = Table::read(&data.join("tables/kym_velocity_events.parquet"));
    for answer in answers.iter().filter(|answer| ![0, 3].iter().any(|at| answers[*at] == **answer)) {
        let (ids, types, scores) = (events.column("image_id"), events.column("event_type"), events.column("score"));
        let drops: Vec<f64> = (0..ids.len())
            .filter(|row| *ids[*row] == answer["image_id"] && types[*row] == "baseline_drop")
            .map(|row| number(scores[row]))
            .collect();
        let found = drops.iter().filter(|score| **score >= 1.0).count();
        assert_eq!((found, drops.len() - found), {
            let count = |name: &str| answer["stalls"][name].as_u64().expect("a count") as usize;
            (count("found") + count("false"), count("below_threshold"))
        });
    }
}

/// What the plugins see apart from the pixels does not depend on the flow, and the same pixels under another
/// name have the same velocities.
fn check_files_tell_no_truth(dir: &TestDir) {
    let folder = dir.join("kymhost-demo-recordings");
    let entries = fs::read_dir(&folder).expect("the recordings").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    let numbered = (1..=6).flat_map(|number| [format!("vessel-{number}.json"), format!("vessel-{number}.tif")]);
    assert_eq!(names, [".kymhost-demo.json".to_owned()].into_iter().chain(numbered).collect::<Vec<_>>());
    let beside = |number: usize| -> Value {
        let text = fs::read(folder.join(format!("vessel-{number}.json"))).expect("its JSON");
        let mut json: Value = serde_json::from_slice(&text).expect("JSON");
        json["header"]["acquired_local_epoch_ns"].take();
        json
    };
    for number in 2..=6 {
        assert_eq!(beside(number), beside(1));
    }
    let other = dir.join("other");
    fs::create_dir(&other).expect("a folder");
    fs::copy(folder.join("vessel-2.tif"), other.join("a.tif")).expect("a copy");
    fs::write(other.join("a.json"), r#"{"header": {"voxels": [0.001, 0.5]}}"#).expect("its scale");
    let data = dir.join("other.zarr");
    Run::new(["dataset", "ingest"]).arg(&other).dataset(&data).output().expect_code(0);
    Run::new(["run", "--plugin", "radon_velocity"]).dataset(&data).output().expect_code(0);
    let means = |data: &Path| -> Vec<Value> {
        let table = Table::read(&data.join("tables/kym_radon_velocity.parquet"));
        table.column("vel_mean").into_iter().cloned().collect()
    };
    let (found, expected) = (means(&data), means(&dir.join("kymhost-demo.zarr")));
    assert!(found.len() == 1 && expected.contains(&found[0]), "{found:?} is not in {expected:?}");
}

/// The demo shows the answer next to the truth, and which images run again.
#[test]
fn demo_shows_answer_and_reruns() {
    let dir = TestDir::in_memory();
    let output = Run::new(["demo"]).folder(dir.path()).output().expect_code(0).expect_stdout(&[
        "kymhost-demo-recordings",
        "kymhost-demo.zarr",
        "The flow stalls 9 times",
        "radon_velocity: 6 computed (6 new), 0 up to date",
        "event_detection: 6 computed (6 new), 0 up to date",
        "velocity_events: 6 computed (6 new), 0 up to date",
        "6 recordings computed  it was never run",
        // The answer.
        "mean speed, mm/s",
        "missed",
        "baseline_drop",
        // Nothing to do; one param; one recording.
        "radon_velocity: 0 computed, 6 up to date",
        "velocity_events: 0 computed, 6 up to date",
        "params set --plugin event_detection",
        "event_detection: 1 computed, 5 up to date",
        "vessel-4  computed  its params have changed",
        "vessel-1.tif imported again, 5 unchanged",
        "radon_velocity: 1 computed, 5 up to date",
        "vessel-1  computed  an input that its rows were made from has changed",
        "a run found no rows, and nothing has changed since",
        // Why, with the key that changed.
        "   an input that its rows were made from has changed\n",
        "       data\n",
    ]);

    // The commands that it shows do as they are, in the same folder: those on the way find nothing to do …
    let stdout = output.stdout();
    let (way, after) = stdout.split_once("Try next:\n").unwrap_or_else(|| panic!("no commands to try\n{output}"));
    let type_in = |command: &str| {
        let output = Run::program(Path::new("sh"), ["-c", command]).folder(dir.path()).output().expect_code(0);
        format!("{}{}", output.stdout(), output.stderr())
    };
    let shown: Vec<&str> = way.lines().filter_map(|line| line.strip_prefix("   $ ")).collect();
    assert!(shown.len() >= 8, "{output}");
    let said: Vec<String> = shown.into_iter().map(type_in).collect();
    let is_known = |said: &String| said.contains("6 recordings: 0 added, 6 unchanged");
    assert_eq!(said.iter().filter(|said| is_known(said)).count(), 2, "{said:#?}");
    assert!(!said.iter().any(|said| said.contains(": 1 computed")), "{said:#?}");
    // … and those to try next do what is said of them.
    let commands: Vec<&str> = after.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert!(commands.len() >= 8, "{output}");
    let said: Vec<String> = commands.into_iter().map(type_in).collect();
    assert!(said.iter().any(|text| text.contains("1 of 6 recordings stale")), "{said:#?}");
    assert!(said.iter().any(|text| text.contains("/baseline_drop/abs_score_floor\n")), "{said:#?}");
    assert!(said.iter().any(|text| text.contains("event_detection: 1 computed, 5 up to date")), "{said:#?}");
    assert!(dir.join("my_indexer").is_dir());
}

/// The demo replaces its own folder, but never somebody else's.
#[test]
fn demo_recreates_only_its_own_folder() {
    let dir = TestDir::in_memory();
    let demo = || Run::new(["demo", "my demo.zarr", "--json"]).folder(dir.path()).output();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let document = demo().expect_code(0).json();
        let updated = |runs: &Value| -> Vec<u64> {
            let runs = runs.as_array().expect("a list");
            runs.iter().map(|run| run["stats"]["updated"].as_u64().expect("a count")).collect()
        };
        let steps = document["steps"].as_array().expect("a list");
        let names: Vec<&Value> = steps.iter().map(|step| &step["step"]).collect();
        assert_eq!(names, ["all", "again", "param", "recording"]);
        let done: Vec<Vec<u64>> = steps.iter().map(|step| updated(&step["runs"])).collect();
        assert_eq!(done, UPDATED);
        assert_eq!(updated(&document["runs"]), [6, 0, 1, 1]);
        assert_eq!((&document["images"], &document["recordings"]), (&json!(6), &json!("my demo-recordings")));
        // The same recordings each time, so the same answers.
        let flows = document["answers"].as_array().expect("a list").iter();
        answers.push(flows.map(|answer| (answer["flow"].clone(), answer["stalls"].clone())).collect::<Vec<_>>());
    }
    assert_eq!(answers[0], answers[1]);
    Fixture::at(dir.join("my demo.zarr")).add_image(&image_id(7));
    let demo_again = snapshot(dir.path());
    let output = demo().expect_code(6).expect_stderr(&["your own recordings", "kymhost demo"]);
    assert_eq!(output.json()["error"]["code"], "not_ours");
    assert_untouched(&demo_again, &snapshot(dir.path()));

    Fixture::with_images(dir.join("mine.zarr"), 1, 1);
    fs::create_dir(dir.join("theirs-recordings")).unwrap();
    fs::write(dir.join("theirs-recordings/vessel-1.tif"), "theirs").unwrap();
    let untouched = snapshot(dir.path());
    for (name, advice) in [("mine.zarr", "mine-2.zarr"), ("theirs.zarr", "theirs-2.zarr")] {
        Run::new(["demo", name]).folder(dir.path()).output().expect_code(6).expect_stderr(&[advice]);
    }
    assert_untouched(&untouched, &snapshot(dir.path()));
}

/// Without its plugins the demo creates nothing.
#[test]
fn demo_without_plugins_creates_nothing() {
    let (dir, alone) = (TestDir::in_memory(), TestDir::new());
    let program_alone = alone.join("kymhost");
    fs::copy(program(), &program_alone).expect("a copy of the program");
    let plugins = alone.join("some");
    fs::create_dir(&plugins).expect("a folder");
    for missing in ["radon_velocity", "event_detection", "velocity_events"] {
        let output = Run::program(&program_alone, ["demo", "--plugin-dir"]).arg(&plugins).folder(dir.path()).output();
        output.expect_code(5).expect_stderr(&[missing]);
        assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
        let library = library(missing);
        fs::copy(&library, plugins.join(library.file_name().expect("a name"))).expect("a copy of the library");
    }
}
