//! Agreement with the Python predecessor: every recorded case, through the library and through the program.
//!
//! Reads the cases, applies their steps and compares. It knows no rule of its own.

use flate2::read::GzDecoder;
use kymhost::dataset::Dataset;
use kymhost::index::{self, Compat, Mode, Observer, RunOptions};
use kymhost::plugin::{PoolOptions, SearchPath, find_plugin, open_pool};
use kymhost_plugin_api::{Json, canonical_json, params_hash};
use kymhost_tests::fixture::{Fixture, image_id};
use kymhost_tests::table::Table;
use kymhost_tests::{Run, TestDir, copy_tree, library, shared, snapshot};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The two ways in.
#[derive(Debug, Clone, Copy)]
enum Door {
    /// The library's functions, the plugin in this process.
    Library,
    /// The program with its worker processes, and its JSON documents.
    Program,
}

struct Quiet;
impl Observer for Quiet {}

impl Door {
    /// Each image's report, as `status --json` has it, less `image_id`.
    fn status(self, dataset: &Path, plugin: &str) -> Result<Map<String, Value>, String> {
        let images = match self {
            Self::Library => {
                let found = with_pool(dataset, plugin, |dataset, indexer, pool| {
                    index::status(dataset, indexer, pool, Compat::Kymflow, None)
                })?;
                let report = |image: index::staleness::ImageReport| {
                    json!({
                        "image_id": image.image_id,
                        "reason": image.reason.code(),
                        "is_stale": image.is_stale,
                        "has_run_marker": image.has_run_marker,
                        "table_rows_present": image.table_rows_present,
                        "marker_n_rows": image.marker_n_rows,
                        "params_hash_matches": image.params_hash_matches,
                        "analysis_version_matches": image.analysis_version_matches,
                    })
                };
                found.images.into_iter().map(report).collect()
            }
            Self::Program => match self.document(dataset, plugin, &["status"])?.get_mut("images").map(Value::take) {
                Some(Value::Array(images)) => images,
                other => return Err(format!("status gave no images but {other:?}")),
            },
        };
        let mut reports = Map::new();
        for mut image in images {
            let Some(Value::String(id)) = image.as_object_mut().and_then(|image| image.remove("image_id")) else {
                return Err(format!("a report without image_id: {image}"));
            };
            if reports.insert(id.clone(), image).is_some() {
                return Err(format!("two reports for {id}"));
            }
        }
        Ok(reports)
    }

    /// The figures of a run, as `run --json` has them.
    fn run(self, dataset: &Path, plugin: &str, mode: &str) -> Result<Value, String> {
        match self {
            Self::Library => {
                let mode: Mode = mode.parse().map_err(|error| format!("{error}"))?;
                let outcome = with_pool(dataset, plugin, |dataset, indexer, pool| {
                    let mut options = RunOptions::new(mode);
                    options.compat = Compat::Kymflow;
                    index::run(dataset, indexer, pool, &options, &mut Quiet)
                })?;
                if !outcome.failures.is_empty() {
                    return Err(format!("images failed: {:?}", outcome.failures));
                }
                let stats = outcome.stats;
                Ok(json!({
                    "updated": stats.updated,
                    "skipped_fresh": stats.skipped_fresh,
                    "skipped_zero_rows": stats.skipped_zero_rows,
                    "stale_missing_marker": stats.stale_missing_marker,
                    "stale_marker_table_mismatch": stats.stale_marker_table_mismatch,
                    "total_images": stats.total_images,
                    "failed": stats.failed,
                    "not_run": stats.not_run,
                    "skipped": stats.skipped_fresh + stats.skipped_zero_rows,
                    "missing": stats.missing,
                }))
            }
            Self::Program => {
                let document = self.document(dataset, plugin, &["run", "--mode", mode])?;
                if document["failures"] != json!([]) {
                    return Err(format!("images failed: {}", document["failures"]));
                }
                Ok(document["stats"].clone())
            }
        }
    }

    fn document(self, dataset: &Path, plugin: &str, command: &[&str]) -> Result<Value, String> {
        let output = Run::new(command)
            .args(["--json", "--compat", "kymflow", "--plugin"])
            .arg(library(plugin))
            .dataset(dataset)
            .output();
        if output.code() == Some(0) { Ok(output.json()) } else { Err(format!("exit {:?}\n{output}", output.code())) }
    }
}

fn with_pool<T>(
    dataset: &Path,
    plugin: &str,
    call: impl FnOnce(
        &Dataset,
        &kymhost::plugin::IndexerInfo,
        &mut dyn kymhost::plugin::Workforce,
    ) -> Result<T, index::IndexError>,
) -> Result<T, String> {
    let dataset = Dataset::open(dataset).map_err(|error| error.to_string())?;
    let spec = library(plugin).display().to_string();
    let found = find_plugin(&spec, &SearchPath::default()).map_err(|error| error.to_string())?;
    let mut options = PoolOptions::new(2);
    options.in_process = true;
    let mut pool = open_pool(&found, &dataset, &options).map_err(|error| error.to_string())?;
    call(&dataset, &found.indexer, pool.as_mut()).map_err(|error| error.to_string())
}

/// What did not agree; all of it is reported at the end.
#[derive(Default)]
struct Findings {
    cases: usize,
    wrong: Vec<String>,
}

impl Findings {
    /// One comparison of one case.
    fn check(&mut self, case: &str, what: &str, found: &Value, expected: &Value) {
        self.cases += 1;
        if found != expected {
            self.wrong.push(format!("{case}: {what}: found {found}, expected {expected}"));
        }
    }

    fn error(&mut self, case: &str, why: impl std::fmt::Display) {
        self.cases += 1;
        self.wrong.push(format!("{case}: {why}"));
    }

    #[track_caller]
    fn conclude(self) {
        let shown: Vec<&str> = self.wrong.iter().map(String::as_str).take(40).collect();
        assert!(
            self.wrong.is_empty(),
            "{} of {} comparisons do not agree:\n{}",
            self.wrong.len(),
            self.cases,
            shown.join("\n")
        );
        assert!(self.cases > 0, "there was nothing to compare");
    }

    /// All fields that the expectation has; more fields of ours are allowed.
    fn check_fields(&mut self, case: &str, found: &Value, expected: &Value, but: &[&str]) {
        let Some(expected) = expected.as_object() else { return self.error(case, "the expectation is not an object") };
        for (name, value) in expected.iter().filter(|(name, _)| !but.contains(&name.as_str())) {
            let missing = json!("(the field is missing)");
            self.check(case, name, found.get(name).unwrap_or(&missing), value);
        }
    }

    fn check_reports(&mut self, case: &str, found: &Map<String, Value>, expected: &Value) {
        let Some(expected) = expected.as_object() else { return self.error(case, "the expectation is not an object") };
        let ids = |map: &Map<String, Value>| -> Value { map.keys().cloned().collect::<Vec<_>>().into() };
        let (mut sorted_found, mut sorted_expected) = (found.clone(), expected.clone());
        sorted_found.sort_keys();
        sorted_expected.sort_keys();
        self.check(case, "images", &ids(&sorted_found), &ids(&sorted_expected));
        for (id, expected) in expected {
            let label = match expected.get("case").and_then(Value::as_str) {
                Some(state) => format!("{case} [{state}] {id}"),
                None => format!("{case} {id}"),
            };
            self.check_fields(&label, found.get(id).unwrap_or(&Value::Null), expected, &["case"]);
        }
    }

    /// A table's columns and rows in order. Rows of images whose events are kept as CSV may differ by 1e-12.
    fn check_table(
        &mut self,
        case: &str,
        dataset: &Path,
        plugin: &str,
        columns: &Value,
        rows: &Value,
        precision: Precision,
    ) {
        let file = dataset.join(format!("tables/kym_{plugin}.parquet"));
        let table = match Table::try_read(&file) {
            Ok(table) => table,
            Err(error) => return self.error(case, error),
        };
        self.check(case, "columns", &json!(table.columns), columns);
        let Some(rows) = rows.as_array() else { return self.error(case, "the expectation has no rows") };
        self.check(case, "number of rows", &json!(table.rows.len()), &json!(rows.len()));
        let id_place = table.columns.iter().position(|name| name == "image_id");
        for (number, (found, expected)) in table.rows.iter().zip(rows).enumerate() {
            let id = id_place.and_then(|place| found.get(place)).and_then(Value::as_str).unwrap_or_default();
            let csv = has_csv(&dataset.join("images").join(id));
            let precision = if csv { Precision::Csv } else { precision };
            let expected = expected.as_array().map_or(&[] as &[Value], Vec::as_slice);
            let same = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| same(a, b, precision));
            self.cases += 1;
            if !same {
                self.wrong.push(format!(
                    "{case}: row {number}: found {}, expected {}",
                    Value::from(found.clone()),
                    Value::from(expected)
                ));
            }
        }
    }
}

/// How exactly an expectation gives its floats.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Precision {
    /// To the last bit.
    Exact,
    /// Of CSV artifacts, which pandas 2 rounds badly: 1e-12 relative.
    Csv,
    /// Written by pandas' `to_json`, which rounds to 15 decimals: half a unit of the last, and reading it again.
    Decimals15,
}

/// Numbers are compared as numbers, all else as it is.
fn same(found: &Value, expected: &Value, precision: Precision) -> bool {
    let (Value::Number(a), Value::Number(b)) = (found, expected) else { return found == expected };
    let whole = |n: &serde_json::Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return a == b;
    }
    let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else { return false };
    let allowed = match precision {
        Precision::Exact => 0.0,
        Precision::Csv => 1e-12 * b.abs(),
        Precision::Decimals15 => 0.5e-15 + f64::EPSILON * b.abs(),
    };
    a == b || (a - b).abs() <= allowed
}

fn has_csv(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        path.to_string_lossy().ends_with(".csv.gz") || (path.is_dir() && has_csv(&path))
    })
}

fn read_json(path: &Path) -> Result<Value, String> {
    let bytes = fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("read {}: {error}", path.display()))
}

/// The folders below one, by name.
fn folders(path: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("list {}: {error}", path.display()));
    let mut found: Vec<(String, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}

/// The recorded sets of cases: one for each version of pandas.
fn sets() -> Vec<(String, PathBuf)> {
    match shared() {
        Some(shared) => folders(&shared.join("conformance")),
        None => Vec::new(),
    }
}

fn marker_name(plugin: &str) -> String {
    if plugin == "velocity_events" { "velocity_events/summary".into() } else { format!("{plugin}_run") }
}

/// An image's marker on disk; null if there is none.
fn marker(dataset: &Path, image: &str, plugin: &str) -> Result<Value, String> {
    let plain = dataset.join(format!("images/{image}/analysis/{}.json", marker_name(plugin)));
    if plain.exists() {
        return read_json(&plain);
    }
    let packed = plain.with_extension("json.gz");
    let Ok(file) = fs::File::open(&packed) else { return Ok(Value::Null) };
    let mut text = Vec::new();
    GzDecoder::new(file).read_to_end(&mut text).map_err(|error| format!("read {}: {error}", packed.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("read {}: {error}", packed.display()))
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().filter(|&byte| byte != b'=') {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => return Err(format!("byte {other} is not base64")),
        };
        bits = (bits << 6 | u32::from(six)) & 0x00ff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Ok(bytes)
}

fn edit(dataset: &Path, step: &Value) -> Result<(), String> {
    for (key, text) in step["put"].as_object().into_iter().flatten() {
        let path = dataset.join(key);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| format!("make the folder of {key}: {error}"))?;
        }
        // Copied files are read-only, as those they were copied from.
        let _ = fs::remove_file(&path);
        fs::write(&path, base64(text.as_str().unwrap_or_default())?)
            .map_err(|error| format!("write {key}: {error}"))?;
    }
    for key in step["delete"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let path = dataset.join(key);
        fs::remove_file(&path).map_err(|error| format!("remove {key}: {error}"))?;
        // A store without folders has none that is empty.
        let mut folder = path.parent();
        while let Some(empty) = folder.filter(|folder| *folder != dataset && fs::remove_dir(folder).is_ok()) {
            folder = empty.parent();
        }
    }
    Ok(())
}

/// A writable copy of a recorded dataset.
fn copy(from: &Path, to: &Path) {
    fn unlock(path: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let meta = fs::symlink_metadata(path).expect("a copied file's metadata");
        if meta.is_symlink() {
            return;
        }
        let mut permissions = meta.permissions();
        permissions.set_mode(permissions.mode() | 0o200);
        fs::set_permissions(path, permissions).expect("a copied file can be made writable");
        if meta.is_dir() {
            for entry in fs::read_dir(path).expect("list a copied folder").flatten() {
                unlock(&entry.path());
            }
        }
    }
    copy_tree(from, to);
    unlock(to);
}

/// Params hashes equal those of the predecessor.
#[test]
fn params_hashes_match_recorded_cases() {
    let mut findings = Findings::default();
    for (set, folder) in sets() {
        let text = fs::read_to_string(folder.join("params_hash.jsonl")).expect("the vectors");
        for (number, line) in text.lines().enumerate() {
            let vector: Value = serde_json::from_str(line).expect("a vector is JSON");
            let case = format!("{set}/params_hash.jsonl:{}", number + 1);
            let parsed = Json::parse(vector["json"].as_str().unwrap_or_default().as_bytes());
            match (parsed, vector.get("error")) {
                (Ok(value), None) => {
                    findings.check(&case, "canonical", &canonical_json(&value).into(), &vector["canonical"]);
                    findings.check(&case, "sha256", &params_hash(&value).into(), &vector["sha256"]);
                }
                (Err(_), Some(_)) => findings.cases += 1,
                (Ok(value), Some(error)) => {
                    findings.error(&case, format!("taken as {} instead of refused: {error}", canonical_json(&value)));
                }
                (Err(error), None) => findings.error(&case, format!("refused: {error}")),
            }
        }
    }
    if shared().is_some() {
        findings.conclude();
    }
}

fn staleness(door: Door) {
    let mut findings = Findings::default();
    for (set, folder) in sets() {
        for (name, folder) in folders(&folder) {
            let Some(plugin) = name.strip_prefix("staleness_") else { continue };
            let expected = read_json(&folder.join("expected.json")).expect("the expectation");
            let case = format!("{set}/{name}");
            // Recorded datasets are read-only, and a status writes nothing: no copy.
            match door.status(&folder.join("dataset.zarr"), plugin) {
                Ok(found) => findings.check_reports(&case, &found, &expected["staleness"]),
                Err(error) => findings.error(&case, error),
            }
        }
    }
    if shared().is_some() {
        findings.conclude();
    }
}

#[test]
fn staleness_matches_through_library() {
    staleness(Door::Library);
}

#[test]
fn staleness_matches_through_program() {
    staleness(Door::Program);
}

fn scenarios(door: Door) {
    let mut findings = Findings::default();
    for (set, folder) in sets() {
        for (name, folder) in folders(&folder.join("scenarios")) {
            let dir = TestDir::new();
            let dataset = dir.join("data.zarr");
            copy(&folder.join("initial.zarr"), &dataset);
            let steps = read_json(&folder.join("steps.json")).expect("the steps");
            for (number, step) in steps.as_array().into_iter().flatten().enumerate() {
                let case = format!("{set}/scenarios/{name} step {number}");
                if let Err(error) = scenario_step(door, &dataset, &case, step, &mut findings) {
                    // What follows would only repeat it.
                    findings.error(&case, error);
                    break;
                }
            }
        }
    }
    if shared().is_some() {
        findings.conclude();
    }
}

fn scenario_step(door: Door, dataset: &Path, case: &str, step: &Value, findings: &mut Findings) -> Result<(), String> {
    if step["op"] == "edit" {
        return edit(dataset, step);
    }
    let (Some("run"), Some(plugin), Some(mode)) = (step["op"].as_str(), step["plugin"].as_str(), step["mode"].as_str())
    else {
        return Err(format!("an unknown step: {}", step["op"]));
    };
    let case = format!("{case} ({mode} {plugin})");
    let expect = &step["expect"];
    let before = snapshot(dataset);
    findings.check_reports(&format!("{case} before"), &door.status(dataset, plugin)?, &expect["staleness_before"]);
    if snapshot(dataset) != before {
        findings.error(&case, "status wrote something");
    }
    let stats = door.run(dataset, plugin, mode)?;
    findings.check_fields(&format!("{case} stats"), &stats, &expect["stats"], &[]);
    if stats["updated"] == 0 && snapshot(dataset) != before {
        findings.error(&case, "a run with nothing to do wrote something");
    }
    let table = &expect["table"];
    findings.check_table(
        &format!("{case} table"),
        dataset,
        plugin,
        &table["columns"],
        &table["rows"],
        Precision::Exact,
    );
    for (image, expected) in expect["markers"].as_object().into_iter().flatten() {
        let case = format!("{case} marker of {image}");
        let found = marker(dataset, image, plugin)?;
        if expected.is_null() {
            findings.check(&case, "marker", &found, expected);
        } else {
            findings.check_fields(&case, &found, expected, &["ran_utc_epoch_ns"]);
        }
    }
    Ok(())
}

#[test]
fn scenarios_match_through_library() {
    scenarios(Door::Library);
}

#[test]
fn scenarios_match_through_program() {
    scenarios(Door::Program);
}

fn recordings(door: Door) {
    let Some(folder) = shared().map(|shared| shared.join("recordings")) else { return };
    let mut findings = Findings::default();
    let all = read_json(&folder.join("expected.json")).expect("the expectation");
    let dir = TestDir::new();
    let dataset = dir.join("data.zarr");
    copy(&folder.join("dataset.zarr"), &dataset);
    for plugin in ["velocity_events", "radon"] {
        let expected = &all[plugin];
        let case = format!("recordings {plugin}");
        match door.run(&dataset, plugin, "replace") {
            Ok(stats) => findings.check_fields(&case, &stats, &expected["stats"], &[]),
            Err(error) => {
                findings.error(&case, error);
                continue;
            }
        }
        let table = read_json(&folder.join(format!("expected_kym_{plugin}.json"))).expect("the expected table");
        findings.check(&case, "rows", &json!(table["data"].as_array().map(Vec::len)), &expected["rows"]);
        findings.check_table(&case, &dataset, plugin, &table["columns"], &table["data"], Precision::Decimals15);
        for (image, hash) in expected["params_hash"].as_object().into_iter().flatten() {
            let found = marker(&dataset, image, plugin).unwrap_or_else(Value::from);
            findings.check(&format!("{case} {image}"), "params_hash", &found["params_hash"], hash);
            let rows = &expected["rows_per_image"][image];
            findings.check(&format!("{case} {image}"), "n_rows", &found["n_rows"], rows);
        }
        match door.status(&dataset, plugin) {
            Ok(reports) => {
                for (image, report) in reports {
                    findings.check(&format!("{case} {image} after"), "is_stale", &report["is_stale"], &json!(false));
                }
            }
            Err(error) => findings.error(&case, error),
        }
    }
    findings.conclude();
}

#[test]
fn recordings_match_through_library() {
    recordings(Door::Library);
}

#[test]
fn recordings_match_through_program() {
    recordings(Door::Program);
}

/// The predecessor's own demonstration: two images with params and events.
fn demonstration(door: Door) {
    let dir = TestDir::new();
    let data = Fixture::with_images(dir.join("data.zarr"), 2, 1);
    let figures = |mode: &str| -> (u64, u64, u64) {
        let stats = door.run(data.path(), "velocity_events", mode).unwrap_or_else(|error| panic!("{mode}: {error}"));
        let figure = |name: &str| stats[name].as_u64().unwrap_or_else(|| panic!("no figure {name} in {stats}"));
        (figure("updated"), figure("skipped"), figure("missing"))
    };
    assert_eq!(figures("replace"), (2, 0, 2), "the first replace");
    assert_eq!(figures("incremental"), (0, 2, 0), "nothing has changed");
    data.image(&image_id(1)).params(&json!({"threshold": 99}));
    assert_eq!(figures("incremental"), (1, 1, 0), "one image's params have changed");

    let table = Table::read(&data.key("tables/kym_velocity_events.parquet"));
    assert_eq!(table.rows.len(), 2);
    let hashes = table.column("params_hash");
    assert_ne!(hashes[0], hashes[1]);
    assert_eq!(table.column("image_id"), [&json!(image_id(0)), &json!(image_id(1))]);

    let before = snapshot(data.path());
    let error = door.run(data.path(), "velocity_events", "sideways").expect_err("there is no such mode");
    assert!(error.contains("replace") && error.contains("incremental"), "{error}");
    assert_eq!(snapshot(data.path()), before);
}

#[test]
fn demonstration_matches_through_library() {
    demonstration(Door::Library);
}

#[test]
fn demonstration_matches_through_program() {
    demonstration(Door::Program);
}

#[test]
fn numbers_compare_by_value() {
    use Precision::{Csv, Decimals15, Exact};
    let cases = [
        (json!(1), json!(1.0), Exact, true),
        (json!(1), json!(2), Csv, false),
        (json!(1.0), json!(1.0 + 1e-13), Csv, true),
        (json!(1.0), json!(1.0 + 1e-11), Csv, false),
        (json!(1.0), json!(1.0 + 1e-13), Exact, false),
        (json!(0.0679519666666666), json!(0.067951966666667), Decimals15, true),
        (json!(0.0679519666666656), json!(0.067951966666667), Decimals15, false),
        (json!(u64::MAX), json!(u64::MAX - 1), Csv, false),
        (json!(null), json!(0), Exact, false),
        (json!(null), json!(null), Exact, true),
        (json!("a"), json!("b"), Exact, false),
        (json!(true), json!(1), Exact, false),
    ];
    for (found, expected, precision, agree) in cases {
        assert_eq!(same(&found, &expected, precision), agree, "{found} {expected} {precision:?}");
    }
    assert_eq!(base64("AAECAwQ=").expect("base64"), [0, 1, 2, 3, 4]);
    assert!(base64("A*==").is_err());
    let mut findings = Findings::default();
    findings.check("case", "what", &json!(1), &json!(2));
    assert_eq!(findings.wrong.len(), 1);
}
