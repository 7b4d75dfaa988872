//! The engine as the command line offers it: which images a run does, what it removes, when it stops, waits or refuses,
//! and what `status`, `explain`, `verify` and `adopt` report.
//!
//! Tests each option and document of these commands with the real program. Faults, kills and random histories
//! are in `slow`.

use kymhost::store::{Key, LocalStore, LockGuard, Store as _};
use kymhost_tests::fixture::{Fixture, batch, floats, image_id, ints, texts};
use kymhost_tests::judge::{Lab, MARKER, TABLE};
use kymhost_tests::{Output, Run, TestDir, assert_untouched, library, program, snapshot, wait, wait_for, words};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Sets an image's params: it reads the artifact `note`, and what is said here.
fn params(data: &Fixture, image: u64, more: Value) {
    let mut params = json!({"read": [["json", "note"]]});
    if let (Some(params), Some(more)) = (params.as_object_mut(), more.as_object()) {
        params.extend(more.clone());
    }
    data.image(&image_id(image)).json("reader/params", &params);
}

fn note(data: &Fixture, image: u64, text: &str) {
    data.image(&image_id(image)).json("note", &json!({"text": text}));
}

fn add(data: &Fixture, image: u64) {
    data.add_image(&image_id(image));
    params(data, image, json!({}));
    note(data, image, "first");
}

fn delete(data: &Fixture, image: u64) {
    data.remove(&format!("images/{}", image_id(image)));
}

/// A dataset of these images, not run yet.
fn dataset(lab: &Lab, images: u64) -> Fixture {
    let data = Fixture::new(lab.fresh("data.zarr"));
    (0..images).for_each(|image| add(&data, image));
    data
}

/// The same, up to date.
fn settled(lab: &Lab, images: u64) -> Fixture {
    let data = dataset(lab, images);
    lab.run(&data).output().expect_code(0);
    data
}

/// Image 0 is fresh; 1 has another `note`, 2 other params, 3 was never run.
fn one_of_each(lab: &Lab) -> Fixture {
    let data = settled(lab, 3);
    note(&data, 1, "second");
    params(&data, 2, json!({"rows": 5}));
    add(&data, 3);
    data
}

fn ids(images: &[u64]) -> Vec<String> {
    images.iter().copied().map(image_id).collect()
}

fn words_of(line: &str) -> Vec<String> {
    words(line, "reader")
}

/// A command of words with `--plugin`, `--dataset` and `--json`.
fn command(lab: &Lab, data: &Fixture, line: &str) -> Run {
    let words = words_of(line);
    lab.command(data, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The same for people.
fn text(data: &Fixture, line: &str) -> Output {
    Run::new(words_of(line)).arg("--plugin").arg(library("reader")).dataset(data.path()).output()
}

/// What one field of each of a list of objects says.
fn each(list: &Value, field: &str) -> Vec<String> {
    let list = list.as_array().unwrap_or_else(|| panic!("{list} is not a list"));
    list.iter().map(|item| item[field].as_str().unwrap_or_default().to_owned()).collect()
}

/// Holds the table's lock as another run would.
fn hold(data: &Fixture) -> LockGuard {
    let store = LocalStore::open(data.path()).expect("the dataset's store");
    let key = Key::new("index/kymhost/locks/kym_reader.lock").expect("a key");
    let holder = json!({"host": "elsewhere", "pid": 4711, "plugin": "reader, replace"}).to_string();
    store.lock(&key, &holder).expect("a lock").expect("nobody else holds it")
}

// Which images a run does.

/// A run, and its dry run, extract exactly the images that the options select.
#[test]
fn run_extracts_exactly_selected_images() {
    let lab = Lab::new();
    let data = one_of_each(&lab);
    let check = |line: &str, done: &[u64], looked_at: u64| {
        let data = lab.copy(&data);
        let before = snapshot(data.path());
        let preview = command(&lab, &data, &format!("run --dry-run --exit-code {line}")).output();
        let preview = preview.expect_code(if done.is_empty() { 0 } else { 10 }).json();
        assert_eq!(each(&preview["would_update"], "image_id"), ids(done), "run --dry-run {line}");
        assert_untouched(&before, &snapshot(data.path()));

        let log = lab.fresh("log");
        let run = command(&lab, &data, &format!("run {line}")).env("KYMHOST_READER_LOG", &log);
        let stats = run.output().expect_code(0).json()["stats"].clone();
        let extracted: BTreeSet<String> =
            fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect();
        assert_eq!(extracted.into_iter().collect::<Vec<_>>(), ids(done), "run {line}");
        assert_eq!((&stats["updated"], &stats["total_images"]), (&json!(done.len()), &json!(looked_at)), "run {line}");
    };
    check("", &[1, 2, 3], 4);
    check("--mode replace", &[0, 1, 2, 3], 4);
    check("--force", &[0, 1, 2, 3], 4);
    check("--image #0", &[], 1);
    check("--image #0 --force", &[0], 1);
    check("--image #0 --mode replace", &[0], 1);
    check("--image #3 #1 #1", &[1, 3], 2);
    check("--image #3 --image #1", &[1, 3], 2);
    check("--reason STALE_INPUT_CHANGED", &[1], 1);
    check("--reason stale_params_changed STALE_MISSING_MARKER", &[2, 3], 2);
    check("--reason STALE_UNKNOWN", &[], 0);
    check("--reason FRESH_ROWS", &[], 1);
    check("--reason FRESH_ROWS --force", &[0], 1);
    check("--image #1 #2 --reason STALE_PARAMS_CHANGED", &[2], 1);
    check("--image #1 --reason STALE_PARAMS_CHANGED", &[], 0);
    // The predecessor does not see changed artifacts.
    check("--compat kymflow", &[2, 3], 4);
    check("--compat kymflow --image #1 #2 --orphans keep --on-schema-change fail", &[2], 2);
}

/// Impossible options are refused before anything is written.
#[test]
fn impossible_options_refused_before_writing() {
    let lab = Lab::new();
    let data = one_of_each(&lab);
    let before = snapshot(data.path());
    for (line, code, says) in [
        ("run --image #0 #9 #8", "unknown_image", image_id(9)),
        ("run --image #9 --dry-run", "unknown_image", image_id(9)),
        ("run --image ../x", "unknown_image", "../x".to_owned()),
        ("adopt --reason x --image #9", "unknown_image", image_id(9)),
        ("explain #9", "unknown_image", image_id(9)),
        ("explain 0000000", "several_images", image_id(2)),
        ("explain ../x", "unknown_image", "../x".to_owned()),
        ("run --reason SOME", "usage", "STALE_INPUT_REMOVED".to_owned()),
        ("status --reason SOME", "usage", "FRESH_ZERO_ROWS".to_owned()),
        ("run --compat kymflow --orphans prune", "usage", "--orphans prune".to_owned()),
        ("run --compat kymflow --on-schema-change recompute", "usage", "--on-schema-change".to_owned()),
        ("run --exit-code", "usage", "--dry-run".to_owned()),
        ("run --fail-fast --max-failures 2", "usage", "--max-failures".to_owned()),
    ] {
        let output = command(&lab, &data, line).output().expect_code(2).expect_stderr(&["error: "]);
        let error = output.json()["error"].clone();
        assert_eq!(error["code"], code, "{line}\n{output}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(&says)), "{line}\n{output}");
        assert!(error["help"].is_string(), "{line}\n{output}");
    }
    assert_untouched(&before, &snapshot(data.path()));
}

/// A dry run lists everything that the run would do.
#[test]
fn dry_run_lists_all_that_run_does() {
    let lab = Lab::new();
    let data = one_of_each(&lab);
    add(&data, 4);
    data.put(&data.image(&image_id(4)).key("reader/params.json"), "{");
    delete(&data, 0);
    let document = command(&lab, &data, "run --dry-run").output().expect_code(0).json();
    let error = document["would_fail"][0]["error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("reader/params")), "{document}");
    assert_eq!(
        document,
        json!({
            "indexer": "reader", "mode": "incremental", "table": TABLE, "dry_run": true,
            "would_update": [
                {"image_id": image_id(1), "reason": "STALE_INPUT_CHANGED", "inputs": ["analysis/note.json"]},
                {"image_id": image_id(2), "reason": "STALE_PARAMS_CHANGED", "inputs": []},
                {"image_id": image_id(3), "reason": "STALE_MISSING_MARKER", "inputs": []},
            ],
            "would_fail": [{"image_id": image_id(4), "reason": "STALE_UNREADABLE", "inputs": [], "error": error}],
            "would_prune": [{"image_id": image_id(0), "rows": 3}],
            "refusal": null,
            "pending_upstream": [],
        })
    );
    let keep = command(&lab, &data, "run --dry-run --orphans keep").output().expect_code(0).json();
    assert_eq!(keep["would_prune"], json!([]));
    text(&data, "run --dry-run -v").expect_code(0).expect_stdout(&[
        "reader: would compute 3 of 4 recordings, 1 would fail, would remove the rows of 1 recording (incremental, tables/",
        &format!("  {}  STALE_INPUT_CHANGED: analysis/note.json\n", image_id(1)),
        &format!("  {}  3 rows\n", image_id(0)),
    ]);
    let run = command(&lab, &data, "run").output().expect_code(3).json();
    let stats = &run["stats"];
    assert_eq!(
        (&stats["updated"], &stats["failed"], &run["pruned_images"]),
        (&json!(3), &json!(1), &json!(1)),
        "{run}"
    );
}

// Deleted images.

/// Rows of deleted images are removed, unless there are so many that it looks like an accident.
#[test]
fn orphan_rows_pruned_unless_suspiciously_many() {
    let lab = Lab::new();
    let few = settled(&lab, 3);
    let many = settled(&lab, 13);
    let check = |data: &Fixture, deleted: u64, line: &str, exit: i32, pruned: u64| {
        let story = format!("{deleted} deleted, run {line}");
        let data = lab.copy(data);
        (0..deleted).for_each(|image| delete(&data, image));
        let before = snapshot(data.path());
        let preview = command(&lab, &data, &format!("run {line} --dry-run")).output();
        assert_eq!(preview.code(), Some(exit), "{story} --dry-run\n{preview}");
        assert_eq!(preview.json()["refusal"].is_string(), exit == 6, "{story} --dry-run\n{preview}");
        assert_untouched(&before, &snapshot(data.path()));
        let run = command(&lab, &data, &format!("run {line}")).output();
        assert_eq!(run.code(), Some(exit), "{story}\n{run}");
        if exit == 6 {
            let run = run.expect_stderr(&["--yes", "--orphans keep"]);
            assert_eq!(run.json()["error"]["code"], "guarded", "{story}\n{run}");
            assert_untouched(&before, &snapshot(data.path()));
        } else {
            assert_eq!(run.json()["pruned_images"], pruned, "{story}\n{run}");
            let left = command(&lab, &data, "status").output().expect_code(0).json();
            assert_eq!(each(&left["orphans"], "image_id").len() as u64, deleted - pruned, "{story}\n{left}");
        }
    };
    check(&few, 0, "", 0, 0);
    check(&few, 1, "", 0, 1);
    check(&few, 1, "--orphans prune", 0, 1);
    check(&few, 1, "--orphans keep", 0, 0);
    check(&few, 1, "--compat kymflow", 0, 0);
    // A run of some images knows nothing of others.
    check(&few, 1, "--image #2", 0, 0);
    check(&few, 3, "", 6, 0);
    check(&few, 3, "--orphans keep", 0, 0);
    check(&few, 3, "--yes", 0, 3);
    check(&many, 10, "", 0, 10);
    check(&many, 11, "", 6, 0);
    check(&many, 11, "--yes", 0, 11);
    check(&many, 11, "--mode replace", 6, 0);
}

/// `status` and `run` report rows of deleted images.
#[test]
fn pruned_rows_are_reported() {
    let lab = Lab::new();
    let data = settled(&lab, 3);
    delete(&data, 1);
    let orphan = "the table has 3 rows of 1 recording no longer in the dataset; the next run removes them\n";
    text(&data, "status").expect_code(0).expect_stdout(&["0 of 2 recordings stale", orphan]);
    let said =
        text(&data, "run").expect_code(0).expect_stderr(&["removed the rows of 1 recording no longer in the dataset"]);
    assert_eq!(said.stderr().lines().count(), 2, "{said}");
    assert!(!text(&data, "status").expect_code(0).stdout().contains("no longer in the dataset"));
}

// Failures.

/// A run stops after `--max-failures` and commits what is done.
#[test]
fn max_failures_stops_and_commits_rest() {
    let lab = Lab::new();
    let data = dataset(&lab, 8);
    (2..8).for_each(|image| params(&data, image, json!({"fail": true})));
    for (line, failed, stopped) in [
        ("--fail-fast", 1, true),
        ("--max-failures 1", 1, true),
        ("--max-failures 3", 3, true),
        ("--max-failures 7", 6, false),
        ("", 6, false),
    ] {
        let data = lab.copy(&data);
        let output = command(&lab, &data, &format!("run --jobs 1 {line}")).output().expect_code(3);
        let document = output.json();
        let stats = &document["stats"];
        let counts = ["updated", "failed", "not_run"].map(|name| stats[name].as_u64().unwrap_or(99));
        assert_eq!(counts, [2, failed, 6 - failed], "{line}\n{output}");
        assert_eq!(document["stopped_by_failures"], stopped, "{line}\n{output}");
        let table = kymhost_tests::judge::rows(&data, line);
        assert_eq!(table.into_keys().collect::<Vec<_>>(), ids(&[0, 1]), "{line}");
    }
    let first = text(&data, "run --jobs 1 --fail-fast").expect_code(3);
    first.expect_stderr(&["stopped after 1 failure (", "  error: the params say: fail", ", 5 not reached ("]);
}

/// Failures are remembered, and the next run tries the images again.
#[test]
fn failures_are_remembered_and_retried() {
    let lab = Lab::new();
    let data = settled(&lab, 2);
    data.image(&image_id(1)).json("note", &json!({"fail": true}));
    command(&lab, &data, "run").output().expect_code(3);
    let explained = command(&lab, &data, "explain #1").output().expect_code(0).json();
    assert_eq!(explained["reason"], "STALE_LAST_RUN_FAILED", "{explained}");
    assert_eq!(explained["table_rows_present"], true, "{explained}");
    assert!(explained["causes"][0].to_string().contains("the artifact note says: fail"), "{explained}");
    note(&data, 1, "repaired");
    let retried = command(&lab, &data, "run --reason STALE_LAST_RUN_FAILED").output().expect_code(0).json();
    assert_eq!(retried["stats"]["updated"], 1, "{retried}");
    command(&lab, &data, "status --exit-code").output().expect_code(0);
}

/// With `--checkpoint`, a long run commits before its end.
#[test]
fn checkpoint_commits_during_run() {
    let lab = Lab::new();
    let data = dataset(&lab, 4);
    // They come one by one.
    (0..4).for_each(|image| params(&data, image, json!({"sleep_ms": 50})));
    for (line, at_once) in [("", true), ("--checkpoint 1000", true), ("--checkpoint 0", false)] {
        let data = lab.copy(&data);
        let document = command(&lab, &data, &format!("run --jobs 1 {line}")).output().expect_code(0).json();
        // The first commit is not put off, because no commit has a known cost yet.
        assert_eq!(document["commits"] == 1, at_once, "{line} {document}");
        assert_eq!(document["stats"]["updated"], 4, "{line} {document}");
        command(&lab, &data, "status --exit-code").output().expect_code(0);
    }
}

/// If an input has another time but the same content, its marker is renewed and nothing is extracted.
#[test]
fn touched_inputs_renew_markers() {
    let lab = Lab::new();
    let data = settled(&lab, 2);
    // The same content with another time, which is old enough to be trusted when a run looks at it.
    let touch = |image: u64| {
        note(&data, image, "first");
        std::thread::sleep(Duration::from_millis(100));
    };
    let again = |line: &str| {
        touch(1);
        text(&data, line).expect_code(0).stderr()
    };
    let says = "reader: renewed the run markers of 1 recording: inputs have new file times and the same content\n";
    assert!(again("run -v").contains(says));
    let quiet = again("run");
    assert!(!quiet.contains("renewed") && quiet.contains("0 computed, 2 up to date"), "{quiet}");
    touch(0);
    let document = command(&lab, &data, "run").output().expect_code(0).json();
    assert_eq!((&document["freshened"], &document["commits"]), (&json!(1), &json!(0)), "{document}");
}

// Columns.

/// A run reports a column that it widened.
#[test]
fn widened_column_is_reported() {
    let lab = Lab::new();
    let data = settled(&lab, 2);
    params(&data, 1, json!({"float": true}));
    let said = text(&data, "run").expect_code(0);
    said.expect_stderr(&["reader: the type of column 'value' changed from Int64 to Float64\n"]);
    let data = settled(&lab, 2);
    params(&data, 1, json!({"float": true}));
    let document = command(&lab, &data, "run").output().expect_code(0).json();
    assert_eq!(document["widened"], json!([{"column": "value", "from": "Int64", "to": "Float64"}]), "{document}");
}

/// A column of another type fails the image, or all images are computed again, as the option says.
#[test]
fn other_column_type_fails_or_recomputes() {
    let lab = Lab::new();
    let data = Fixture::new(lab.fresh("data.zarr"));
    for image in 0..3 {
        data.add_image(&image_id(image)).json("params", &json!({"n": image}));
    }
    let spec = format!("{}:misbehave", library("misbehave").display());
    let run =
        |line: &str| Run::new(words_of(line)).arg("--json").arg("--plugin").arg(&spec).dataset(data.path()).output();
    run("run").expect_code(0);
    // From now on it gives texts instead of integers.
    for image in 0..3 {
        data.image(&image_id(image)).json("misbehave", &json!({"do": "text"}));
    }
    let failed = run("run --image #0").expect_code(3);
    let failure = failed.json()["failures"][0].clone();
    assert_eq!(failure["kind"], "bad_table", "{failed}");
    for word in ["value", "Int64", "Utf8"] {
        assert!(failure["message"].as_str().is_some_and(|message| message.contains(word)), "{word}\n{failed}");
    }
    run("run --image #0 --on-schema-change fail").expect_code(3);
    let document = run("run --image #0 --on-schema-change recompute").expect_code(0).json();
    assert_eq!((&document["recomputed"], &document["stats"]["updated"]), (&json!(true), &json!(3)), "{document}");
    let status = run("status --exit-code").expect_code(0).json();
    assert_eq!(each(&status["images"], "reason"), ["FRESH_ROWS"; 3]);
}

// Locks.

/// A run waits for a locked table as long as `--wait` says, and says who holds it.
#[test]
fn locked_table_is_waited_for_with_wait() {
    let lab = Lab::new();
    let data = settled(&lab, 2);
    note(&data, 0, "second");
    let lock = hold(&data);
    for line in ["run", "run --wait 0", "run --wait 0.4", "adopt --reason x --wait 0.4"] {
        let begun = Instant::now();
        let output = command(&lab, &data, line).output().expect_code(4);
        let output = output.expect_stderr(&["elsewhere", "4711", "reader, replace", "--wait SECONDS"]);
        let waits = line.ends_with("0.4");
        assert!(!waits || begun.elapsed() >= Duration::from_millis(400), "{line}\n{output}");
        assert_eq!(
            output.stderr().contains("reader: waiting for kymhost on elsewhere, process 4711"),
            waits,
            "{output}"
        );
        assert_eq!(output.json()["error"]["code"], "locked", "{output}");
    }
    // A command that only reads, or has nothing to write, does not wait.
    for (line, code) in
        [("status --exit-code", 10), ("run --dry-run", 0), ("explain #0", 0), ("verify", 0), ("run --image #1", 0)]
    {
        command(&lab, &data, line).output().expect_code(code);
    }
    let free = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(lock);
    });
    let document = command(&lab, &data, "run --wait 60").output().expect_code(0).json();
    assert_eq!(document["stats"]["updated"], 1);
    free.join().expect("the other run ends");
}

/// A signal ends a command that waits for a lock, or that verifies.
#[test]
fn signal_ends_waiting_and_verifying() {
    use rustix::process::{Pid, Signal, kill_process};
    let lab = Lab::new();
    let data = settled(&lab, 3);
    // Nobody opens this gate.
    (0..3).for_each(|image| params(&data, image, json!({"hold": lab.fresh("gate")})));
    let lock = hold(&data);
    let before = snapshot(data.path());
    let check = |line: &str| {
        let (log, said) = (lab.fresh("log"), lab.fresh("said"));
        // Through a shell, which keeps what it says in a file.
        let run = Run::program(Path::new("sh"), ["-c", "exec \"$0\" \"$@\" 2> \"$SAID\""]).arg(program());
        let run = run.args(words_of(line)).arg("--plugin").arg(library("reader")).dataset(data.path());
        let mut child = run.env("SAID", &said).env("KYMHOST_READER_LOG", &log).start(lab.path());
        let waits = || fs::read_to_string(&said).is_ok_and(|said| said.contains("reader: waiting for kymhost"));
        wait_for("its beginning", || (waits() || log.exists()).then_some(()));
        kill_process(Pid::from_child(&child), Signal::INT).expect("a signal");
        // Without the signal it would wait for an hour.
        let end = wait(&mut child, Duration::from_secs(600)).unwrap_or_else(|| panic!("{line} does not end"));
        assert_eq!(end.code(), Some(130), "{line}");
    };
    check("run --wait 3600");
    check("adopt --reason x --wait 3600");
    assert_untouched(&before, &snapshot(data.path()));
    drop(lock);
    command(&lab, &data, "adopt --reason x").output().expect_code(0);
    check("verify");
}

// Status.

/// `status` shows changed inputs, notes, and only the reasons that were asked for.
#[test]
fn status_shows_inputs_notes_and_reasons() {
    let mut lab = Lab::new();
    let data = settled(&lab, 4);
    note(&data, 1, "second");
    params(&data, 2, json!({"rows": 5}));
    add(&data, 4);
    // A marker as Python writes it.
    let marker = data.image(&image_id(0)).key(&format!("{MARKER}.json"));
    let mut old: Value = serde_json::from_slice(&fs::read(data.key(&marker)).expect("a marker")).expect("JSON");
    old.as_object_mut().expect("an object").remove("kymhost").expect("a receipt");
    data.put_json(&marker, &old);
    lab.swap_library();
    let status =
        |line: &str, code: i32| command(&lab, &data, &format!("status {line}")).output().expect_code(code).json();
    let document = status("", 0);
    assert_eq!(
        each(&document["images"], "reason"),
        ["FRESH_ROWS", "STALE_INPUT_CHANGED", "STALE_PARAMS_CHANGED", "FRESH_ROWS", "STALE_MISSING_MARKER"]
    );
    let of = |field: &str| (0..5).map(|image| document["images"][image][field].clone()).collect::<Vec<_>>();
    assert_eq!(
        of("inputs"),
        [Value::Null, json!(["analysis/note.json"]), Value::Null, Value::Null, Value::Null],
        "{document}"
    );
    assert_eq!(of("notes")[0], json!(["JUDGED_BY_OLD_RULES"]), "{document}");
    assert_eq!(of("notes")[3], json!(["ANOTHER_LIBRARY"]), "{document}");
    assert_eq!(document["orphans"], json!([]));

    for (line, images, code) in [
        ("--exit-code", vec![0, 1, 2, 3, 4], 10),
        ("--reason FRESH_ROWS --exit-code", vec![0, 3], 0),
        ("--reason stale_input_changed --exit-code", vec![1], 10),
        ("--reason STALE_MISSING_MARKER STALE_PARAMS_CHANGED", vec![2, 4], 0),
        ("--reason STALE_UNKNOWN --exit-code", vec![], 0),
    ] {
        assert_eq!(each(&status(line, code)["images"], "image_id"), ids(&images), "status {line}");
    }
    let said = text(&data, "status -v --reason STALE_INPUT_CHANGED").expect_code(0).expect_stdout(&[
        "3 of 5 recordings stale",
        "  STALE_PARAMS_CHANGED  1  its params",
        "notes:\n  JUDGED_BY_OLD_RULES  1  its run marker lists no inputs",
        &format!("recordings with STALE_INPUT_CHANGED:\n  {}  STALE_INPUT_CHANGED: analysis/note.json\n", image_id(1)),
    ]);
    assert!(!said.stdout().contains(&image_id(2)), "{said}");
}

// Why.

/// `explain` lists every reason, with the values before and after.
#[test]
fn explain_lists_reasons_before_and_after() {
    let lab = Lab::new();
    let data = settled(&lab, 5);
    note(&data, 1, "second");
    params(&data, 2, json!({"rows": 5, "read": [["json", "note"], ["json", "other"]]}));
    note(&data, 2, "second");
    data.remove(&data.image(&image_id(3)).key("note.json"));
    let explain = |line: &str, code: i32| command(&lab, &data, &format!("explain {line}")).output().expect_code(code);
    let check = |image: u64, reasons: &[&str], inputs: &[&str]| {
        let stale = reasons[0].starts_with("STALE");
        let output = explain(&format!("#{image} --exit-code"), if stale { 10 } else { 0 });
        let document = output.json();
        assert_eq!(
            (&document["indexer"], &document["image_id"]),
            (&json!("reader"), &json!(image_id(image))),
            "{output}"
        );
        assert_eq!((&document["reason"], &document["is_stale"]), (&json!(reasons[0]), &json!(stale)), "{output}");
        // That it is fresh has no cause.
        assert_eq!(each(&document["causes"], "reason"), if stale { reasons } else { &[] }, "{output}");
        let causes = document["causes"].as_array().cloned().unwrap_or_default();
        let keys: Vec<String> = causes.iter().flat_map(|cause| each(&cause["inputs"], "at")).collect();
        assert_eq!(keys, inputs, "{output}");
        for word in reasons.iter().chain(inputs) {
            text(&data, &format!("explain -v #{image}")).expect_code(0).expect_stdout(&[word]);
        }
        document
    };
    check(0, &["FRESH_ROWS"], &[]);
    let changed = check(1, &["STALE_INPUT_CHANGED"], &["analysis/note.json"]);
    let difference = &changed["causes"][0]["inputs"][0];
    assert!(difference["before"].is_string() && difference["before"] != difference["after"], "{changed}");
    check(3, &["STALE_INPUT_REMOVED"], &["analysis/note.json"]);
    let both = explain("#2", 0).json();
    assert_eq!(both["causes"][0]["reason"], "STALE_PARAMS_CHANGED", "{both}");
    assert!(each(&both["causes"], "reason").contains(&"STALE_INPUT_CHANGED".to_owned()), "{both}");
    assert_eq!(
        both["causes"][0]["params"],
        json!([
            {"at": "/params/read/1", "before": null, "after": "[\"json\",\"other\"]"},
            {"at": "/params/rows", "before": null, "after": "5"},
        ]),
        "{both}"
    );
    // By the predecessor's rules, something that it does not see is not a reason.
    let old = explain("#1 --compat kymflow --exit-code", 0).json();
    assert_eq!((&old["reason"], &old["causes"]), (&json!("FRESH_ROWS"), &json!([])), "{old}");
    // The beginning of an id will do.
    assert_eq!(explain("00000004", 0).json()["image_id"], image_id(4));
}

// Trust.

/// `verify` extracts images again, compares, and writes nothing.
#[test]
fn verify_extracts_again_writes_nothing() {
    let lab = Lab::new();
    let data = settled(&lab, 4);
    let before = snapshot(data.path());
    let log = lab.fresh("log");
    let verify = |line: &str| command(&lab, &data, &format!("verify {line}")).env("KYMHOST_READER_LOG", &log).output();
    let right = json!({"indexer": "reader", "table": TABLE, "fresh": 4, "checked": 4, "findings": []});
    assert_eq!(verify("").expect_code(0).json(), right);
    let times = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    assert_eq!(times(), 8, "each image twice");
    assert_eq!(verify("--rows").expect_code(0).json(), right);
    assert_eq!(verify("--sample 3").expect_code(0).json()["checked"], 3);
    assert_eq!(times(), 22);
    text(&data, "verify").expect_code(0).expect_stdout(&["computed 4 of 4 fresh recordings again: no problem found ("]);
    assert_untouched(&before, &snapshot(data.path()));

    // The same version and inputs, but other rows: the plugin was changed.
    let marker = data.image(&image_id(1)).key(&format!("{MARKER}.json"));
    let mut other: Value = serde_json::from_slice(&fs::read(data.key(&marker)).expect("a marker")).expect("JSON");
    other["kymhost"]["rows_sha256"] = json!("0".repeat(64));
    data.put_json(&marker, &other);
    let found = verify("").expect_code(3);
    let kinds = each(&found.json()["findings"], "kind");
    assert!(
        !kinds.is_empty() && each(&found.json()["findings"], "image_id").iter().all(|id| *id == image_id(1)),
        "{found}"
    );
    text(&data, "verify").expect_code(3).expect_stdout(&["problems in 1 recording:", &image_id(1), &kinds[0]]);
}

/// Adopted rows are fresh.
#[test]
fn adopted_rows_are_fresh() {
    let lab = Lab::new();
    let data = settled(&lab, 4);
    (0..3).for_each(|image| params(&data, image, json!({"unused": image})));
    add(&data, 4);
    let rows = || kymhost_tests::judge::rows(&data, "adopt").into_values().map(|rows| rows.len()).collect::<Vec<_>>();
    let before = rows();
    let adopt = |line: &str| command(&lab, &data, &format!("adopt --reason renamed {line}")).output();
    let counts = |document: &Value| ["adopted", "already_fresh", "nothing_to_adopt"].map(|name| document[name].clone());
    let one = adopt("--image #1 #3").expect_code(0).json();
    assert_eq!(counts(&one), [json!(1), json!(1), json!(0)], "{one}");
    let all = adopt("")
        .expect_code(0)
        .expect_stderr(&["reader: 2 recordings adopted, 2 already up to date, 1 without rows to adopt"]);
    assert_eq!(
        all.json(),
        json!({
            "indexer": "reader", "table": TABLE, "adopted": 2, "already_fresh": 2, "nothing_to_adopt": 1,
            "failures": []
        })
    );
    assert_eq!(rows(), before);
    let status = command(&lab, &data, "status").output().expect_code(0).json();
    assert_eq!(each(&status["images"], "reason")[..4], ["FRESH_ROWS"; 4], "{status}");
    assert_eq!(status["images"][2]["notes"], json!(["ADOPTED"]), "{status}");
    let marker = data.key(&data.image(&image_id(2)).key(&format!("{MARKER}.json")));
    assert!(fs::read_to_string(marker).expect("a marker").contains("renamed"));
    text(&data, "explain -v #2").expect_code(0).expect_stdout(&["note        ADOPTED: "]);
    let run = command(&lab, &data, "run").output().expect_code(0).json();
    assert_eq!((&run["stats"]["updated"], &run["stats"]["skipped"]), (&json!(1), &json!(4)), "{run}");
    for line in [&["--json"] as &[&str], &["--reason", ""], &["--reason", " \t"]] {
        Run::new(["adopt", "--plugin", "reader"]).args(line).dataset(data.path()).output().expect_code(2);
    }
}

// Tables that are broken, or to be gone.

/// A broken table is reported, and mode `replace` builds it again.
#[test]
fn broken_table_reported_and_rebuilt() {
    let lab = Lab::new();
    let data = settled(&lab, 3);
    data.cut(TABLE);
    let broken = fs::read(data.key(TABLE)).expect("the table");
    let before = snapshot(data.path());
    for line in ["run", "status", "run --dry-run", "explain #0", "verify"] {
        let output = command(&lab, &data, line).output().expect_code(5).expect_stderr(&[TABLE, "run --mode replace"]);
        assert_eq!(output.json()["error"]["code"], "unreadable", "{line}\n{output}");
    }
    assert_untouched(&before, &snapshot(data.path()));
    let document = command(&lab, &data, "run --mode replace").output().expect_code(0).json();
    assert_eq!(document["stats"]["updated"], 3, "{document}");
    let aside = fs::read_dir(data.key("index/kymhost/aside"))
        .expect("what was moved aside")
        .map(|entry| entry.expect("an entry"));
    let aside: Vec<_> = aside.map(|entry| fs::read(entry.path()).expect("a file")).collect();
    assert_eq!(aside, [broken]);
    command(&lab, &data, "status --exit-code").output().expect_code(0);
}

/// `table drop` needs `--yes`, drops only tables of ours, and waits for the lock.
#[test]
fn table_drop_requires_confirmation() {
    let lab = Lab::new();
    let data = settled(&lab, 2);
    data.put_table("sources", &batch([("n", ints([1])), ("x", floats([0.5])), ("s", texts(["a"]))]));
    let drop_table = |line: &str| Run::new(words_of(&format!("table drop {line}"))).dataset(data.path()).output();
    let before = snapshot(data.path());
    drop_table("reader").expect_code(6).expect_stderr(&["this would delete", "pass --yes"]);
    let other = drop_table("sources --yes --json").expect_code(6);
    assert_eq!(other.json()["error"]["code"], "not_ours", "{other}");
    drop_table("nobody --yes").expect_code(2).expect_stderr(&["reader"]);
    assert_untouched(&before, &snapshot(data.path()));
    let lock = hold(&data);
    drop_table("reader --yes --wait 0.2").expect_code(4).expect_stderr(&["waiting for", "4711"]);
    drop(lock);
    assert_eq!(drop_table("reader --yes --json").expect_code(0).json(), json!({"dropped": TABLE}));
    assert!(!data.key(TABLE).exists());
    drop_table("reader --yes").expect_code(2);
    let again = command(&lab, &data, "run").output().expect_code(0).json();
    assert_eq!(again["stats"]["updated"], 2, "{again}");
}

// Several indexers.

/// Several indexers share the options of one command.
#[test]
fn several_indexers_share_options() {
    let dir = TestDir::new();
    let data = Fixture::with_images(dir.join("data.zarr"), 3, 2);
    let both = |line: &str| {
        let plugins = ["--plugin", "velocity_events", "--plugin", "radon", "--json"];
        Run::new(words_of(line)).args(plugins).dataset(data.path()).output()
    };
    let preview = both("run --dry-run --image #1 --exit-code").expect_code(10).json();
    assert_eq!(each(&preview["runs"], "indexer"), ["velocity_events", "radon"], "{preview}");
    assert_eq!(each(&preview["runs"][1]["would_update"], "image_id"), ids(&[1]), "{preview}");
    both("run --image #1").expect_code(0);
    both("run --dry-run --image #1 --exit-code").expect_code(0);
    let status = both("status --reason FRESH_ROWS FRESH_ZERO_ROWS").expect_code(0).json();
    for place in 0..2 {
        assert_eq!(each(&status["statuses"][place]["images"], "image_id"), ids(&[1]), "{status}");
    }
    let unknown = both("run --image #9").expect_code(2).json();
    for place in 0..2 {
        assert_eq!(unknown["runs"][place]["error"]["code"], "unknown_image", "{unknown}");
    }
    // One whose table is held does not keep the other from its own.
    let store = LocalStore::open(data.path()).expect("the dataset's store");
    let key = Key::new("index/kymhost/locks/kym_velocity_events.lock").expect("a key");
    let _lock = store.lock(&key, "{}").expect("a lock").expect("nobody else holds it");
    let runs = both("run").expect_code(4).json()["runs"].clone();
    assert_eq!((&runs[0]["error"]["code"], &runs[1]["stats"]["updated"]), (&json!("locked"), &json!(2)), "{runs}");
}
