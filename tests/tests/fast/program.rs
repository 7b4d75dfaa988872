//! The program as people and scripts meet it: help, tables, documents, exit codes, pipes.
//!
//! Tests the promises about arguments and output. Staleness and bad input have suites of their own.

use kymhost_tests::fixture::{Fixture, TABLE, batch, floats, image_id, ints, texts};
use kymhost_tests::{Output, Run, TestDir, program};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};

/// A dataset of these images with two events each, whose table is up to date.
fn settled(dir: &TestDir, images: u64) -> Fixture {
    let data = Fixture::with_images(dir.join("data.zarr"), images, 2);
    run(&["run", "--plugin", "velocity_events"], &data).expect_code(0);
    data
}

fn run(args: &[&str], data: &Fixture) -> Output {
    Run::new(args).dataset(data.path()).output()
}

// Help.

#[test]
fn help_and_version_go_to_stdout() {
    Run::new(["--version"]).output().expect_code(0).expect_stdout(&["kymhost 0."]);
    let commands: [&[&str]; 18] = [
        &[],
        &["run"],
        &["status"],
        &["explain"],
        &["verify"],
        &["adopt"],
        &["plugin"],
        &["plugin", "list"],
        &["plugin", "info"],
        &["table", "list"],
        &["table", "show"],
        &["table", "drop"],
        &["dataset", "create"],
        &["dataset", "info"],
        &["dataset", "validate"],
        &["dataset", "manifest"],
        &["params-hash"],
        &["demo"],
    ];
    for command in commands {
        let output = Run::new(command).arg("--help").output().expect_code(0).expect_stdout(&["Usage: kymhost"]);
        assert_eq!(output.stderr(), "", "{output}");
        // The worker's command is for no one to see.
        assert!(!output.stdout().contains("\n  worker"), "{output}");
    }
    Run::new(["--help"]).output().expect_stdout(&[
        "Exit codes:",
        " 10  with --exit-code: stale recordings were found",
        "KYMHOST_PLUGIN_PATH",
    ]);
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let expected = ["params-hash", "max-memory", "on-schema-change", "adopt"];
        let output = Run::new(["completions", shell]).output().expect_code(0).expect_stdout(&expected);
        // The other two complete no values.
        let values = ["bash", "zsh", "fish"].contains(&shell);
        assert_eq!(output.stdout().contains("STALE_INPUT_APPEARED"), values, "{shell}");
    }
    Run::new(["completions", "tcsh"]).output().expect_code(2).expect_stderr(&["bash", "zsh"]);
}

// Runs and status.

/// The summary for people goes to stderr and the JSON document to stdout.
#[test]
fn summary_on_stderr_document_on_stdout() {
    let dir = TestDir::new();
    let data = Fixture::with_images(dir.join("data.zarr"), 3, 2);
    let output = run(&["run", "--plugin", "velocity_events"], &data).expect_code(0);
    assert_eq!(output.stdout(), "", "{output}");
    let summary = "velocity_events: 3 computed (3 new), 0 up to date (";
    let output = output.expect_stderr(&[summary]);
    assert_eq!(output.stderr().lines().count(), 1, "{output}");
    let output = run(&["run", "--plugin", "velocity_events", "--quiet"], &data).expect_code(0);
    assert_eq!((output.stdout(), output.stderr()), (String::new(), String::new()));
    let output = run(&["run", "--plugin", "velocity_events", "--json", "--mode", "replace"], &data).expect_code(0);
    assert_eq!(
        output.json(),
        json!({
            "indexer": "velocity_events", "mode": "replace", "table": TABLE, "failures": [], "pruned_images": 0,
            "freshened": 0, "commits": 1, "checkpoint_sec": 0.0, "recomputed": false, "stopped_by_failures": false, "widened": [],
            "stats": {
                "updated": 3, "skipped_fresh": 0, "skipped_zero_rows": 0, "stale_missing_marker": 0,
                "stale_marker_table_mismatch": 0, "total_images": 3, "failed": 0, "not_run": 0, "skipped": 0,
                "missing": 0
            }
        })
    );
}

/// A run of several plugins gives one document with one entry per plugin.
#[test]
fn several_plugins_give_several_documents() {
    let dir = TestDir::new();
    let data = Fixture::with_images(dir.join("data.zarr"), 2, 2);
    let both = |command: &str| run(&[command, "-p", "velocity_events", "-p", "radon", "--json"], &data).expect_code(0);
    let names = |list: &Value| [list[0]["indexer"].clone(), list[1]["indexer"].clone()];
    assert_eq!(names(&both("run").json()["runs"]), ["velocity_events", "radon"]);
    assert_eq!(names(&both("status").json()["statuses"]), ["velocity_events", "radon"]);
    run(&["run", "-p", "radon", "-p", "radon"], &data).expect_code(2).expect_stderr(&["twice"]);
    // One that cannot be used is known before any is run.
    run(&["run", "-p", "radon", "-p", "nobody", "--mode", "replace"], &data).expect_code(5);
}

/// `plugin info` shows everything that the card says.
#[test]
fn plugin_info_shows_whole_card() {
    for name in ["velocity_events", "radon"] {
        let info = Run::new(["plugin", "info", name, "--json"]).output().expect_code(0).json();
        assert_eq!((&info["indexer"], &info["library_indexers"]), (&json!(name), &json!([name])), "{info}");
        assert_eq!((&info["api"], &info["needs_api"]), (&json!("1.1"), &json!("1.0")), "{info}");
        let says =
            |key: &str, text: &str| assert!(info[key].as_str().is_some_and(|said| said.contains(text)), "{info}");
        says("door", "abi_stable");
        says("sdk", "1.1.");
        says("rustc", "1.");
        says("target", "-");
        let text = Run::new(["plugin", "info", name]).output().expect_code(0).stdout();
        for key in ["analysis_version", "marker", "api", "door", "sdk", "rustc", "target", "library"] {
            let value = info[key].as_str().unwrap_or("a text");
            assert!(text.contains(value), "{key}: {value} is not in\n{text}");
        }
    }
}

/// `status --exit-code` shows by its exit code whether images are stale.
#[test]
fn status_exit_code_shows_staleness() {
    let dir = TestDir::new();
    let data = Fixture::with_images(dir.join("data.zarr"), 25, 1);
    let status = |more: &[&str]| run(&[&["status", "--plugin", "velocity_events"], more].concat(), &data);
    status(&[]).expect_code(0).expect_stdout(&["25 of 25 recordings stale", "it was never run", "... and 5 more"]);
    status(&["--exit-code"]).expect_code(10);
    assert_eq!(status(&["--exit-code", "--json"]).expect_code(10).json()["images"].as_array().map(Vec::len), Some(25));
    run(&["run", "--plugin", "velocity_events"], &data).expect_code(0);
    status(&["--exit-code"]).expect_code(0).expect_stdout(&["0 of 25 recordings stale"]);
}

/// If another run holds the table's lock, the exit code is 4.
#[test]
fn locked_table_is_exit_code_4() {
    use kymhost::store::{Key, LocalStore, Store as _};
    let dir = TestDir::new();
    let data = settled(&dir, 2);
    let store = LocalStore::open(data.path()).expect("the dataset's store");
    let key = Key::new("index/kymhost/locks/kym_velocity_events.lock").expect("a key");
    let lock = store.lock(&key, "").expect("a lock").expect("nobody else holds it");
    let output = run(&["run", "--plugin", "velocity_events", "--json", "--mode", "replace"], &data).expect_code(4);
    assert_eq!(output.json()["error"]["code"], "locked", "{output}");
    // Several: the document has each, and the exit code is the stronger one.
    let output = run(&["run", "-p", "velocity_events", "-p", "radon", "--json", "-m", "replace"], &data).expect_code(4);
    assert_eq!(output.json()["runs"][0]["error"]["code"], "locked", "{output}");
    assert_eq!(output.json()["runs"][1]["stats"]["updated"], 2, "{output}");
    run(&["status", "--plugin", "velocity_events"], &data).expect_code(0);
    drop(lock);
    run(&["run", "--plugin", "velocity_events"], &data).expect_code(0);
}

/// With `--json`, usage errors are JSON documents too.
#[test]
fn usage_error_gives_json_document() {
    for args in [&["run", "--json"][..], &["--json", "frobnicate"], &["run", "--plugin", "a", "--mode", "x", "--json"]]
    {
        let output = Run::new(args).output().expect_code(2);
        assert_eq!(output.json()["error"]["code"], "usage", "{output}");
    }
}

/// The dataset is found by the documented rules.
#[test]
fn dataset_found_by_documented_rules() {
    let dir = TestDir::new();
    let data = settled(&dir, 1);
    let list = || Run::new(["table", "list"]);
    let finds = |run: Run| run.output().expect_code(0).expect_stdout(&["velocity_events  2 rows of 1 recordings"]);
    finds(list().folder(dir.path()));
    finds(list().folder(data.path()));
    finds(list().env("KYMHOST_DATASET", data.path()));
    list().output().expect_code(5).expect_stderr(&["--dataset", "KYMHOST_DATASET", "kymhost demo"]);
    list().folder(data.path()).env("KYMHOST_DATASET", "/absent").output().expect_code(5).expect_stderr(&["/absent"]);
}

// Tables.

/// `table show` has four formats.
#[test]
fn table_show_has_four_formats() {
    let dir = TestDir::new();
    let data = settled(&dir, 12);
    let show = |args: &[&str]| run(&[&["table", "show"], args].concat(), &data);

    let text = show(&["velocity_events"]).expect_code(0).expect_stderr(&["... and 4 more rows"]).stdout();
    assert_eq!(text.lines().count(), 21, "{text}");
    assert!(text.starts_with("image_id "), "{text}");
    assert_eq!(show(&["velocity_events", "--all"]).stdout().lines().count(), 25);

    let csv = show(&["kym_velocity_events", "--format", "csv"]).expect_code(0);
    assert_eq!((csv.stdout().lines().count(), csv.stderr()), (25, String::new()));
    let rows = show(&["velocity_events", "--json"]).expect_code(0).json();
    assert_eq!(rows.as_array().map(Vec::len), Some(24));
    assert_eq!(rows, show(&["velocity_events", "--format", "json"]).json());
    let header: Vec<String> = csv.stdout().lines().next().unwrap_or_default().split(',').map(str::to_owned).collect();
    for name in &header {
        assert!(rows[0].get(name).is_some(), "{name} is in the CSV, but not in the JSON");
    }

    let parquet = show(&[TABLE, "--format", "parquet"]).expect_code(0);
    let file = dir.join("copy.parquet");
    show(&["velocity_events", "--format", "parquet", "--output", &file.display().to_string()]).expect_code(0);
    assert_eq!(fs::read(&file).expect("the file"), parquet.stdout_bytes());
    let (copy, table) = (kymhost_tests::table::Table::read(&file), kymhost_tests::table::Table::read(&data.key(TABLE)));
    assert_eq!((copy.columns, copy.rows), (table.columns, table.rows));

    let (one, two) = (image_id(3), image_id(5));
    let rows = show(&["velocity_events", "--image", &one, &two, "--json"]).expect_code(0).json();
    let ids: Vec<_> = (0..4).map(|row| rows[row]["image_id"].clone()).collect();
    assert_eq!(ids, [one.as_str(), &one, &two, &two]);
    show(&["velocity_events", "--image", &image_id(99)]).expect_code(2).expect_stderr(&[&image_id(99)]);
    show(&["velocity_events", "--image", "../x"]).expect_code(2);
    show(&["velocity_events", "--json", "--format", "csv"]).expect_code(2);
    show(&["nobody", "--json"]).expect_code(2).expect_stderr(&["velocity_events"]);
}

/// `table show` shows any table of the dataset.
#[test]
fn table_show_reads_any_table() {
    let dir = TestDir::new();
    let data = Fixture::with_images(dir.join("data.zarr"), 1, 1);
    run(&["table", "list"], &data).expect_code(0).expect_stderr(&["no tables yet"]);
    let rows = batch([("n", ints([1, -2])), ("x", floats([0.1, f64::NAN])), ("s", texts(["a,b", "\"q\""]))]);
    data.put_table("sources", &rows);
    let csv = run(&["table", "show", "sources", "--format", "csv"], &data).expect_code(0);
    assert_eq!(csv.stdout(), "n,x,s\n1,0.1,\"a,b\"\n-2,,\"\"\"q\"\"\"\n");
    run(&["table", "show", "sources", "--image", "x"], &data).expect_code(2).expect_stderr(&["image_id"]);
}

// Pipes.

/// Starts the program with pipes, closes the given ones, and gives its exit code and what it printed.
fn with_closed(args: &[&str], data: &Fixture, close_stderr: bool) -> (Option<i32>, String) {
    let mut child = Command::new(program())
        .args(args)
        .arg("--dataset")
        .arg(data.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    drop(child.stdout.take());
    if close_stderr {
        drop(child.stderr.take());
    }
    let output = child.wait_with_output().expect("the program ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// If the reader of a pipe goes away, the program ends without an error.
#[test]
fn closed_pipe_ends_quietly() {
    let dir = TestDir::new();
    let data = settled(&dir, 3);
    for args in [
        &["table", "show", "velocity_events", "--format", "csv"][..],
        &["table", "show", "velocity_events", "--json"],
        &["table", "list"],
        &["status", "--plugin", "velocity_events"],
        &["run", "--plugin", "velocity_events", "--json", "--quiet"],
        &["plugin", "list"],
        &["--help"],
    ] {
        assert_eq!(with_closed(args, &data, false), (Some(0), String::new()), "{args:?}");
    }
    assert_eq!(with_closed(&["run", "--plugin", "velocity_events"], &data, true).0, Some(0));
    assert_eq!(with_closed(&["run", "--plugin", "nobody"], &data, true).0, Some(5));
}

/// If output cannot be written, that is an error.
#[test]
fn unwritable_output_is_an_error() {
    let dir = TestDir::new();
    let data = settled(&dir, 1);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = Command::new(program())
        .args(["table", "show", "velocity_events", "--dataset"])
        .arg(data.path())
        .stdin(Stdio::null())
        .stdout(full)
        .output()
        .expect("the program can be started");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write the output"));
    run(&["table", "show", "velocity_events", "--output", "/absent/x.csv"], &data)
        .expect_code(2)
        .expect_stderr(&["/absent/x.csv"]);
}

// Params hashes.

/// `params hash` reads files and pipes.
#[test]
fn params_hash_reads_files_and_pipes() {
    let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let output = Run::new(["params-hash", "-"]).stdin(" {\n} ").output().expect_code(0);
    assert_eq!(output.stdout(), format!("{hash}\n"));
    let output = Run::new(["params-hash", "--json", "-"]).stdin("{}").output().expect_code(0);
    assert_eq!(output.json(), json!({"params_hash": hash}));
    let output = Run::new(["params-hash", "--canonical", "-"]).stdin("{\"b\": [1.0, NaN], \"a\": \"ü\"}").output();
    assert_eq!(output.expect_code(0).stdout(), "{\"a\":\"ü\",\"b\":[1.0,NaN]}");
    Run::new(["params-hash", "-"]).stdin("{").output().expect_code(2).expect_stderr(&["standard input", "byte 1"]);
    Run::new(["params-hash", "/absent.json"]).output().expect_code(2).expect_stderr(&["/absent.json"]);
}

// Datasets.

/// `dataset create`, `info` and `validate` work together.
#[test]
fn dataset_create_info_validate_work() {
    let dir = TestDir::new();
    let dataset = |args: &[&str]| Run::new([&["dataset"], args].concat()).folder(dir.path()).output();
    dataset(&["create", "lab.zarr"]).expect_code(0);
    dataset(&["create", "lab.zarr"]).expect_code(5).expect_stderr(&["not empty"]);
    dataset(&["info"]).expect_code(0).expect_stdout(&["recordings 0"]);
    let fixture = Fixture::with_images(dir.join("full.zarr"), 3, 1);
    let info = dataset(&["info", "full.zarr", "--json"]).expect_code(0).json();
    assert_eq!((&info["images"], &info["has_manifest"]), (&json!(3), &json!(false)));

    dataset(&["manifest", "full.zarr", "--check"]).expect_code(5);
    assert_eq!(dataset(&["manifest", "full.zarr", "--json"]).expect_code(0).json()["images"], 3);
    let check = dataset(&["manifest", "full.zarr", "--check", "--json"]).expect_code(0);
    assert_eq!(check.json()["differences"], json!([]));

    assert_eq!(dataset(&["validate", "full.zarr", "--json"]).expect_code(0).json()["problems"], json!([]));
    // A run puts the manifest behind: a note, no problem.
    run(&["run", "--plugin", "velocity_events"], &fixture).expect_code(0);
    let validated = dataset(&["validate", "full.zarr", "--json"]).expect_code(0).json();
    assert_eq!(validated["problems"], json!([]));
    assert_eq!(validated["notes"][0]["key"], "index/manifest.json.gz", "{validated}");
    dataset(&["validate", "full.zarr"])
        .expect_code(0)
        .expect_stderr(&["note: index/manifest.json.gz", "no problem found"]);
    dataset(&["manifest", "full.zarr", "--check"]).expect_code(5);
    let broken = fixture.image(&image_id(1)).key("velocity_events/params.json");
    fixture.put(&broken, "{");
    let problems = dataset(&["validate", "full.zarr", "--json"]).expect_code(5).json()["problems"].clone();
    assert_eq!(problems[0]["key"], broken, "{problems}");
    dataset(&["validate", "full.zarr"]).expect_code(5).expect_stdout(&[&broken]);
    dataset(&["validate", "full.zarr/images", "--json"]).expect_code(5);
    let nothing = dataset(&["validate", ".", "--json"]).expect_code(5);
    assert_eq!(nothing.json()["error"]["code"], "not_a_dataset", "{nothing}");
}

/// Logs go to stderr if they are requested.
#[test]
fn logs_go_to_stderr_on_request() {
    let dir = TestDir::new();
    let data = settled(&dir, 1);
    let args = ["run", "--plugin", "velocity_events", "--json"];
    let says = "velocity_events kymflow.velocity_events@0.1, incremental";
    let log = Run::new(args).arg("-v").dataset(data.path()).output().expect_code(0).expect_stderr(&["INFO", says]);
    assert_eq!(log.json()["stats"]["skipped"], 1);
    Run::new(args).env("RUST_LOG", "kymhost=info").dataset(data.path()).output().expect_stderr(&["INFO", says]);
    assert!(!Run::new(args).dataset(data.path()).output().stderr().contains("INFO"));
}
