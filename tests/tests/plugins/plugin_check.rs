//! `kymhost plugin check` against plugins that are each wrong in one way, and against ours.
//!
//! Each fault is found by its own check and by no other. The plugins are `tests/plugins/wrong/examples`, and
//! `tests/plugins/c_wrong/checked.c` for the C door.

use kymhost_tests::{
    Output, Run, TestDir, assert_untouched, built, c, example, library, program, repository, snapshot, wrong_plugin,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The expected result for a wrong plugin: of its own check, and of those that cannot be tried because of it.
struct Case {
    plugin: &'static str,
    status: &'static str,
    check: &'static str,
    /// What the message says.
    says: &'static str,
    /// Checks that are skipped and name the check at fault.
    skipped: &'static [&'static str],
}

const fn case(
    plugin: &'static str,
    status: &'static str,
    check: &'static str,
    says: &'static str,
    skipped: &'static [&'static str],
) -> Case {
    Case { plugin, status, check, says, skipped }
}

const NOT_LOADED: &[&str] = &["load", "card_agrees"];
const NO_ROWS: &[&str] = &[
    "extracts",
    "rows_repeat",
    "rows_elsewhere",
    "at_once",
    "two_datasets",
    "storable",
    "schema_same",
    "artifacts",
    "own_rows",
    "provenance",
    "missing_artifacts",
    "empty_artifacts",
    "corrupt_artifacts",
    "odd_artifacts",
    "odd_pixels",
    "error_texts",
    "memory_steady",
    "cancel",
    "threads",
];

#[rustfmt::skip]
const CASES: &[Case] = &[
    // The library.
    case("card_garbled", "failed", "card", "bad_card", &["api", "load", "card_agrees"]),
    case("api_to_come", "failed", "api", "api_major", NOT_LOADED),
    case("no_root", "failed", "load", "no_root", &["card_agrees"]),
    case("aborts_on_load", "crashed", "load", "SIGABRT", &["card_agrees"]),
    case("card_lies", "failed", "card_agrees", "tests.wrong@2", &[]),
    case("bad_name", "failed", "name", "character other than", &[]),
    case("no_version", "failed", "version", "latest", &[]),
    case("marker_on_params", "failed", "marker", "wrong/params", &["hash_follows_params", "ignores_markers"]),
    case("panics", "failed", "extracts", "48 lines are too many", &[]),
    case("aborts_at_end", "crashed", "ends", "SIGABRT", &[]),
    // Params hashes.
    case("hash_with_blanks", "failed", "hash_form", "version 2", &["params_agree"]),
    case("hash_empty", "failed", "hash_form", "0 bytes", &["hash_repeats", "hash_elsewhere", "hash_follows_params", "params_agree"]),
    case("hash_counts", "failed", "hash_repeats", "then", &["hash_elsewhere", "hash_follows_params", "params_agree"]),
    case("hash_of_process", "failed", "hash_elsewhere", "elsewhere", &[]),
    case("hash_of_clock", "failed", "hash_elsewhere", "elsewhere", &[]),
    case(
        "marker_on_output",
        "failed",
        "marker",
        "the same file as the artifact '/wrong_run'",
        &["hash_follows_params", "ignores_markers"],
    ),
    case("hash_ignores_params", "failed", "hash_follows_params", "wrong/params", &[]),
    case("hash_forgets_a_param", "failed", "hash_follows_params", "'threshold' of the artifact 'wrong/params'", &[]),
    case("hash_of_marker", "failed", "ignores_markers", "params_hash changes", &[]),
    case("rows_of_marker", "failed", "ignores_markers", "rows change", &[]),
    case("hash_overridden", "warned", "params_agree", "v2:", &[]),
    case("schema_is_none", "failed", "params_schema", "real", &[]),
    case("schema_takes_lists", "failed", "params_schema", "add \"type\": \"object\"", &[]),
    case("schema_refuses_its_default", "failed", "params_schema", "does not accept the default of 'threshold'", &[]),
    case("schema_refuses_params", "failed", "params_schema", "{\"threshold\":0.5}, which it does not accept", &[]),
    case("schema_with_pattern", "warned", "params_schema", "does not check properties.side.pattern", &[]),
    case("schema_lies", "warned", "params_schema", "'threshold' is 2 by default, but params gives 0.5", &[]),
    case("reads_undeclared", "failed", "reads", "'wrong/notes', which 'wrong_writer' writes", &[]),
    case("reads_its_own", "failed", "reads", "'wrong/notes', which it writes itself", &[]),
    // Rows.
    case("rows_count", "failed", "rows_repeat", "column 'calls'", &["rows_elsewhere", "at_once", "two_datasets"]),
    case("rows_of_process", "failed", "rows_elsewhere", "column 'process'", &["two_datasets"]),
    case("rows_of_environment", "failed", "rows_elsewhere", "column 'is_german'", &[]),
    case("rows_of_place", "failed", "rows_elsewhere", "column 'place'", &[]),
    case("one_at_a_time", "failed", "at_once", "busy", &[]),
    case("remembers_images", "failed", "two_datasets", "column 'bytes'", &[]),
    case("ragged", "failed", "proper_table", "ragged", NO_ROWS),
    case("two_of_a_name", "failed", "proper_table", "two columns 'twice'", NO_ROWS),
    case("unnamed", "failed", "proper_table", "no name", NO_ROWS),
    case("not_storable", "failed", "storable", "interval", &[]),
    case("type_by_image", "failed", "schema_same", "column 'peak'", &[]),
    case("column_by_image", "failed", "schema_same", "column 'is_small'", &[]),
    case("zero_rows_no_columns", "failed", "schema_same", "no column 'roi_id'", &[]),
    case("rows_of_another", "failed", "own_rows", "'another'", &[]),
    case("provenance_lies", "failed", "provenance", "tests.wrong@0", &[]),
    case("artifact_undeclared", "failed", "artifacts", "'wrong/notes', which its WRITES does not name", &[]),
    case("artifact_counts", "failed", "artifacts", "'wrong/calls' is not the same", &[]),
    // Damage.
    case("panics_at_missing", "failed", "missing_artifacts", "wrong/params.json is missing: no params", &[]),
    case("panics_at_empty", "failed", "empty_artifacts", "wrong/params.json is {}", &[]),
    case("panics_at_corrupt", "failed", "corrupt_artifacts", "data/.zarray", &[]),
    case("swallows_errors", "warned", "corrupt_artifacts", "data/.zarray", &[]),
    case("panics_at_odd", "failed", "odd_artifacts", "'threshold'", &[]),
    case("divides_by_zero", "failed", "odd_pixels", "length 0", &[]),
    case("aborts_at_no_pixels", "crashed", "odd_pixels", "SIGABRT", &[]),
    case("silent_errors", "warned", "error_texts", "has no message if", &[]),
    // The rest.
    case("panics_at_old_marker", "failed", "old_markers", "n_events", &[]),
    case("leaks", "failed", "memory_steady", "keeps memory", &[]),
    case("leaks_little", "failed", "memory_steady", "keeps memory: 10000 extractions", &[]),
    case("leaks_late", "failed", "memory_steady", "keeps memory: 10000 extractions", &[]),
    case("leaks_crumbs", "warned", "memory_steady", "may keep memory: 10000 extractions", &[]),
    case("writes_here", "failed", "writes_nothing", "work/wrong.cache", &[]),
    case("writes_temporary", "failed", "writes_nothing", "tmp/wrong.cache", &[]),
    case("writes_dataset", "failed", "writes_nothing", "wrong_notes.json", &[]),
    case("writes_elsewhere", "failed", "writes_nothing", "bytes outside of its own folders", &[]),
    case("locks_elsewhere", "failed", "writes_nothing", "it fails if it may write only in its own folders", &[]),
    case("prints", "warned", "prints_nothing", "extracting", &[]),
    case("never_cancelled", "failed", "cancel", "from the start it did not return", &[]),
    case("never_cancelled_midway", "failed", "cancel", "in the middle it did not return", &[]),
    case("slow_to_cancel", "failed", "cancel", "from the start it goes on for 2", &[]),
    case("greedy", "warned", "threads", "threads", &[]),
    case("leaves_threads", "warned", "threads", "still run", &[]),
];

/// Those of `tests/plugins/c_wrong/checked.c`, by what is defined: the same faults are found behind the C door.
#[rustfmt::skip]
const C_CASES: &[Case] = &[
    case("HASH_OF_PROCESS", "failed", "hash_elsewhere", "elsewhere", &[]),
    case("ROWS_COUNT", "failed", "rows_repeat", "column 'bytes'", &["rows_elsewhere", "at_once", "two_datasets"]),
    case("RAGGED", "failed", "proper_table", "another number of cells", NO_ROWS),
    case("PANICS", "failed", "extracts", "48 lines are too many", &[]),
    case("CRASHES_AT_NO_PIXELS", "crashed", "odd_pixels", "SIGABRT", &[]),
    case("SCHEMA", "warned", "params_schema", "'threshold' is 2 by default, but params gives 0.5", &[]),
    case("LEAKS", "failed", "memory_steady", "keeps memory: 10000 extractions", &[]),
    case("WRITES", "failed", "writes_nothing", "work/wrong.cache", &[]),
    case("WRITES_ELSEWHERE", "failed", "writes_nothing", "40 bytes outside of its own folders", &[]),
    case("PRINTS", "warned", "prints_nothing", "extracting", &[]),
    case("IGNORES_CANCEL", "failed", "cancel", "from the start it did not return", &[]),
];

/// Builds one of them, without a fault for `NOTHING`. `None` if there is no C compiler.
fn in_c(wrong: &str) -> Option<PathBuf> {
    let define = match wrong {
        "WRITES" => "-DWRONG_WRITES=\"wrong.cache\"".to_owned(),
        "WRITES_ELSEWHERE" => format!("-DWRONG_WRITES=\"{}\"", built().join("wrong.cache").display()),
        _ => format!("-DWRONG_{wrong}"),
    };
    c::plugin(&format!("c_checked_{}", wrong.to_lowercase()), "tests/plugins/c_wrong/checked.c", &[define.as_str()])
}

/// The commands that build the wrong plugins and check one, as the docs give them: [`wrong_plugin`] and
/// [`check`] do the same.
const COMMANDS: [&str; 2] = [
    "cargo build --workspace --examples --features kymhost-plugin-wrong/wrong",
    "kymhost plugin check target/debug/examples/libleaks.so",
];

/// The docs give the commands that build and check the wrong plugins.
#[test]
fn docs_give_check_commands() {
    let docs =
        fs::read_to_string(repository().join("docs/authors/plugin-check.md")).expect("docs/authors/plugin-check.md");
    for command in COMMANDS {
        assert!(
            docs.lines().any(|line| line == command),
            "docs/authors/plugin-check.md has no line that is exactly '{command}'"
        );
    }
}

fn check(library: &Path, more: &[&str]) -> Output {
    let run = Run::new(["plugin", "check"]).arg(library).args(more).arg("--json");
    run.patience(Duration::from_secs(1800)).output()
}

/// If memory is the point, it is watched over 10,000 extractions however busy the machine is; otherwise over
/// fewer (`--calls`), which saves time.
const ALL_CALLS: [&str; 2] = ["--timeout", "900"];
const FEW_CALLS: [&str; 4] = ["--calls", "1000", "--timeout", "300"];

/// Status and message of every check, by name; of several indexers' the one that did not pass.
fn statuses(document: &Value) -> BTreeMap<String, (String, String)> {
    let of = |checks: &Value| -> Vec<(String, (String, String))> {
        let text = |check: &Value, key: &str| check[key].as_str().expect(key).to_owned();
        let checks = checks.as_array().expect("checks").iter();
        checks.map(|check| (text(check, "name"), (text(check, "status"), text(check, "message")))).collect()
    };
    let mut all: BTreeMap<_, _> = of(&document["checks"]).into_iter().collect();
    for indexer in document["indexers"].as_array().expect("indexers") {
        for (name, found) in of(&indexer["checks"]) {
            if all.get(&name).is_none_or(|(status, _): &(String, String)| status == "passed") {
                all.insert(name, found);
            }
        }
    }
    all
}

/// What differs from the case; empty if nothing does.
fn faults(case: &Case, library: &Path) -> Vec<String> {
    let output = check(library, if case.check == "memory_steady" { &ALL_CALLS } else { &FEW_CALLS });
    let found = statuses(&output.json());
    let mut faults = Vec::new();
    for (name, (status, message)) in &found {
        let expected = if name == case.check {
            case.status
        } else if case.skipped.contains(&name.as_str()) {
            "skipped"
        } else {
            "passed"
        };
        let says = if name == case.check { case.says } else { "" };
        if status != expected || !message.contains(says) {
            faults.push(format!("{}: {name} {status}, expected {expected} {says:?}: {message}", case.plugin));
        }
        let see = format!("see {}", case.check);
        let is_of_library = NOT_LOADED.contains(&name.as_str()) || name == "api";
        if status == "skipped" && !is_of_library && !message.contains(&see) {
            faults.push(format!("{}: {name} is skipped and does not say '{see}': {message}", case.plugin));
        }
    }
    if !found.contains_key(case.check) {
        faults.push(format!("{}: there is no {}", case.plugin, case.check));
    }
    let is_unusable = ["card", "api", "load", "card_agrees"].contains(&case.check);
    let exit = match case.status {
        "warned" => 0,
        _ if is_unusable => 5,
        _ => 3,
    };
    if output.code() != Some(exit) {
        faults.push(format!("{}: exit code {:?}, expected {exit}", case.plugin, output.code()));
    }
    faults
}

/// Checks every `of`-th case from this one on, so that the test harness runs them in parallel.
fn each_fails_its_own_check(part: usize, of: usize) {
    let all = CASES.iter().map(|case| (case, Some(wrong_plugin(case.plugin))));
    let all = all.chain(C_CASES.iter().map(|case| (case, in_c(case.plugin))));
    let mine = all.skip(part).step_by(of);
    let faults: Vec<String> = mine.filter_map(|(case, library)| Some(faults(case, &library?))).flatten().collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Each wrong plugin fails its own check and passes the others: the first half.
#[test]
#[ignore = "slow"]
fn wrong_plugins_fail_their_own_check_1() {
    each_fails_its_own_check(0, 2);
}

/// Each wrong plugin fails its own check and passes the others: the second half.
#[test]
#[ignore = "slow"]
fn wrong_plugins_fail_their_own_check_2() {
    each_fails_its_own_check(1, 2);
}

/// One of the wrong plugins in C fails its own check and passes the others.
#[test]
fn one_wrong_plugin_fails_its_own_check() {
    let some = C_CASES.iter().filter(|case| case.plugin == "PRINTS");
    let faults: Vec<String> = some.filter_map(|case| Some(faults(case, &in_c(case.plugin)?))).flatten().collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Every wrong plugin is a case, and every check has a plugin that fails it.
#[test]
fn every_check_has_a_wrong_plugin() {
    let folder = repository().join("tests/plugins/wrong/examples");
    let mut files: Vec<String> = fs::read_dir(folder)
        .expect("the examples")
        .map(|entry| entry.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .filter(|name| name != "right" && name != "hangs")
        .collect();
    let mut cases: Vec<String> = CASES.iter().map(|case| case.plugin.to_owned()).collect();
    files.sort();
    cases.sort();
    assert_eq!(files, cases);
    let list = Run::new(["plugin", "check", "--list", "--json"]).output().expect_code(0).json();
    for check in list["checks"].as_array().expect("checks") {
        let name = check["name"].as_str().expect("name");
        assert!(CASES.iter().any(|case| case.check == name), "no wrong plugin is made for {name}");
    }
}

/// Our plugins: those of the workspace, the one in C if it can be built, and the cookbook's.
fn ours() -> Vec<PathBuf> {
    let entries = |folder: &str| {
        let entries = fs::read_dir(repository().join(folder)).expect(folder);
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    };
    let name = |path: &PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    // Some crates there are what plugins share.
    let is_plugin =
        |path: &PathBuf| fs::read_to_string(path.join("Cargo.toml")).is_ok_and(|text| text.contains("cdylib"));
    let mut all: Vec<PathBuf> =
        entries("plugins").iter().filter(|path| is_plugin(path)).map(|path| library(&name(path))).collect();
    all.extend(entries("plugin-api/examples").iter().map(|path| example(&name(path))));
    all.extend(c::intensity_c());
    all.extend(in_c("NOTHING"));
    all
}

/// Plugins without a fault pass all checks.
#[test]
#[ignore = "slow"]
fn right_plugins_pass_all_checks() {
    let ours = ours();
    assert!(ours.len() >= 3, "{ours:?}");
    let mut faults = Vec::new();
    for library in [wrong_plugin("right")].into_iter().chain(ours) {
        let output = check(&library, &["--timeout", "240"]);
        for (name, (status, message)) in statuses(&output.json()) {
            if status != "passed" {
                faults.push(format!("{}: {name} {status}: {message}", library.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The same seed makes the same sample records.
#[test]
fn check_seed_repeats_the_records() {
    let library = library("velocity_events");
    let hash = |seed: &str| {
        let more = ["--reproduce", seed, "--only", "hash_form", "extracts"];
        let document = check(&library, &more).expect_code(0).json();
        assert_eq!(document["seed"].to_string(), seed);
        statuses(&document)["hash_form"].1.clone()
    };
    assert_eq!(hash("4711"), hash("4711"));
    assert_ne!(hash("4711"), hash("4712"));
}

/// A check that does not end counts as crashed, and the others continue.
#[test]
#[ignore = "slow"]
fn hanging_check_crashed_others_continue() {
    let output = check(&wrong_plugin("hangs"), &["--only", "old_markers", "name", "--timeout", "30"]).expect_code(3);
    let found = statuses(&output.json());
    let of = |check: &str| found[check].0.as_str();
    assert_eq!((of("load"), of("name"), of("old_markers")), ("passed", "passed", "crashed"), "{found:?}");
    assert!(found["old_markers"].1.contains("did not end within 30 s"), "{found:?}");
}

/// With `--dataset`, a check reads the user's dataset and never writes to it.
#[test]
fn check_reads_own_dataset_writes_nothing() {
    let folder = TestDir::new();
    let fixture = kymhost_tests::fixture::Fixture::with_images(folder.join("lab.zarr"), 3, 4);
    let before = snapshot(fixture.path());
    let library = library("velocity_events");
    let path = fixture.path().to_string_lossy().into_owned();
    let output = check(&library, &[&FEW_CALLS[..], &["--dataset", &path]].concat()).expect_code(0);
    let found = statuses(&output.json());
    assert_eq!(found["extracts"].0, "passed", "{found:?}");
    assert!(found["extracts"].1.contains("of 3 records"), "{found:?}");
    assert_untouched(&before, &snapshot(fixture.path()));
}

/// The text output has one line per check and the next command.
#[test]
fn check_prints_line_per_check_and_next_command() {
    let library = library("radon");
    let run = Run::new(["plugin", "check", "--only", "name", "--reproduce", "5", "--"]).arg(&library);
    let output = run.output().expect_code(0);
    let text = output.stdout();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("seed 5"), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("  passed   name ")), "{text}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("  passed ")).count(), 5, "{text}");
    assert_eq!(
        *lines.last().expect("a line"),
        format!("next: {} plugin add {}", program().display(), library.display())
    );
}
