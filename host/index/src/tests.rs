//! Plans and runs over small datasets, with an indexer made of closures.

use crate::staleness::{ImageReport, Reason};
use crate::testing::{FailingStore, FakeIndexer, FakeWorkforce, RecordingObserver};
use crate::*;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{Int64Type, Schema};
use kymhost_dataset::{Dataset, Input};
use kymhost_plugin::{Failure, FailureKind, IndexerInfo, ParamsReading, PluginError};
use kymhost_plugin_api::{Json, RunMarker};
use kymhost_store::Key;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An indexer by image: its params hash, its rows.
#[derive(Default)]
struct Answers {
    params: BTreeMap<String, Result<String, Failure>>,
    rows: BTreeMap<String, Result<RecordBatch, Failure>>,
}

type Fake = FakeWorkforce<Answers>;

impl Answers {
    fn image(&mut self, id: &str, params: &str, values: &[i64]) -> &mut Self {
        self.params.insert(id.into(), Ok(params.into()));
        self.rows.insert(id.into(), Ok(rows(Arc::new(Int64Array::from(values.to_vec())))));
        self
    }
}

fn rows(x: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("x", x, true)]).unwrap()
}

fn failure(kind: FailureKind) -> Failure {
    Failure::new(kind, format!("{kind:?}"))
}

impl FakeIndexer for Answers {
    fn params(&mut self, image_id: &str) -> Result<ParamsReading, Failure> {
        self.params[image_id].clone().map(ParamsReading::of)
    }
    fn rows(&mut self, image_id: &str) -> Result<(RecordBatch, Vec<Input>), Failure> {
        self.rows[image_id].clone().map(|rows| (rows, Vec::new()))
    }
    fn old_marker(&mut self, payload: &Json) -> Result<Option<RunMarker>, Failure> {
        match payload.get("old").and_then(Json::as_i64) {
            Some(n) if n < 0 => Err(failure(FailureKind::Panic)),
            Some(n) => Ok(Some(RunMarker::new("old", "p", "v", n.unsigned_abs(), 1))),
            None => Ok(None),
        }
    }
}

/// Runs as the predecessor does.
fn kymflow(mode: Mode) -> RunOptions {
    RunOptions { compat: Compat::Kymflow, ..RunOptions::new(mode) }
}

struct Lab {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Lab {
    fn new(images: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lab = Self { path: folder.path().join("data.zarr"), _folder: folder };
        let group = "{\n    \"zarr_format\": 2\n}";
        lab.put(".zgroup", group);
        lab.put(".zattrs", r#"{"format": "kymflow_zarr_v1", "schema_version": 1}"#);
        lab.put("images/.zgroup", group);
        lab.put("index/.zgroup", group);
        for id in images {
            lab.put(&format!("images/{id}/.zgroup"), group);
            lab.put(&format!("images/{id}/.zattrs"), "{}");
        }
        lab
    }

    fn put(&self, key: &str, text: &str) {
        let path = self.path.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn put_marker(&self, id: &str, text: &str) {
        self.put(&format!("images/{id}/analysis/stalls_run.json"), text);
    }

    fn marker(&self, id: &str) -> Option<RunMarker> {
        let bytes = fs::read(self.path.join(format!("images/{id}/analysis/stalls_run.json"))).ok()?;
        RunMarker::from_json(&Json::parse(&bytes).unwrap())
    }

    fn dataset(&self) -> Dataset {
        Dataset::open(&self.path).unwrap()
    }

    fn table_path(&self) -> PathBuf {
        self.path.join("tables/kym_stalls.parquet")
    }

    fn status(&self, fake: &mut Fake) -> Result<Status, IndexError> {
        status(&self.dataset(), &indexer(), fake, Compat::Kymflow, None)
    }

    fn run(&self, fake: &mut Fake, mode: Mode) -> Result<RunOutcome, IndexError> {
        run(&self.dataset(), &indexer(), fake, &kymflow(mode), &mut RecordingObserver::default())
    }

    /// Image and `x` of each row.
    fn table(&self) -> Vec<(String, i64)> {
        let Some(table) = self.dataset().read_table("kym_stalls", None).unwrap() else { return vec![] };
        let ids = provenance::TextColumn::of(&table, "image_id").unwrap();
        let x = table.column_by_name("x").unwrap().as_primitive::<Int64Type>();
        (0..table.num_rows()).map(|row| (ids.get(row).unwrap().to_owned(), x.value(row))).collect()
    }

    /// Every file with its bytes.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    found.insert(path.clone(), vec![]);
                    walk(&path, found);
                } else {
                    found.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.path, &mut found);
        found
    }
}

fn indexer() -> IndexerInfo {
    IndexerInfo {
        name: "stalls".into(),
        analysis_version: "v".into(),
        marker_name: "stalls_run".into(),
        params_artifacts: vec![],
        ..IndexerInfo::default()
    }
}

fn pairs(pairs: &[(&str, i64)]) -> Vec<(String, i64)> {
    pairs.iter().map(|(id, x)| ((*id).to_owned(), *x)).collect()
}

fn reasons(images: &[ImageReport]) -> Vec<(&str, Reason)> {
    images.iter().map(|image| (image.image_id.as_str(), image.reason)).collect()
}

#[test]
fn modes_have_names() {
    for mode in [Mode::Replace, Mode::Incremental] {
        assert_eq!(mode.name().parse::<Mode>().unwrap(), mode);
    }
    for text in ["", "Replace", "both"] {
        let error = text.parse::<Mode>().unwrap_err().to_string();
        assert!(error.contains("'replace'") && error.contains("'incremental'"), "{error}");
    }
}

#[test]
fn new_dataset_becomes_fresh() {
    use Reason::*;
    let lab = Lab::new(&["a", "b", "c"]);
    let mut fake = Fake::new(Answers::default());
    fake.image("a", "p", &[1, 2]).image("b", "p", &[]).image("c", "p", &[3]);
    let before = lab.files();
    let status = lab.status(&mut fake).unwrap();
    assert_eq!(status.table, "tables/kym_stalls.parquet");
    assert_eq!(
        reasons(&status.images),
        [("a", StaleMissingMarker), ("b", StaleMissingMarker), ("c", StaleMissingMarker)]
    );
    assert_eq!(lab.files(), before);

    let outcome = lab.run(&mut fake, Mode::Incremental).unwrap();
    let stats = Stats { updated: 3, stale_missing_marker: 3, total_images: 3, missing: 3, ..Stats::default() };
    assert_eq!(outcome.stats, stats);
    assert_eq!(reasons(&outcome.decisions), reasons(&status.images));
    assert_eq!(lab.table(), pairs(&[("a", 1), ("a", 2), ("c", 3)]));
    assert_eq!(["a", "b", "c"].map(|id| lab.marker(id).unwrap().n_rows), [2, 0, 1]);

    // Nothing to do: nothing is written, nothing extracted.
    let before = lab.files();
    fake.asked.clear();
    let outcome = lab.run(&mut fake, Mode::Incremental).unwrap();
    let stats = Stats { skipped_fresh: 2, skipped_zero_rows: 1, total_images: 3, ..Stats::default() };
    assert_eq!(outcome.stats, stats);
    assert_eq!(fake.questions(), ["params"]);
    assert_eq!(lab.files(), before);

    // One image's params change.
    fake.image("a", "q", &[9]);
    assert_eq!(reasons(&lab.status(&mut fake).unwrap().images)[0], ("a", StaleParamsChanged));
    fake.extracted.clear();
    let outcome = lab.run(&mut fake, Mode::Incremental).unwrap();
    let stats = Stats { updated: 1, skipped_fresh: 1, skipped_zero_rows: 1, total_images: 3, ..Stats::default() };
    assert_eq!(outcome.stats, stats);
    assert_eq!(fake.extracted, ["a"]);
    assert_eq!(lab.table(), pairs(&[("c", 3), ("a", 9)]));
    assert_eq!(lab.marker("a").unwrap().params_hash, "q");

    // Replace does all, and counts no reasons.
    let outcome = lab.run(&mut fake, Mode::Replace).unwrap();
    assert_eq!(outcome.stats, Stats { updated: 3, total_images: 3, missing: 1, ..Stats::default() });
    assert_eq!(reasons(&outcome.decisions), [("a", FreshRows), ("b", FreshZeroRows), ("c", FreshRows)]);
    assert_eq!(lab.table(), pairs(&[("a", 9), ("c", 3)]));
}

#[test]
fn failed_image_keeps_rows_and_marker() {
    let lab = Lab::new(&["a", "b", "c", "d", "e"]);
    let mut fake = Fake::new(Answers::default());
    for (id, x) in [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)] {
        fake.image(id, "p", &[x]);
    }
    lab.run(&mut fake, Mode::Replace).unwrap();
    let old_marker = lab.marker("b").unwrap();

    fake.image("a", "q", &[10]).image("b", "q", &[20]).image("e", "q", &[50]);
    fake.rows.insert("b".into(), Err(failure(FailureKind::Abort)));
    fake.params.insert("c".into(), Err(failure(FailureKind::Unreadable)));
    fake.rows.insert("e".into(), Ok(rows(Arc::new(StringArray::from(vec!["text"])))));
    let mut told = RecordingObserver::default();
    let outcome = run(&lab.dataset(), &indexer(), &mut fake, &kymflow(Mode::Incremental), &mut told).unwrap();
    let stats = Stats { updated: 1, skipped_fresh: 1, failed: 3, total_images: 5, ..Stats::default() };
    assert_eq!(outcome.stats, stats);
    let failed: Vec<(&str, FailureKind)> =
        outcome.failures.iter().map(|f| (f.image_id.as_str(), f.failure.kind)).collect();
    assert_eq!(failed, [("b", FailureKind::Abort), ("c", FailureKind::Unreadable), ("e", FailureKind::BadTable)]);
    let why = &outcome.failures[2].failure.message;
    assert!(why.contains("'x'") && why.contains("Utf8") && why.contains("Int64"), "{why}");
    assert_eq!(lab.table(), pairs(&[("b", 2), ("c", 3), ("d", 4), ("e", 5), ("a", 10)]));
    assert_eq!(lab.marker("b").unwrap(), old_marker);
    assert_eq!(lab.marker("e").unwrap().params_hash, "p");
    assert_eq!(outcome.decisions[2].error.as_deref(), Some("Unreadable"));
    assert_eq!(told.planned, [(4, 5)]);
    assert_eq!(told.committing, 1);

    // All fail: the table is not written.
    let before = fs::metadata(lab.table_path()).unwrap().modified().unwrap();
    for id in ["a", "d", "e"] {
        fake.rows.insert(id.into(), Err(failure(FailureKind::Error)));
    }
    let outcome = lab.run(&mut fake, Mode::Replace).unwrap();
    assert_eq!(outcome.stats, Stats { failed: 5, total_images: 5, ..Stats::default() });
    assert_eq!(fs::metadata(lab.table_path()).unwrap().modified().unwrap(), before);
}

#[test]
fn nonstandard_markers_read() {
    use Reason::*;
    let lab = Lab::new(&["broken", "list", "none", "odd", "old0", "old1", "panics"]);
    let mut fake = Fake::new(Answers::default());
    for id in ["broken", "list", "none", "odd", "old0", "old1", "panics"] {
        fake.image(id, "p", &[7]);
    }
    for (id, text) in [
        ("broken", "{\"marker_version\": "),
        ("list", "[]"),
        ("odd", "{}"),
        ("old0", "{\"old\": 0}"),
        ("old1", "{\"old\": 1}"),
        ("panics", "{\"old\": -1}"),
    ] {
        lab.put_marker(id, text);
    }
    let status = lab.status(&mut fake).unwrap();
    assert_eq!(
        reasons(&status.images),
        [
            ("broken", StaleUnreadable),
            ("list", StaleMissingMarker),
            ("none", StaleMissingMarker),
            ("odd", StaleMissingMarker),
            ("old0", FreshZeroRows),
            ("old1", StaleMarkerTableMismatch),
            ("panics", StaleUnreadable),
        ]
    );
    assert_eq!(fake.questions().iter().filter(|what| **what == "old markers").count(), 1);
    let error = status.images[0].error.as_deref().unwrap();
    assert!(error.contains("broken") && error.contains("stalls_run"), "{error}");

    // What cannot be judged is not updated; replacing needs no marker.
    let outcome = lab.run(&mut fake, Mode::Incremental).unwrap();
    let failed: Vec<(&str, FailureKind)> =
        outcome.failures.iter().map(|f| (f.image_id.as_str(), f.failure.kind)).collect();
    assert_eq!(failed, [("broken", FailureKind::Unreadable), ("panics", FailureKind::Panic)]);
    let stats = Stats {
        updated: 4,
        skipped_zero_rows: 1,
        failed: 2,
        stale_missing_marker: 3,
        stale_marker_table_mismatch: 1,
        total_images: 7,
        missing: 6,
        ..Stats::default()
    };
    assert_eq!(outcome.stats, stats);
    let outcome = lab.run(&mut fake, Mode::Replace).unwrap();
    assert_eq!((outcome.stats.updated, outcome.stats.failed), (7, 0));
    assert_eq!(lab.marker("broken").unwrap().n_rows, 1);
}

#[test]
fn interrupted_run_commits_finished_images() {
    let lab = Lab::new(&["a", "b", "c"]);
    let mut fake = Fake::new(Answers::default());
    fake.image("a", "p", &[1]).image("b", "p", &[2]).image("c", "p", &[3]);
    let mut told = RecordingObserver { stop_after: Some(2), ..RecordingObserver::default() };
    let outcome = run(&lab.dataset(), &indexer(), &mut fake, &kymflow(Mode::Replace), &mut told).unwrap();
    assert_eq!(outcome.stats, Stats { updated: 2, not_run: 1, total_images: 3, missing: 3, ..Stats::default() });
    assert_eq!(lab.table(), pairs(&[("a", 1), ("b", 2)]));
    assert_eq!(lab.marker("c"), None);
}

#[test]
fn unusual_tables_handled() {
    let write = |lab: &Lab, columns: Vec<(&str, ArrayRef)>| {
        let table = if columns.is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(0));
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
        } else {
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
        };
        lab.dataset().write_table("kym_stalls", &table).unwrap();
    };
    let text = |values: &[&str]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let ints = |values: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let mut fake = Fake::new(Answers::default());
    fake.image("a", "p", &[1]);

    // No provenance columns: rows, which match nothing.
    let lab = Lab::new(&["a"]);
    write(&lab, vec![("image_id", text(&["a", "z"])), ("x", ints(&[5, 6]))]);
    let report = lab.status(&mut fake).unwrap().images.remove(0);
    assert_eq!((report.reason, report.table_rows_present), (Reason::StaleVersionChanged, true));
    lab.run(&mut fake, Mode::Incremental).unwrap();
    assert_eq!(lab.table(), pairs(&[("z", 6), ("a", 1)]));

    // No image_id: no image has rows, and the rows stay.
    let lab = Lab::new(&["a"]);
    write(&lab, vec![("x", ints(&[5]))]);
    assert_eq!(lab.status(&mut fake).unwrap().images[0].reason, Reason::StaleMissingMarker);
    lab.run(&mut fake, Mode::Replace).unwrap();
    let table = lab.dataset().read_table("kym_stalls", None).unwrap().unwrap();
    assert_eq!((table.num_rows(), table.column_by_name("image_id").unwrap().null_count()), (2, 1));

    // Ids of numbers: no image has rows, and text cannot join them.
    let lab = Lab::new(&["a"]);
    write(&lab, vec![("image_id", ints(&[5])), ("x", Arc::new(Float64Array::from(vec![0.5])) as ArrayRef)]);
    let outcome = lab.run(&mut fake, Mode::Replace).unwrap();
    assert_eq!(outcome.failures[0].failure.kind, FailureKind::BadTable);
    assert!(outcome.failures[0].failure.message.contains("'image_id'"));

    // Not a table at all: nothing is written, whatever the mode.
    let lab = Lab::new(&["a"]);
    lab.put("tables/kym_stalls.parquet", "no table");
    for mode in [Mode::Replace, Mode::Incremental] {
        let before = lab.files();
        let error = lab.run(&mut fake, mode).unwrap_err();
        assert!(error.is_broken_table(), "{error}");
        assert!(error.to_string().contains("kym_stalls"), "{error}");
        assert_eq!(lab.files(), before);
    }
    assert!(lab.status(&mut fake).is_err_and(|error| error.is_broken_table()));
}

/// A store of tests must not promise less than the real one.
#[test]
fn failing_store_keeps_the_contract() {
    let lab = Lab::new(&["a"]);
    let store = FailingStore::open(&lab.path, None);
    assert_eq!(kymhost_store::contract::check(&store, &Key::new("contract").unwrap()), []);
}

#[test]
fn rows_written_by_python_during_commit_kept() {
    // The table as Python writes it meanwhile: with one more row, of an image that we know nothing of.
    let elsewhere = Lab::new(&["a", "b", "python"]);
    let mut fake = Fake::new(Answers::default());
    fake.image("a", "p", &[1]).image("b", "p", &[2]).image("python", "p", &[9]);
    elsewhere.run(&mut fake, Mode::Replace).unwrap();
    let theirs = fs::read(elsewhere.table_path()).unwrap();
    let elsewhere = Lab::new(&["a", "another snake", "b", "python"]);
    fake.image("another snake", "p", &[7]);
    elsewhere.run(&mut fake, Mode::Replace).unwrap();
    let others = fs::read(elsewhere.table_path()).unwrap();
    assert_ne!(theirs.len(), others.len(), "the clock may be too coarse to tell one write from the next");

    for (times, is_done) in [(1, true), (4, true), (5, false)] {
        let lab = Lab::new(&["a", "b"]);
        lab.run(&mut fake, Mode::Replace).unwrap();
        let (dataset, store) = FailingStore::dataset(&lab.path, None);
        for count in 0..times {
            let (path, bytes) = (lab.table_path(), [&theirs, &others][count % 2].clone());
            // In place, as pandas does.
            store.before_replace.lock().unwrap().push(Box::new(move || fs::write(path, bytes).unwrap()));
        }
        fake.image("a", "q", &[5]);
        let outcome =
            run(&dataset, &indexer(), &mut fake, &kymflow(Mode::Incremental), &mut RecordingObserver::default());
        fake.image("a", "p", &[1]);
        let expected: &[(&str, i64)] =
            if is_done { &[("b", 2), ("python", 9), ("a", 5)] } else { &[("a", 1), ("b", 2), ("python", 9)] };
        assert_eq!(lab.table(), pairs(expected), "{times}");
        match outcome {
            Ok(outcome) => assert_eq!((outcome.stats.updated, is_done), (1, true), "{times}"),
            Err(error) => assert!(!is_done && error.to_string().contains("kym_stalls"), "{times}: {error}"),
        }
        // Where nothing was written, neither was the marker.
        assert_eq!(lab.marker("a").map(|marker| marker.params_hash == "q"), Some(is_done), "{times}");
    }
}

#[test]
fn second_run_refused_while_locked() {
    let lab = Lab::new(&["a", "b"]);
    let mut fake = Fake::new(Answers::default());
    fake.image("a", "p", &[1]).image("b", "p", &[2]);
    let name = names::TableName::of("stalls").unwrap();
    let guard = lab
        .dataset()
        .store()
        .lock(&name.lock_key().unwrap(), &Holder::this_process("stalls").to_text())
        .unwrap()
        .unwrap();
    let before = lab.files();
    let error = lab.run(&mut fake, Mode::Incremental).unwrap_err();
    let IndexError::Locked { table, holder } = &error else { panic!("{error}") };
    assert_eq!(table, "tables/kym_stalls.parquet");
    assert!(holder.pid == Some(std::process::id()) && holder.to_string().contains("stalls"), "{holder}");
    assert_eq!(lab.files(), before);
    assert!(!fake.questions().contains(&"rows"));
    // A status needs no lock.
    lab.status(&mut fake).unwrap();
    drop(guard);
    assert_eq!(lab.run(&mut fake, Mode::Incremental).unwrap().stats.updated, 2);

    // Nor does a run with nothing to do.
    let guard = lab.dataset().store().lock(&name.lock_key().unwrap(), "").unwrap();
    assert_eq!(lab.run(&mut fake, Mode::Incremental).unwrap().stats.skipped_fresh, 2);
    drop(guard);

    // While a run extracts, it holds the table.
    fake.image("a", "q", &[3]);
    let dataset = lab.dataset();
    let key = name.lock_key().unwrap();
    fake.on_rows = Some(Box::new(move || assert!(dataset.store().lock(&key, "").unwrap().is_none())));
    assert_eq!(lab.run(&mut fake, Mode::Incremental).unwrap().stats.updated, 1);
}

#[test]
fn image_with_unwritable_marker_keeps_rows() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm, FailureKind); 3] = [
        ("attributes cut", |image| fs::write(image.join(".zattrs"), "{").unwrap(), FailureKind::Unreadable),
        (
            "attributes of another kind",
            |image| fs::write(image.join(".zattrs"), "[]").unwrap(),
            FailureKind::Unreadable,
        ),
        ("deleted", |image| fs::remove_dir_all(image).unwrap(), FailureKind::InputChanged),
    ];
    for (harm, work, kind) in harms {
        let lab = Lab::new(&["a", "b"]);
        let mut fake = Fake::new(Answers::default());
        fake.image("a", "p", &[1]).image("b", "p", &[2]);
        lab.run(&mut fake, Mode::Replace).unwrap();
        fake.image("a", "q", &[10]).image("b", "q", &[20]);
        let image = lab.path.join("images/a");
        // While rows are extracted: after all was judged.
        fake.on_rows = Some(Box::new(move || work(&image)));
        let outcome = lab.run(&mut fake, Mode::Incremental).unwrap();
        assert_eq!(outcome.stats, Stats { updated: 1, failed: 1, total_images: 2, ..Stats::default() }, "{harm}");
        assert_eq!((&*outcome.failures[0].image_id, outcome.failures[0].failure.kind), ("a", kind), "{harm}");
        assert_eq!(lab.table(), pairs(&[("a", 1), ("b", 20)]), "{harm}");
        assert_eq!(lab.marker("b").unwrap().params_hash, "q", "{harm}");
        assert!(lab.marker("a").is_none_or(|marker| marker.params_hash == "p"), "{harm}");
        assert_eq!(lab.path.join("images/a").exists(), kind == FailureKind::Unreadable, "{harm}");
    }
}

#[test]
fn unusable_indexer_fails() {
    let lab = Lab::new(&["a", "b"]);
    let mut fake = Fake::new(Answers::default());
    fake.image("a", "p", &[1]);
    fake.gives_up_at = Some(("params", "b"));
    assert!(matches!(lab.status(&mut fake), Err(IndexError::Plugin(PluginError::Worker { .. }))));
    let mut named = indexer();
    named.name = "kym_stalls".into();
    let before = lab.files();
    let error = status(&lab.dataset(), &named, &mut fake, Compat::Kymflow, None).unwrap_err();
    assert!(matches!(error, IndexError::BadName { .. }));
    let error =
        run(&lab.dataset(), &named, &mut fake, &kymflow(Mode::Replace), &mut RecordingObserver::default()).unwrap_err();
    assert!(matches!(error, IndexError::BadName { .. }));
    assert_eq!(lab.files(), before);

    // No images: nothing to ask, nothing to write.
    let lab = Lab::new(&[]);
    let before = lab.files();
    fake.asked.clear();
    assert_eq!(lab.run(&mut fake, Mode::Replace).unwrap().stats, Stats::default());
    assert_eq!(fake.asked, []);
    assert_eq!(lab.files(), before);
}
