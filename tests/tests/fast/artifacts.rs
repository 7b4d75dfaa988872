//! Indexers that make artifacts: what is kept of them, whose they are, which order several run in.
//!
//! Runs the fixture plugin `maker` over small datasets. What holds for every indexer is in `engine` and `faults`.

use kymhost_tests::fixture::{Fixture, batch, image_id, ints};
use kymhost_tests::table::Table;
use kymhost_tests::{Output, Run, TestDir, assert_untouched, c, copy_tree, library, snapshot};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A dataset of images 0 to 2 and runs over it.
struct Lab {
    dir: TestDir,
    data: Fixture,
}

impl Lab {
    fn new() -> Self {
        let dir = TestDir::new();
        let data = Fixture::new(dir.join("data.zarr"));
        for image in 0..3 {
            data.add_image(&image_id(image));
        }
        let lab = Self { dir, data };
        for image in 0..3 {
            lab.params(image, json!({"value": image}));
        }
        lab
    }

    fn params(&self, image: u64, params: Value) {
        self.data.image(&image_id(image)).json("maker/params", &params);
    }

    fn key(&self, image: u64, key: &str) -> String {
        format!("images/{}/{key}", image_id(image))
    }

    fn has(&self, image: u64, key: &str) -> bool {
        self.data.key(&self.key(image, key)).exists()
    }

    fn command(&self, words: &str) -> Run {
        Run::new(kymhost_tests::words(words, "maker")).dataset(self.data.path())
    }

    #[track_caller]
    fn run(&self, words: &str) -> Output {
        self.command(&format!("run --plugin {words}")).output()
    }

    /// Runs `maker`, which must go well: how many images it did.
    #[track_caller]
    fn updated(&self) -> u64 {
        let document = self.run("@maker --json").expect_code(0).json();
        document["stats"]["updated"].as_u64().expect("a number")
    }

    /// The reasons of all images, with the keys that they name.
    #[track_caller]
    fn reasons(&self, indexer: &str) -> Vec<String> {
        let document = self.command(&format!("status --plugin @{indexer} --json")).output().expect_code(0).json();
        let images = document["images"].as_array().expect("images").clone();
        let words = |image: &Value| {
            let keys: Vec<&str> = image["inputs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            format!("{} {}", image["reason"].as_str().unwrap_or_default(), keys.join(" ")).trim().to_owned()
        };
        images.iter().map(words).collect()
    }

    fn json(&self, image: u64, key: &str) -> Value {
        let text = fs::read(self.data.key(&self.key(image, key))).expect("a JSON artifact");
        serde_json::from_slice(&text).expect("JSON")
    }

    fn values(&self, image: u64) -> Vec<Value> {
        let table = Table::read(&self.data.key(&self.key(image, "analysis/maker/table.parquet")));
        table.column("value").into_iter().cloned().collect()
    }
}

const JSON: &str = "analysis/maker/json.json";
const TABLE: &str = "analysis/maker/table.parquet";
const ARRAY: &str = "analysis_arrays/maker/array/data/.zarray";
const MADE: [&str; 3] = [JSON, TABLE, ARRAY];

/// Artifacts are kept with the rows, and a second run has nothing to do.
#[test]
fn artifacts_kept_second_run_does_nothing() {
    let lab = Lab::new();
    assert_eq!(lab.updated(), 3);
    for image in 0..3 {
        assert_eq!(lab.json(image, JSON), json!({"value": image}));
        assert_eq!(lab.values(image), vec![json!(image); 3]);
        let layout = lab.json(image, ARRAY);
        assert_eq!((&layout["shape"], &layout["dtype"]), (&json!([2, 3]), &json!("<f4")));
        let marker = lab.json(image, "analysis/maker_run.json");
        let keys: Vec<&Value> =
            marker["kymhost"]["outputs"].as_array().expect("outputs").iter().map(|output| &output["key"]).collect();
        assert_eq!(
            keys,
            ["analysis/maker/json.json", "analysis/maker/table.parquet", "analysis_arrays/maker/array/data"]
        );
    }
    assert_eq!(Table::read(&lab.data.key("tables/kym_maker.parquet")).column("value"), [0, 1, 2]);
    assert_eq!(lab.reasons("maker"), ["FRESH_ROWS"; 3]);
    // The times of what was written are known: nothing is left to be learnt, and nothing is written.
    let before = snapshot(lab.data.path());
    assert_eq!(lab.updated(), 0);
    assert_untouched(&before, &snapshot(lab.data.path()));
}

/// A run in process makes the same artifacts as a run with workers.
#[test]
fn in_process_run_makes_same_artifacts() {
    let lab = Lab::new();
    lab.run("@maker --in-process").expect_code(0);
    assert_eq!((lab.json(2, JSON), lab.values(2)), (json!({"value": 2}), vec![json!(2); 3]));
    assert_eq!(lab.reasons("maker"), ["FRESH_ROWS"; 3]);
}

/// What an indexer made earlier is not an input of its images.
#[test]
fn own_artifacts_are_not_inputs() {
    let lab = Lab::new();
    for image in 0..3 {
        lab.params(image, json!({"make": ["own", "listed", "json", "table", "array"]}));
    }
    assert_eq!(lab.updated(), 3);
    assert_eq!(lab.reasons("maker"), ["FRESH_ROWS"; 3]);
    assert_eq!(lab.updated(), 0);
}

/// Artifacts that are missing or altered are made again.
#[test]
fn missing_or_altered_artifacts_are_remade() {
    for (what, key) in [("json", JSON), ("table", TABLE), ("array", "analysis_arrays/maker/array/data/0.0")] {
        let lab = Lab::new();
        lab.updated();
        let stale = |image: usize| {
            let shown = if what == "array" { "analysis_arrays/maker/array/data" } else { key };
            let mut reasons = vec!["FRESH_ROWS".to_owned(); 3];
            reasons[image] = format!("STALE_OUTPUT_CHANGED {shown}");
            reasons
        };
        let right = fs::read(lab.data.key(&lab.key(1, key))).expect("an artifact");
        lab.data.remove(&lab.key(1, key));
        assert_eq!(lab.reasons("maker"), stale(1), "{what} is gone");
        assert_eq!(lab.updated(), 1, "{what} is gone");
        assert_eq!(fs::read(lab.data.key(&lab.key(1, key))).expect("an artifact"), right, "{what}");

        let mut other = right.clone();
        let last = other.len() - 1;
        other[last] ^= 1;
        lab.data.put(&lab.key(2, key), &other);
        assert_eq!(lab.reasons("maker"), stale(2), "{what} was altered");
        let explained = lab.command(&format!("explain {} --plugin @maker --json", image_id(2))).output().expect_code(0);
        assert!(explained.stdout().contains("STALE_OUTPUT_CHANGED"), "{}", explained.stdout());
        assert_eq!(lab.updated(), 1, "{what} was altered");
        assert_eq!(lab.reasons("maker"), ["FRESH_ROWS"; 3], "{what}");
        // The predecessor's rules know nothing of artifacts.
        lab.data.put(&lab.key(2, key), &other);
        let document = lab.command("status --plugin @maker --compat kymflow --json").output().expect_code(0).json();
        assert_eq!(document["images"][2]["reason"], "FRESH_ROWS", "{what}");
    }
}

/// An artifact that is no longer made is removed, unless somebody changed it.
#[test]
fn dropped_artifact_removed_unless_edited() {
    let lab = Lab::new();
    lab.updated();
    lab.params(0, json!({"make": ["table"]}));
    lab.params(1, json!({"make": []}));
    lab.data.put_json(&lab.key(1, JSON), &json!({"mine": true}));
    assert_eq!(lab.updated(), 2);
    assert_eq!(MADE.map(|key| lab.has(0, key)), [false, true, false]);
    assert_eq!(MADE.map(|key| lab.has(1, key)), [true, false, false]);
    assert_eq!(lab.json(1, JSON), json!({"mine": true}));
    assert_eq!(MADE.map(|key| lab.has(2, key)), [true; 3]);
    assert_eq!(lab.reasons("maker"), ["FRESH_ROWS"; 3]);
    // Now kymhost does not know its owner.
    lab.params(1, json!({}));
    let output = lab.run("@maker --json").expect_code(3).json();
    assert_eq!(output["failures"][0]["kind"], "error");
    assert_eq!(lab.json(1, JSON), json!({"mine": true}));
}

/// An artifact that somebody else made is only overwritten with the option for it.
#[test]
fn foreign_artifact_not_overwritten_unasked() {
    type Put = fn(&Lab);
    let put: [(&str, Put); 4] = [
        ("json.json", |lab| lab.data.image(&image_id(1)).json("maker/json", &json!("by hand"))),
        ("json.json.gz", |lab| lab.data.image(&image_id(1)).json_gz("maker/json", &json!("of old"))),
        ("table.parquet", |lab| lab.data.image(&image_id(1)).parquet("maker/table", &batch([("value", ints([7]))]))),
        ("array/data", |lab| {
            let layout = json!({
                "chunks": [1], "compressor": null, "dtype": "|u1", "fill_value": 0, "filters": null, "order": "C",
                "shape": [1], "zarr_format": 2
            });
            lab.data.put_json(&lab.key(1, ARRAY), &layout);
            lab.data.put(&lab.key(1, "analysis_arrays/maker/array/data/0"), [9]);
        }),
    ];
    for (name, put) in put {
        let lab = Lab::new();
        put(&lab);
        let mine = |lab: &Lab| {
            let mut files = snapshot(&lab.data.key(&lab.key(1, "")));
            files.retain(|file, _| file.contains("maker/") && !file.contains("params") && !file.ends_with('/'));
            files
        };
        let before = mine(&lab);
        let preview = lab.run("@maker --dry-run --json").expect_code(0).json();
        assert_eq!(preview["would_fail"].as_array().map(Vec::len), Some(1), "{name}: {preview}");
        for _ in 0..2 {
            let output = lab.run("@maker --json").expect_code(3).json();
            let failure = &output["failures"][0];
            let message = failure["message"].as_str().unwrap_or_default();
            assert_eq!((&failure["image_id"], &failure["kind"]), (&json!(image_id(1)), &json!("error")), "{name}");
            assert!(message.contains(name) && message.contains("--overwrite-artifacts"), "{name}: {message}");
            assert_untouched(&before, &mine(&lab));
        }
        assert_eq!(lab.reasons("maker"), ["FRESH_ROWS", "STALE_LAST_RUN_FAILED", "FRESH_ROWS"], "{name}");
        lab.run("@maker --overwrite-artifacts").expect_code(0);
        assert_eq!((lab.json(1, JSON), lab.values(1)), (json!({"value": 1}), vec![json!(1); 3]), "{name}");
        // From now on they are its own.
        lab.params(1, json!({"value": 5}));
        assert_eq!(lab.updated(), 1, "{name}");
        assert_eq!(lab.values(1), vec![json!(5); 3], "{name}");
    }
}

/// After `adopt`, the artifacts belong to the indexer.
#[test]
fn adopted_artifacts_belong_to_indexer() {
    let lab = Lab::new();
    lab.updated();
    // As if another program had made all of it.
    for image in 0..3 {
        let mut marker = lab.json(image, "analysis/maker_run.json");
        marker.as_object_mut().expect("an object").remove("kymhost");
        lab.data.image(&image_id(image)).json("maker_run", &marker);
    }
    lab.params(0, json!({"value": 9}));
    lab.run("@maker").expect_code(3);
    lab.params(0, json!({"value": 0}));
    lab.command("adopt --plugin @maker --reason tested").output().expect_code(0);
    lab.params(0, json!({"value": 9}));
    assert_eq!(lab.updated(), 1);
    assert_eq!(lab.values(0), vec![json!(9); 3]);
}

/// An image that fails keeps its earlier artifacts.
#[test]
fn failed_image_keeps_artifacts() {
    let lab = Lab::new();
    lab.updated();
    let files = |lab: &Lab| MADE.map(|key| fs::read(lab.data.key(&lab.key(1, key))).expect("an artifact"));
    let before = files(&lab);
    for (params, words) in [
        (json!({"value": 8, "fail": true}), "fail"),
        (json!({"value": 8, "make": ["table", "elsewhere"]}), "'elsewhere', which its WRITES does not name"),
        (json!({"value": 8, "make": ["json", "json"]}), "'maker/json' twice"),
    ] {
        lab.params(1, params);
        let document = lab.run("@maker --json").expect_code(3).json();
        let message = document["failures"][0]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(words), "{message}");
        assert_eq!(files(&lab), before, "{words}");
    }
}

/// Rows whose type does not go with the table's are refused after the artifacts were written: the image is done
/// again, and its artifacts are known as its own.
#[test]
fn refused_rows_artifacts_stay_known() {
    let lab = Lab::new();
    lab.params(2, json!({"text": true, "value": 4}));
    let document = lab.run("@maker --json").expect_code(3).json();
    assert_eq!((&document["stats"]["updated"], &document["failures"][0]["kind"]), (&json!(2), &json!("bad_table")));
    assert_eq!(lab.reasons("maker")[2], "STALE_LAST_RUN_FAILED");
    // An artifact of a failed attempt that is not made again is removed: nothing would say whose it is.
    lab.params(2, json!({"value": 6, "make": ["table"]}));
    assert_eq!(lab.updated(), 1);
    assert_eq!(lab.values(2), vec![json!(6); 3]);
    assert_eq!(MADE.map(|key| lab.has(2, key)), [false, true, false]);
    assert_eq!(lab.reasons("maker"), ["FRESH_ROWS"; 3]);
}

/// If all images run again because a column's type changed, the run finds what it has made itself a moment ago.
#[test]
fn recompute_knows_artifacts_of_same_run() {
    let lab = Lab::new();
    for image in 3..6 {
        lab.data.add_image(&image_id(image));
        lab.params(image, json!({"value": image}));
    }
    lab.params(5, json!({"text": true, "value": 5}));
    let document = lab.run("@maker --on-schema-change recompute --json").expect_code(3).json();
    assert_eq!((&document["stats"]["updated"], &document["stats"]["failed"]), (&json!(5), &json!(1)), "{document}");
    assert_eq!(document["failures"][0]["kind"], "bad_table", "{document}");
    for image in 0..5 {
        assert_eq!(lab.values(image), vec![json!(image); 3]);
    }
    // The same if the first attempt wrote artifacts and failed because of the rows of an image that was not selected.
    for image in 0..6 {
        lab.params(image, json!({"text": true, "value": 10 + image, "make": ["table"]}));
    }
    let images: Vec<String> = (1..6).map(image_id).collect();
    let words = format!("@maker --on-schema-change recompute --json --image {}", images.join(" "));
    let document = lab.run(&words).expect_code(0).json();
    assert_eq!((&document["stats"]["updated"], &document["recomputed"]), (&json!(6), &json!(true)), "{document}");
    for image in 0..6 {
        assert_eq!(lab.values(image), vec![json!(10 + image); 3]);
        // Also of the one that was refused before: what was written for it then is made no more.
        assert_eq!(MADE.map(|key| lab.has(image, key)), [false, true, false], "{image}");
    }
    assert_eq!(lab.reasons("maker"), ["FRESH_ROWS"; 6]);
}

/// The findings of `verify`, each as kind and artifact of an image.
#[track_caller]
fn findings(lab: &Lab, code: i32) -> Vec<(Value, Value, Value)> {
    let document = lab.command("verify --plugin @maker --json").output().expect_code(code).json();
    let findings = document["findings"].as_array().expect("findings").clone();
    findings.into_iter().map(|f| (f["image_id"].clone(), f["kind"].clone(), f["artifact"].clone())).collect()
}

/// `verify` compares new artifacts with those that are kept.
#[test]
fn verify_compares_artifacts() {
    let lab = Lab::new();
    lab.updated();
    assert_eq!(findings(&lab, 0), []);
    // A marker without a receipt names no artifact: only `verify` can see that they are others now.
    for image in 0..3 {
        let mut marker = lab.json(image, "analysis/maker_run.json");
        marker.as_object_mut().expect("an object").remove("kymhost");
        lab.data.image(&image_id(image)).json("maker_run", &marker);
    }
    assert_eq!(findings(&lab, 0), []);
    // Written otherwise it is the same.
    lab.data.put(&lab.key(0, JSON), "{\"value\":0}");
    assert_eq!(findings(&lab, 0), []);
    let array = "analysis_arrays/maker/array/data";
    let differs = |image: u64, key: &str| (json!(image_id(image)), json!("artifact_differs"), json!(key));
    let chunk = lab.key(1, &format!("{array}/0.0"));
    lab.data.put_json(&lab.key(0, JSON), &json!({"value": 7}));
    lab.data.image(&image_id(0)).parquet("maker/table", &batch([("value", ints([0, 0, 1]))]));
    // Image 1 gets the chunk of image 2.
    lab.data.put(&chunk, fs::read(lab.data.key(&lab.key(2, &format!("{array}/0.0")))).expect("a chunk"));
    for key in MADE {
        lab.data.remove(&lab.key(2, key));
    }
    let expected = [
        differs(0, JSON),
        differs(0, TABLE),
        differs(1, array),
        differs(2, JSON),
        differs(2, TABLE),
        differs(2, array),
    ];
    let found = findings(&lab, 3);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    assert!(expected.iter().all(|one| found.contains(one)), "{found:?}");
    let text = lab.command("verify --plugin @maker").output().expect_code(3);
    text.expect_stdout(&[
        "artifact_differs  6  a stored artifact is not what the plugin returns now",
        "analysis/maker/json.json: the member 'value' is not what the extraction gives",
        "it is not there, and the extraction makes it",
    ]);
}

/// `verify` reports artifacts that are no longer made, or that differ each time.
#[test]
fn verify_finds_dropped_and_varying_artifacts() {
    let lab = Lab::new();
    lab.params(0, json!({"counts": true}));
    lab.updated();
    let marker = |image: u64| lab.json(image, "analysis/maker_run.json");
    // The receipt of image 1 names an artifact that the plugin does not make.
    let mut other = marker(1);
    let outputs = other["kymhost"]["outputs"].as_array_mut().expect("outputs");
    let mut more = outputs[0].clone();
    more["key"] = json!("analysis/maker/more.json");
    outputs.push(more);
    fs::copy(lab.data.key(&lab.key(1, JSON)), lab.data.key(&lab.key(1, "analysis/maker/more.json"))).expect("a copy");
    lab.data.image(&image_id(1)).json("maker_run", &other);
    let expected = [
        (json!(image_id(0)), json!("not_deterministic"), json!(JSON)),
        (json!(image_id(1)), json!("artifact_differs"), json!("analysis/maker/more.json")),
    ];
    assert_eq!(findings(&lab, 3), expected);
    // Adopted ones are compared with each other only: that others come out now is why they were adopted.
    let lab = Lab::new();
    lab.updated();
    lab.data.put_json(&lab.key(0, JSON), &json!({"mine": true}));
    lab.command("adopt --plugin @maker --reason tested").output().expect_code(0);
    assert_eq!(findings(&lab, 0), []);
}

/// kymflow has neither intents nor receipts, so that the artifacts' owner would be unknown.
#[test]
fn compat_kymflow_refuses_artifacts() {
    let lab = Lab::new();
    let before = snapshot(lab.data.path());
    for words in ["@maker", "@doubler --plugin @written", "@maker --dry-run"] {
        let error = lab.run(&format!("{words} --compat kymflow --json")).expect_code(2).json();
        assert_eq!(error["error"]["code"], "artifacts_by_kymflow", "{words}: {error}");
        assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("writes artifacts")), "{error}");
    }
    assert_untouched(&before, &snapshot(lab.data.path()));
    lab.run("@written --compat kymflow").expect_code(0);
    lab.command("status --plugin @maker --compat kymflow").output().expect_code(0);
}

/// `adopt` is only named if it would accept the image.
#[test]
fn refusal_names_only_applicable_options() {
    let lab = Lab::new();
    lab.data.image(&image_id(0)).json("maker/json", &json!("by hand"));
    let refusal = |lab: &Lab, image: u64, options: &str| {
        let preview = lab.run(&format!("@maker --dry-run --json {options}")).expect_code(0).json();
        let refused = preview["would_fail"].as_array().expect("a list").clone();
        let of_image = refused.into_iter().find(|would| would["image_id"] == json!(image_id(image)));
        let error = of_image.unwrap_or_else(|| panic!("{preview}"))["error"].clone();
        let text = error.as_str().expect("why it would fail").to_owned();
        assert!(text.contains("json.json") && text.contains("--overwrite-artifacts"), "{text}");
        text
    };
    let never_run = refusal(&lab, 0, "");
    assert!(!never_run.contains("adopt"), "{never_run}");
    let text = lab.run("@maker --dry-run").expect_code(0);
    text.expect_stdout(&["it was never run: ", "was not made by this indexer"]);
    let run = lab.run("@maker --json").expect_code(3).json();
    let said = run["failures"][0]["message"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains("--overwrite-artifacts") && !said.contains("adopt"), "{said}");
    // Rows without a receipt: adopt takes the image once it is stale.
    let mut marker = lab.json(1, "analysis/maker_run.json");
    marker.as_object_mut().expect("an object").remove("kymhost");
    lab.data.image(&image_id(1)).json("maker_run", &marker);
    let fresh = refusal(&lab, 1, "--force");
    assert!(!fresh.contains("adopt"), "{fresh}");
    lab.params(1, json!({"value": 9}));
    let stale = refusal(&lab, 1, "");
    assert!(stale.contains("kymhost adopt"), "{stale}");
    lab.command("adopt --plugin @maker --reason tested").output().expect_code(0);
    lab.params(1, json!({"value": 10}));
    lab.run(&format!("@maker --image {}", image_id(1))).expect_code(0);
}

/// After a kill at some moment, the next run knows which artifacts the killed one made.
#[test]
#[ignore = "slow"]
fn killed_run_recovers_its_artifacts() {
    // Timing decides what each kill meets; `faults` visits each moment.
    let lab = Lab::new();
    for wait in 0..16 {
        for image in 0..3 {
            lab.params(image, json!({"value": 100 + wait}));
        }
        let mut child = lab.command("run --plugin @maker").start(lab.dir.path());
        std::thread::sleep(Duration::from_millis(10 + 6 * wait));
        child.kill().expect("a killed run");
        child.wait().expect("an ended run");
        lab.run("@maker").expect_code(0);
        for image in 0..3 {
            assert_eq!(lab.json(image, JSON), json!({"value": 100 + wait}), "{wait}");
            assert_eq!(lab.values(image), vec![json!(100 + wait); 3], "{wait}");
        }
        assert_eq!(lab.reasons("maker"), ["FRESH_ROWS"; 3], "{wait}");
    }
}

/// Some changes of the disk of a run that makes, replaces and removes artifacts are once the moment of a
/// SIGKILL or fail.
#[test]
fn fault_at_some_changes_recovers() {
    faults_at_changes(20);
}

/// Every change of the disk of such a run is once the moment of a SIGKILL, and fails once.
#[test]
#[ignore = "slow"]
fn fault_at_each_change_recovers() {
    faults_at_changes(1);
}

/// A kill and another fault at every `step`-th change.
fn faults_at_changes(step: usize) {
    let lab = Lab::new();
    lab.data.remove(&format!("images/{}", image_id(2)));
    lab.updated();
    lab.params(0, json!({"value": 50, "make": ["table"]}));
    lab.params(1, json!({"value": 51}));
    // What the files of one image say, if the run marker names them.
    let value = |data: &Path, image: u64, value: i64, makes: [bool; 3], story: &str| {
        let file = |key: &str| data.join(format!("images/{}/{key}", image_id(image)));
        assert_eq!(MADE.map(|key| file(key).exists()), makes, "{story}: image {image}");
        assert_eq!(Table::read(&file(TABLE)).column("value"), [value; 3], "{story}: image {image}");
    };
    std::thread::sleep(Duration::from_millis(50));
    let copy = |name: &str| {
        let path = lab.dir.join(name);
        let _ = fs::remove_dir_all(&path);
        copy_tree(lab.data.path(), &path);
        path
    };
    let command = |data: &Path, words: &str| {
        Run::new(words.split_whitespace())
            .args(["--plugin", &format!("{}:maker", library("maker").display())])
            .dataset(data)
    };
    let log = lab.dir.join("log");
    let undisturbed = copy("undisturbed.zarr");
    command(&undisturbed, "run --jobs 1").env("KYMHOST_FAULT_LOG", &log).output().expect_code(0);
    let count = fs::read_to_string(&log).expect("the log of changes").lines().count();
    assert!(count > 30, "the program numbers its changes only when built for debugging");
    for number in (1..=count).step_by(step) {
        for fault in ["KILL", ["TORN", "ENOSPC", "EIO"][number % 3]] {
            let story = format!("{fault} at change {number} of {count}");
            let data = copy("disturbed.zarr");
            command(&data, "run --jobs 1").env("KYMHOST_FAULT", format!("{number}:{fault}")).output();
            let status = command(&data, "status --json").output().expect_code(0).json();
            for (image, new, old, makes) in [(0, 50, 0, [false, true, false]), (1, 51, 1, [true; 3])] {
                let reason = &status["images"][image as usize]["reason"];
                if reason == "FRESH_ROWS" {
                    value(&data, image, new, makes, &story);
                } else if reason == "STALE_PARAMS_CHANGED" {
                    value(&data, image, old, [true; 3], &story);
                }
            }
            // What was begun does not look like somebody else's artifact.
            command(&data, "run").output().expect_code(0);
            value(&data, 0, 50, [false, true, false], &story);
            value(&data, 1, 51, [true; 3], &story);
            let status = command(&data, "status --json").output().expect_code(0).json();
            assert!((0..2).all(|image| status["images"][image]["reason"] == "FRESH_ROWS"), "{story}: {status}");
            assert!(!data.join("index/kymhost/intents/kym_maker.json").exists(), "{story}");
        }
    }
}

/// An indexer that reads an artifact runs after the one that writes it.
#[test]
fn readers_run_after_writers() {
    let lab = Lab::new();
    // Asked for the other way round.
    let document = lab.run("@doubler --plugin @maker --json").expect_code(0).json();
    let names: Vec<&Value> = document["runs"].as_array().expect("runs").iter().map(|run| &run["indexer"]).collect();
    assert_eq!(names, ["doubler", "maker"], "the document keeps the order of the arguments");
    let doubled = |lab: &Lab| -> Vec<Value> {
        let table = Table::read(&lab.data.key("tables/kym_doubler.parquet"));
        table.column("double").into_iter().cloned().collect()
    };
    assert_eq!(doubled(&lab), [0, 0, 0, 2, 2, 2, 4, 4, 4]);
    // One param of the first: the second sees it in the artifact.
    lab.params(1, json!({"value": 10}));
    assert_eq!(lab.reasons("doubler"), ["FRESH_ROWS"; 3]);
    let preview = lab.run("@doubler --plugin @maker --dry-run --exit-code --json").expect_code(10).json();
    assert_eq!(
        preview["runs"][0]["pending_upstream"],
        json!([
            {"image_id": image_id(1), "reason": "PENDING_UPSTREAM", "inputs": []}
        ])
    );
    assert_eq!(preview["runs"][0]["would_update"], json!([]));
    assert_eq!(preview["runs"][1]["would_update"][0]["reason"], "STALE_PARAMS_CHANGED");
    let text = lab.run("@doubler --plugin @maker --dry-run").expect_code(0);
    assert!(text.stdout().contains("1 waiting for another indexer"), "{}", text.stdout());
    // With reasons, only those wait that may have one of them then.
    for (reason, waiting, updated) in [
        ("STALE_PARAMS_CHANGED", 0, 0),
        ("STALE_OUTPUT_CHANGED", 0, 0),
        ("STALE_INPUT_CHANGED", 1, 1),
        ("FRESH_ROWS", 0, 0),
    ] {
        let copy = lab.dir.join("copy.zarr");
        let _ = fs::remove_dir_all(&copy);
        copy_tree(lab.data.path(), &copy);
        let run = |words: &str| {
            let library = library("maker");
            let plugins = ["doubler", "maker"].map(|name| format!("--plugin={}:{name}", library.display()));
            let words = format!("run --reason STALE_PARAMS_CHANGED --reason {reason} --json {words}");
            let words = words.split_whitespace().map(str::to_owned).chain(plugins);
            Run::new(words).dataset(&copy).output().expect_code(0).json()
        };
        let preview = run("--dry-run");
        let pending = preview["runs"][0]["pending_upstream"].as_array().map(Vec::len);
        assert_eq!(pending, Some(waiting), "{reason}: {preview}");
        assert_eq!(run("")["runs"][0]["stats"]["updated"], updated, "{reason}");
    }
    let error = lab.run("@maker --reason PENDING_UPSTREAM --json").expect_code(2).json();
    assert_eq!(error["error"]["code"], "usage", "{error}");
    let document = lab.run("@doubler --plugin @maker --json").expect_code(0).json();
    let updated: Vec<&Value> = (0..2).map(|run| &document["runs"][run]["stats"]["updated"]).collect();
    assert_eq!(updated, [1, 1]);
    assert_eq!(doubled(&lab), [0, 0, 0, 4, 4, 4, 20, 20, 20]);
    let document = lab.run("@doubler --plugin @maker --json").expect_code(0).json();
    assert!((0..2).all(|run| document["runs"][run]["stats"]["updated"] == 0), "{document}");
}

/// The same through the C door: what may be handed over is kept, what may not is refused with a text.
#[test]
fn c_plugin_makes_artifacts() {
    let Some(library) = c::plugin("c_maker", "tests/plugins/c_maker/maker.c", &[]) else { return };
    let lab = Lab::new();
    let words = ["run", "--plugin", &library.display().to_string(), "--image", &image_id(1)].map(str::to_owned);
    Run::new(words).dataset(lab.data.path()).output().expect_code(0);
    let table = Table::read(&lab.data.key("tables/kym_c_maker.parquet"));
    let said: Vec<String> = table
        .rows
        .iter()
        .map(|row| format!("{} {} {}", row[0].as_str().unwrap_or("-"), row[1], row[2].as_str().unwrap_or("-")))
        .collect();
    let expected = [
        ("json 0", ""),
        ("json twice -1", "'c_maker/json' twice"),
        ("no json -1", "'c_maker/other' that it hands over is not JSON"),
        ("undeclared -1", "JSON artifact 'c_maker/table', which its WRITES does not name"),
        ("null name -1", "name is NULL"),
        ("null json -1", "JSON is NULL"),
        ("table 0", ""),
        ("table twice -1", "'c_maker/table' twice"),
        ("array 0", ""),
        ("short array -1", "5 bytes, which does not match its shape and dtype"),
        ("no dtype -1", "the unknown dtype 99"),
        ("small array -1", "struct_size"),
        ("null array -1", "NULL"),
        ("null error -1", ""),
    ];
    assert_eq!(said.len(), expected.len());
    for (said, (status, words)) in said.iter().zip(expected) {
        assert!(said.starts_with(status) && said.contains(words), "{said}: no {status} {words}");
    }
    let text = fs::read_to_string(lab.data.key(&lab.key(1, "analysis/c_maker/json.json"))).expect("the artifact");
    assert_eq!(text, "{\n  \"x\": NaN\n}");
    let made = Table::read(&lab.data.key(&lab.key(1, "analysis/c_maker/table.parquet")));
    assert_eq!(made.column("value"), [7]);
    let layout = lab.json(1, "analysis_arrays/c_maker/array/data/.zarray");
    assert_eq!((&layout["shape"], &layout["dtype"]), (&json!([2, 3]), &json!("<f4")));
    let info = Run::new(["plugin", "info", "--json", &library.display().to_string()]).output().expect_code(0).json();
    assert_eq!((&info["api"], &info["needs_api"]), (&json!("1.1"), &json!("1.1")), "{info}");
}

/// Indexers that wait for each other, or write the same artifact, are refused before anything runs.
#[test]
fn unorderable_indexers_refused_before_run() {
    let lab = Lab::new();
    let before = snapshot(lab.data.path());
    for (plugins, code, words) in [
        ("@hen --plugin @egg", "cycle", "hen -> egg -> hen"),
        ("@maker --plugin @rival", "two_writers", "'maker' and 'rival'"),
    ] {
        for dry in ["", "--dry-run"] {
            let error = lab.run(&format!("{plugins} {dry} --json")).expect_code(2).json();
            assert_eq!(error["error"]["code"], code);
            assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains(words)), "{error}");
        }
    }
    assert_untouched(&before, &snapshot(lab.data.path()));
    // One after the other, the second writer meets what the first has made.
    lab.run("@maker").expect_code(0);
    let document = lab.run("@rival --json").expect_code(3).json();
    assert_eq!(document["stats"]["failed"], 3);
    assert!(lab.dir.path().exists());
}
