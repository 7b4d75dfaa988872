//! Runs by our own rules, over datasets on disk, with an indexer that reads two artifacts of each image.

use crate::ledger::{Intent, Seal};
use crate::names::TableName;
use crate::staleness::Reason::{self, *};
use crate::testing::{FailingStore, FakeIndexer, FakeWorkforce, RecordingObserver};
use crate::*;
use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use kymhost_dataset::{Dataset, Input};
use kymhost_plugin::{Failure, FailureKind, IndexerInfo, ParamsReading};
use kymhost_plugin_api::Json;
use kymhost_store::LockGuard;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// `params` is the artifact `params` (a text). The rows are those of `rows`: a list of integers, of numbers with a fraction,
/// or of texts; an object fails.
struct ArtifactIndexer(Dataset);

fn unreadable(error: impl fmt::Display) -> Failure {
    Failure::new(FailureKind::Unreadable, error.to_string())
}

impl FakeIndexer for ArtifactIndexer {
    fn params(&mut self, image_id: &str) -> Result<ParamsReading, Failure> {
        self.0.store().sync();
        let record = self.0.record(image_id).unwrap().watched("stalls_run");
        let params = record.json("params").map_err(unreadable)?;
        Ok(ParamsReading {
            hash: params.as_ref().and_then(Json::as_str).unwrap_or("none").to_owned(),
            value: params.map(|params| params.to_string()),
            inputs: record.inputs().unwrap(),
        })
    }
    fn rows(&mut self, image_id: &str) -> Result<(RecordBatch, Vec<Input>), Failure> {
        self.0.store().sync();
        let record = self.0.record(image_id).unwrap().watched("stalls_run");
        let rows = record.json("rows").map_err(unreadable)?;
        let Some(values) = rows.as_ref().and_then(Json::as_array) else {
            return Err(Failure::new(FailureKind::Error, "it was told to fail".into()));
        };
        let x: ArrayRef = if values.iter().any(|value| value.as_str().is_some()) {
            Arc::new(StringArray::from(values.iter().map(Json::as_str).collect::<Vec<_>>()))
        } else if values.iter().any(|value| value.as_i64().is_none()) {
            Arc::new(Float64Array::from(values.iter().map(Json::as_f64).collect::<Vec<_>>()))
        } else {
            Arc::new(Int64Array::from(values.iter().map(Json::as_i64).collect::<Vec<_>>()))
        };
        Ok((RecordBatch::try_from_iter_with_nullable([("x", x, true)]).unwrap(), record.inputs().unwrap()))
    }
}

/// A run's outcome and which images it extracted.
#[derive(Debug)]
struct Ran {
    outcome: RunOutcome,
    extracted: Vec<String>,
}

struct Lab {
    _folder: tempfile::TempDir,
    path: PathBuf,
    name: TableName,
    /// Times of files need not be trusted.
    is_quick: bool,
}

impl Lab {
    /// Images with params `p` and these rows.
    fn new(images: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.zarr");
        Dataset::create(&path).unwrap();
        let lab = Self { _folder: folder, path, name: TableName::of("stalls").unwrap(), is_quick: false };
        for (id, rows) in images {
            lab.image(id, rows);
        }
        lab
    }

    /// Nothing but integers: image `a` has the row 1, and so on.
    fn of(ids: &str) -> Self {
        let lab = Self::new(&[]);
        for (at, id) in ids.chars().enumerate() {
            lab.image(&id.to_string(), &format!("[{}]", at + 1));
        }
        lab
    }

    fn image(&self, id: &str, rows: &str) {
        self.put(&format!("images/{id}/.zattrs"), "{}");
        self.params(id, "p");
        self.rows(id, rows);
        self.put(&format!("images/{id}/.zgroup"), "{\n    \"zarr_format\": 2\n}");
    }

    fn put(&self, key: &str, text: &str) {
        let path = self.path.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn params(&self, id: &str, params: &str) {
        self.put(&format!("images/{id}/analysis/params.json"), &format!("\"{params}\""));
    }

    fn rows(&self, id: &str, rows: &str) {
        self.put(&format!("images/{id}/analysis/rows.json"), rows);
    }

    fn delete(&self, id: &str) {
        fs::remove_dir_all(self.path.join("images").join(id)).unwrap();
    }

    fn marker_path(&self, id: &str) -> PathBuf {
        self.path.join(format!("images/{id}/analysis/stalls_run.json"))
    }

    fn marker(&self, id: &str) -> Option<receipt::ReadMarker> {
        receipt::read(&fs::read(self.marker_path(id)).ok()?)
    }

    fn dataset(&self) -> Dataset {
        Dataset::open(&self.path).unwrap()
    }

    fn table_path(&self) -> PathBuf {
        self.path.join("tables/kym_stalls.parquet")
    }

    fn indexer(&self) -> FakeWorkforce<ArtifactIndexer> {
        if !self.is_quick {
            // Old enough for its times to be trusted.
            std::thread::sleep(Duration::from_millis(25));
        }
        FakeWorkforce::new(ArtifactIndexer(self.dataset()))
    }

    fn run_with(&self, options: &RunOptions) -> Result<Ran, IndexError> {
        self.run_in(&self.dataset(), options, &mut RecordingObserver::default())
    }

    fn run_in(&self, dataset: &Dataset, options: &RunOptions, told: &mut RecordingObserver) -> Result<Ran, IndexError> {
        let mut indexer = self.indexer();
        let outcome = run(dataset, &info(), &mut indexer, options, told)?;
        let stats = outcome.stats;
        let sum = stats.updated + stats.skipped_fresh + stats.skipped_zero_rows + stats.failed + stats.not_run;
        assert_eq!(sum, stats.total_images, "{stats:?}");
        Ok(Ran { outcome, extracted: indexer.extracted })
    }

    fn run(&self) -> Ran {
        self.run_with(&incremental()).unwrap()
    }

    fn status(&self) -> Vec<(String, Reason)> {
        let status = status(&self.dataset(), &info(), &mut self.indexer(), Compat::Kymhost, None).unwrap();
        status.images.into_iter().map(|image| (image.image_id, image.reason)).collect()
    }

    fn stale(&self) -> Vec<(String, Reason)> {
        self.status().into_iter().filter(|(_, reason)| reason.is_stale()).collect()
    }

    /// Image and `x` of each row, as texts.
    fn table(&self) -> Vec<String> {
        let Some(table) = self.dataset().read_table("kym_stalls", None).unwrap() else { return vec![] };
        let ids = provenance::TextColumn::of(&table, "image_id").unwrap();
        let x = table.column_by_name("x").unwrap();
        let value = |row| arrow::util::display::array_value_to_string(x, row).unwrap();
        (0..table.num_rows()).map(|row| format!("{} {}", ids.get(row).unwrap(), value(row))).collect()
    }

    fn sorted_table(&self) -> Vec<String> {
        let mut table = self.table();
        table.sort();
        table
    }

    /// What the table's metadata says in our name.
    fn said_by_table(&self) -> Vec<(String, String)> {
        let file = fs::File::open(self.table_path()).unwrap();
        let reader = parquet::file::reader::SerializedFileReader::new(file).unwrap();
        let pairs = parquet::file::reader::FileReader::metadata(&reader).file_metadata().key_value_metadata().cloned();
        let ours = pairs.into_iter().flatten().filter(|pair| pair.key.starts_with("kymhost"));
        ours.map(|pair| (pair.key, pair.value.unwrap())).collect()
    }

    fn seal(&self) -> Option<Seal> {
        ledger::read_seal(&self.dataset(), &self.name).unwrap()
    }

    fn intent(&self) -> Option<Intent> {
        ledger::read_intent(&self.dataset(), &self.name).unwrap()
    }

    fn failures(&self) -> Vec<(String, String)> {
        let failures = ledger::read_failures(&self.dataset(), &self.name).unwrap();
        failures.into_iter().map(|(id, failure)| (id, failure.kind)).collect()
    }

    /// The seal is the table's.
    fn is_sealed(&self) -> bool {
        self.seal().map(|seal| seal.table) == rewrite::identity(&self.dataset(), &self.name).unwrap()
    }

    /// Every file with its bytes and time.
    fn files(&self) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let time = fs::metadata(&path).unwrap().modified().unwrap();
                if path.is_dir() {
                    walk(&path, found);
                    found.insert(path, (vec![], time));
                } else {
                    found.insert(path.clone(), (fs::read(&path).unwrap(), time));
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.path, &mut found);
        found
    }

    fn alter_table(&self, change: impl Fn(&str, i64) -> Option<i64>) {
        alter(&self.path, change);
    }
}

/// Gives the table other values of `x`, or fewer rows, as another program may.
fn alter(path: &Path, change: impl Fn(&str, i64) -> Option<i64>) {
    let dataset = Dataset::open(path).unwrap();
    let table = dataset.read_table("kym_stalls", None).unwrap().unwrap();
    let ids = provenance::TextColumn::of(&table, "image_id").unwrap();
    let x = table.column_by_name("x").unwrap().as_primitive::<Int64Type>();
    let new: Vec<Option<i64>> = (0..table.num_rows()).map(|row| change(ids.get(row).unwrap(), x.value(row))).collect();
    let columns = table
        .schema()
        .fields()
        .iter()
        .zip(table.columns())
        .map(|(field, column)| {
            let new = Arc::new(Int64Array::from_iter_values(new.iter().map(|x| x.unwrap_or(0)))) as ArrayRef;
            (field.name().clone(), if field.name() == "x" { new } else { Arc::clone(column) }, true)
        })
        .collect::<Vec<_>>();
    let altered = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let stays = arrow::array::BooleanArray::from(new.iter().map(Option::is_some).collect::<Vec<_>>());
    let altered = arrow::compute::filter_record_batch(&altered, &stays).unwrap();
    dataset.write_table("kym_stalls", &altered).unwrap();
}

fn info() -> IndexerInfo {
    IndexerInfo {
        name: "stalls".into(),
        analysis_version: "v".into(),
        marker_name: "stalls_run".into(),
        params_artifacts: vec!["params".into()],
        ..IndexerInfo::default()
    }
}

fn incremental() -> RunOptions {
    RunOptions::new(Mode::Incremental)
}

fn replace() -> RunOptions {
    RunOptions::new(Mode::Replace)
}

fn only(ids: &[&str]) -> Selection {
    Selection { images: Some(ids.iter().map(|id| (*id).to_owned()).collect()), ..Selection::default() }
}

fn of(reasons: &[(&str, Reason)]) -> Vec<(String, Reason)> {
    reasons.iter().map(|(id, reason)| ((*id).to_owned(), *reason)).collect()
}

#[test]
fn run_processes_each_edit() {
    type Edit = fn(&Lab);
    type Case = (&'static str, Edit, &'static [(&'static str, Reason)], &'static str, &'static [&'static str]);
    // (edit, stale, extracted, table afterwards)
    let cases: Vec<Case> = vec![
        ("nothing", |_| {}, &[], "", &["a 1", "b 2", "c 3"]),
        ("params", |lab| lab.params("b", "q"), &[("b", StaleParamsChanged)], "b", &["a 1", "c 3", "b 2"]),
        ("an input", |lab| lab.rows("a", "[7, 8]"), &[("a", StaleInputChanged)], "a", &["b 2", "c 3", "a 7", "a 8"]),
        ("an input, the same", |lab| lab.rows("a", "[1]"), &[], "", &["a 1", "b 2", "c 3"]),
        ("no rows", |lab| lab.rows("a", "[]"), &[("a", StaleInputChanged)], "a", &["b 2", "c 3"]),
        (
            "a new image",
            |lab| lab.image("bb", "[9]"),
            &[("bb", StaleMissingMarker)],
            "bb",
            &["a 1", "b 2", "c 3", "bb 9"],
        ),
        ("an image gone", |lab| lab.delete("b"), &[], "", &["a 1", "c 3"]),
        (
            "a marker gone",
            |lab| fs::remove_file(lab.marker_path("c")).unwrap(),
            &[("c", StaleNoReceipt)],
            "c",
            &["a 1", "b 2", "c 3"],
        ),
        (
            "rows altered",
            |lab| lab.alter_table(|id, x| Some(if id == "a" { x + 1 } else { x })),
            &[("a", StaleRowsChanged)],
            "a",
            &["b 2", "c 3", "a 1"],
        ),
        (
            "rows lost",
            |lab| lab.alter_table(|id, x| (id != "b").then_some(x)),
            &[("b", StaleMarkerTableMismatch)],
            "b",
            &["a 1", "c 3", "b 2"],
        ),
        ("rewritten with the same values", |lab| lab.alter_table(|_, x| Some(x)), &[], "", &["a 1", "b 2", "c 3"]),
        (
            "no table",
            |lab| fs::remove_file(lab.table_path()).unwrap(),
            &[("a", StaleMarkerTableMismatch), ("b", StaleMarkerTableMismatch), ("c", StaleMarkerTableMismatch)],
            "abc",
            &["a 1", "b 2", "c 3"],
        ),
        (
            "a left intent",
            |lab| ledger::write_intent(&lab.dataset(), &lab.name, &ledger::without_artifacts(["b", "gone"])).unwrap(),
            &[("b", StaleInterrupted)],
            "b",
            &["a 1", "c 3", "b 2"],
        ),
        (
            "a torn intent",
            |lab| lab.put("index/kymhost/intents/kym_stalls.json", "{\"format\""),
            &[("a", StaleInterrupted), ("b", StaleInterrupted), ("c", StaleInterrupted)],
            "abc",
            &["a 1", "b 2", "c 3"],
        ),
        ("a torn seal", |lab| lab.put("index/kymhost/seals/kym_stalls.json", "{"), &[], "", &["a 1", "b 2", "c 3"]),
        (
            "no ledger",
            |lab| fs::remove_dir_all(lab.path.join("index/kymhost")).unwrap(),
            &[],
            "",
            &["a 1", "b 2", "c 3"],
        ),
    ];
    for (case, edit, stale, extracted, table) in cases {
        let lab = Lab::of("abc");
        let first = lab.run();
        assert_eq!(first.outcome.stats.updated, 3, "{case}");
        assert_eq!((lab.stale(), lab.is_sealed(), lab.intent()), (vec![], true, None), "{case}");
        let said = [("indexer", "stalls"), ("analysis_version", "v"), ("library_sha256", &"0".repeat(64))];
        assert_eq!(
            lab.said_by_table(),
            said.map(|(key, value)| (format!("kymhost.{key}"), value.to_owned())),
            "{case}"
        );

        edit(&lab);
        assert_eq!(lab.stale(), of(stale), "{case}");
        let before = lab.files();
        let preview = dry_run(&lab.dataset(), &info(), &mut lab.indexer(), &incremental()).unwrap();
        assert_eq!(preview.would_update.concat(), extracted, "{case}");
        assert_eq!(before, lab.files(), "{case}: looking writes nothing");

        let ran = lab.run();
        assert_eq!(ran.extracted.concat(), extracted, "{case}");
        assert_eq!(
            ran.outcome.stats.updated,
            extracted.len() as u64 / if case == "a new image" { 2 } else { 1 },
            "{case}"
        );
        assert_eq!(lab.table(), table, "{case}");
        assert_eq!(lab.stale(), vec![], "{case}");
        assert_eq!((lab.is_sealed(), lab.intent(), lab.failures()), (true, None, vec![]), "{case}");
        for id in lab.dataset().image_ids().unwrap() {
            let marker = lab.marker(&id).unwrap();
            let rows = lab.table().iter().filter(|row| row.starts_with(&format!("{id} "))).count() as u64;
            assert_eq!(marker.marker.n_rows, rows, "{case}: {id}");
            let receipt = marker.receipt.unwrap();
            assert_eq!(receipt.library_sha256, "0".repeat(64), "{case}");
            assert_eq!(receipt.inputs.rows.unwrap()[0].key, "analysis/rows.json", "{case}");
        }

        // Then there is nothing to do: nothing is asked, extracted or written.
        let before = lab.files();
        let mut indexer = lab.indexer();
        let outcome =
            run(&lab.dataset(), &info(), &mut indexer, &incremental(), &mut RecordingObserver::default()).unwrap();
        assert_eq!(
            (outcome.stats.updated, outcome.commits, outcome.freshened, indexer.asked.len()),
            (0, 0, 0, 0),
            "{case}"
        );
        assert_eq!(before, lab.files(), "{case}");
    }
}

#[test]
fn file_with_new_times_read_once() {
    let lab = Lab::of("ab");
    lab.run();
    lab.rows("a", "[1]");
    let ran = lab.run();
    assert_eq!((ran.outcome.freshened, ran.outcome.commits, ran.extracted.len()), (1, 0, 0));
    assert_eq!(lab.run().outcome.freshened, 0);
    // Another run holds the table: it is not waited for.
    lab.rows("a", "[1]");
    let guard = lab.dataset().store().lock(&lab.name.lock_key().unwrap(), "").unwrap().unwrap();
    assert_eq!(lab.run().outcome.freshened, 0);
    drop(guard);
    assert_eq!(lab.run().outcome.freshened, 1);
    // An image that is extracted needs no freshening.
    lab.rows("a", "[1]");
    lab.rows("b", "[5]");
    let ran =
        lab.run_with(&RunOptions { selection: Selection { force: true, ..Selection::default() }, ..incremental() });
    assert_eq!((ran.unwrap().outcome.freshened, lab.table()), (0, vec!["a 1".to_owned(), "b 5".into()]));
}

#[test]
fn digests_computed_once_after_foreign_write() {
    let lab = Lab::of("abc");
    lab.run();
    lab.alter_table(|id, x| Some(if id == "c" { 30 } else { x }));
    assert!(!lab.is_sealed());
    // A run that does not do the altered image keeps in mind which it is.
    let ran = lab.run_with(&RunOptions { selection: only(&["a"]), ..incremental() }).unwrap();
    assert_eq!((ran.extracted.len(), ran.outcome.stats.total_images), (0, 1));
    assert!(lab.is_sealed());
    assert_eq!(lab.seal().unwrap().altered, BTreeSet::from(["c".to_owned()]));
    assert_eq!(lab.stale(), of(&[("c", StaleRowsChanged)]));
    // Also when it commits.
    lab.rows("a", "[4]");
    lab.run_with(&RunOptions { selection: only(&["a"]), ..incremental() }).unwrap();
    assert_eq!(lab.seal().unwrap().altered, BTreeSet::from(["c".to_owned()]));
    assert_eq!(lab.run().extracted, ["c"]);
    assert_eq!(lab.seal().unwrap().altered, BTreeSet::new());
    assert_eq!(lab.table(), ["b 2", "a 4", "c 3"]);
}

#[test]
fn selection_and_force() {
    let reasons = |reasons: &[Reason]| Selection { reasons: reasons.iter().copied().collect(), ..Selection::default() };
    let force = |selection: Selection| Selection { force: true, ..selection };
    // a: fresh, b: params changed, c: input changed, d: fresh without rows, e: new
    // (selection, mode, extracted, total, skipped fresh, skipped zero rows)
    let cases = [
        (Selection::default(), Mode::Incremental, "bce", 5, 1, 1),
        (Selection::default(), Mode::Replace, "abcde", 5, 0, 0),
        (only(&["a", "b"]), Mode::Incremental, "b", 2, 1, 0),
        (only(&["a", "b"]), Mode::Replace, "ab", 2, 0, 0),
        (force(only(&["a", "d"])), Mode::Incremental, "ad", 2, 0, 0),
        (force(Selection::default()), Mode::Incremental, "abcde", 5, 0, 0),
        (only(&[]), Mode::Incremental, "", 0, 0, 0),
        (reasons(&[StaleInputChanged, StaleMissingMarker]), Mode::Incremental, "ce", 2, 0, 0),
        (reasons(&[FreshRows]), Mode::Incremental, "", 1, 1, 0),
        (force(reasons(&[FreshRows])), Mode::Incremental, "a", 1, 0, 0),
        (reasons(&[StaleParamsChanged]), Mode::Replace, "b", 1, 0, 0),
        (reasons(&[StaleUnknown]), Mode::Incremental, "", 0, 0, 0),
    ];
    for (selection, mode, extracted, total, fresh, zero) in cases {
        let lab = Lab::of("abcd");
        lab.rows("d", "[]");
        lab.run();
        lab.params("b", "q");
        lab.rows("c", "[33]");
        lab.image("e", "[5]");
        let options = RunOptions { selection: selection.clone(), ..RunOptions::new(mode) };
        let preview = dry_run(&lab.dataset(), &info(), &mut lab.indexer(), &options).unwrap();
        assert_eq!(preview.would_update.concat(), extracted, "{selection:?}");
        let mut told = RecordingObserver::default();
        let ran = lab.run_in(&lab.dataset(), &options, &mut told).unwrap();
        assert_eq!(ran.extracted.concat(), extracted, "{selection:?}");
        let stats = ran.outcome.stats;
        assert_eq!((stats.total_images, stats.skipped_fresh, stats.skipped_zero_rows), (total, fresh, zero));
        assert_eq!(ran.outcome.decisions.len(), 5);
        assert_eq!(told.planned, [(extracted.len(), total as usize)]);
    }
    let lab = Lab::of("a");
    let mut indexer = lab.indexer();
    let before = lab.files();
    let options = RunOptions { selection: only(&["a", "nobody"]), ..incremental() };
    let error = run(&lab.dataset(), &info(), &mut indexer, &options, &mut RecordingObserver::default()).unwrap_err();
    assert!(matches!(&error, IndexError::UnknownImages(ids) if ids == &["nobody"]), "{error}");
    assert_eq!((indexer.asked.len(), before), (0, lab.files()), "before anything else");
}

#[test]
fn failed_image_recorded_and_retried() {
    let lab = Lab::of("abc");
    lab.run();
    lab.params("a", "q");
    lab.rows("a", "{}");
    lab.put("images/b/analysis/params.json", "{");
    let ran = lab.run();
    assert_eq!((ran.extracted.concat(), ran.outcome.stats.failed), ("a".to_owned(), 2));
    assert_eq!(lab.failures(), [("a".into(), "error".into()), ("b".into(), "unreadable".to_owned())]);
    assert_eq!(lab.table(), ["a 1", "b 2", "c 3"], "last good rows stay");
    assert_eq!(lab.stale(), of(&[("a", StaleLastRunFailed), ("b", StaleUnreadable)]));
    let past = ledger::read_failures(&lab.dataset(), &lab.name).unwrap();
    assert_eq!(
        (past["a"].library_sha256.as_str(), past["a"].message.as_str()),
        (&*"0".repeat(64), "it was told to fail")
    );

    // Tried again, and failed again: what is known of it is of now. What was not tried has nothing new to tell.
    let again = lab.run();
    assert_eq!(again.extracted.concat(), "a");
    let now = ledger::read_failures(&lab.dataset(), &lab.name).unwrap();
    assert!(now["a"].utc_epoch_ns > past["a"].utc_epoch_ns);
    assert_eq!(now["b"], past["b"]);

    // One is mended, one is gone. The rows did not change, but it is only sure once it is done.
    lab.params("a", "p");
    lab.rows("a", "[1]");
    lab.delete("b");
    assert_eq!(lab.stale(), of(&[("a", StaleLastRunFailed)]));
    let ran = lab.run();
    assert_eq!((ran.extracted.concat(), lab.failures(), lab.stale()), ("a".to_owned(), vec![], vec![]));
    assert!(!lab.path.join("index/kymhost/failures/kym_stalls.json").exists());

    // Only what cannot be tried: remembered once, then nothing is written.
    lab.put("images/c/analysis/params.json", "{");
    assert_eq!(lab.run().outcome.stats.failed, 1);
    let before = lab.files();
    assert_eq!(lab.run().outcome.stats.failed, 1);
    assert_eq!(before, lab.files());
}

#[test]
fn run_stops_at_max_failures() {
    for (most, updated, failed, not_run) in
        [(None, 3, 3, 0), (Some(1), 1, 1, 4), (Some(2), 1, 2, 3), (Some(4), 3, 3, 0)]
    {
        let lab = Lab::new(&[("a", "[1]"), ("b", "{}"), ("c", "{}"), ("d", "[4]"), ("e", "{}"), ("f", "[6]")]);
        let ran = lab.run_with(&RunOptions { max_failures: most, ..incremental() }).unwrap();
        let stats = ran.outcome.stats;
        assert_eq!((stats.updated, stats.failed, stats.not_run), (updated, failed, not_run), "{most:?}");
        assert_eq!(ran.outcome.stopped_by_failures, not_run > 0, "{most:?}");
        assert_eq!(lab.table().len() as u64, updated, "what was done is committed");
        assert_eq!(lab.failures().len() as u64, failed);
        // The next goes on.
        for id in ["b", "c", "e"] {
            lab.rows(id, "[0]");
        }
        assert_eq!(lab.run().outcome.stats.updated, 6 - updated);
    }
}

#[test]
fn rows_of_deleted_images_removed() {
    let keep = RunOptions { orphans: Orphans::Keep, ..incremental() };
    let one = RunOptions { selection: only(&["a"]), ..incremental() };
    let kymflow = RunOptions { compat: Compat::Kymflow, ..incremental() };
    let stale = Selection { reasons: BTreeSet::from([StaleUnknown]), ..Selection::default() };
    let cases = [
        ("by default", incremental(), 1),
        ("replacing", replace(), 1),
        ("by reason", RunOptions { selection: stale, ..incremental() }, 1),
        ("kept", keep, 0),
        ("an image", one, 0),
        ("as kymflow", kymflow, 0),
    ];
    for (case, options, pruned) in cases {
        let lab = Lab::of("abc");
        lab.run();
        lab.delete("b");
        let preview = dry_run(&lab.dataset(), &info(), &mut lab.indexer(), &options).unwrap();
        assert_eq!(preview.would_prune.len() as u64, pruned, "{case}");
        let outcome = lab.run_with(&options).unwrap().outcome;
        assert_eq!(outcome.pruned_images, pruned, "{case}");
        assert_eq!(lab.table().contains(&"b 2".to_owned()), pruned == 0, "{case}");
        assert_eq!(lab.stale(), vec![], "{case}");
        assert!(lab.is_sealed(), "{case}");
        // It is back: it was never there.
        lab.image("b", "[2]");
        assert_eq!(lab.stale(), of(&[("b", if pruned == 1 { StaleMissingMarker } else { StaleNoReceipt })]), "{case}");
    }
}

#[test]
fn mass_removal_refused() {
    let lab = Lab::new(&[]);
    for at in 0..40 {
        lab.image(&format!("i{at:02}"), &format!("[{at}]"));
    }
    lab.run();
    for at in 0..11 {
        lab.delete(&format!("i{at:02}"));
    }
    lab.params("i30", "q");
    let refused = |options: &RunOptions| {
        let before = lab.files();
        let mut indexer = lab.indexer();
        let error = run(&lab.dataset(), &info(), &mut indexer, options, &mut RecordingObserver::default()).unwrap_err();
        assert!(matches!(&error, IndexError::MassRemoval(_)), "{error}");
        assert_eq!((before, indexer.extracted.len()), (lab.files(), 0));
        let preview = dry_run(&lab.dataset(), &info(), &mut indexer, options).unwrap();
        assert!(error.to_string().contains(&preview.refusal.unwrap().to_string()));
        error.to_string()
    };
    let text = refused(&incremental());
    assert!(text.contains("11 of the 40 recordings"), "{text}");
    refused(&replace());
    // What removes nothing is not refused.
    assert_eq!(lab.run_with(&RunOptions { selection: only(&["i30"]), ..incremental() }).unwrap().extracted, ["i30"]);
    lab.run_with(&RunOptions { orphans: Orphans::Keep, ..incremental() }).unwrap();
    assert_eq!(lab.table().len(), 40);
    let yes = RunOptions { allow_mass_removal: true, ..incremental() };
    assert_eq!(lab.run_with(&yes).unwrap().outcome.pruned_images, 11);
    assert_eq!((lab.table().len(), lab.is_sealed()), (29, true));

    // No image remains, though they are few.
    let lab = Lab::of("ab");
    lab.run();
    lab.delete("a");
    lab.delete("b");
    let error = lab.run_with(&replace()).unwrap_err().to_string();
    assert!(error.contains("has no recordings"), "{error}");
    assert_eq!(lab.run_with(&yes).unwrap().outcome.pruned_images, 2);
    assert_eq!(lab.table(), [""; 0]);
    assert_eq!(lab.run().outcome.commits, 0);
}

#[test]
fn long_run_commits_several_times() {
    // (options, commits)
    let always = RunOptions { max_held_bytes: 1, ..incremental() };
    let timed = RunOptions { checkpoint_interval: Duration::ZERO, ..incremental() };
    for (options, least, most) in [(always, 6, 6), (timed, 2, 6), (incremental(), 1, 1)] {
        let lab = Lab::of("abcdef");
        let mut told = RecordingObserver::default();
        let outcome = lab.run_in(&lab.dataset(), &options, &mut told).unwrap().outcome;
        assert!((least..=most).contains(&outcome.commits), "{}", outcome.commits);
        assert_eq!(told.committing as u64, outcome.commits);
        assert_eq!(lab.table(), ["a 1", "b 2", "c 3", "d 4", "e 5", "f 6"]);
        assert_eq!((lab.stale(), lab.is_sealed(), lab.intent()), (vec![], true, None));
    }

    // Interrupted: what is done is committed, a prefix.
    for stop_after in 1..=6 {
        let lab = Lab::of("abcdef");
        let mut told = RecordingObserver { stop_after: Some(stop_after), ..RecordingObserver::default() };
        let outcome = lab.run_in(&lab.dataset(), &incremental(), &mut told).unwrap().outcome;
        assert_eq!((outcome.stats.updated, outcome.stats.not_run), (stop_after as u64, 6 - stop_after as u64));
        let table = ["a 1", "b 2", "c 3", "d 4", "e 5", "f 6"];
        assert_eq!(lab.table(), &table[..stop_after]);
        assert_eq!(lab.stale().len(), 6 - stop_after);
    }
}

#[test]
fn lost_workforce_commits_finished_images() {
    let lab = Lab::of("abc");
    let mut indexer = lab.indexer();
    indexer.gives_up_at = Some(("rows", "c"));
    let error =
        run(&lab.dataset(), &info(), &mut indexer, &incremental(), &mut RecordingObserver::default()).unwrap_err();
    assert!(matches!(error, IndexError::Plugin(_)), "{error}");
    assert_eq!((lab.table(), lab.is_sealed()), (vec!["a 1".to_owned(), "b 2".into()], true));
    assert_eq!(lab.run().extracted, ["c"]);
}

#[test]
fn image_deleted_during_run_is_not_recorded_as_failure() {
    let lab = Lab::of("ab");
    lab.run();
    lab.rows("a", "[10]");
    lab.rows("b", "[20]");
    let mut indexer = lab.indexer();
    let images = [lab.path.join("images/a"), lab.path.join("images/b")];
    indexer.on_rows = Some(Box::new(move || {
        fs::remove_file(images[0].join(".zgroup")).unwrap();
        // No marker is written through a link.
        fs::rename(images[1].join("analysis"), images[1].join("real")).unwrap();
        std::os::unix::fs::symlink("real", images[1].join("analysis")).unwrap();
    }));
    let outcome =
        run(&lab.dataset(), &info(), &mut indexer, &incremental(), &mut RecordingObserver::default()).unwrap();
    assert_eq!(outcome.failures.len(), 2);
    assert_eq!(lab.table(), ["a 1", "b 2"]);
    assert_eq!(lab.failures(), [("b".to_owned(), "unreadable".to_owned())]);
    assert_eq!(lab.intent(), None);
}

#[test]
fn replace_makes_unreadable_table_again() {
    type Harm = fn(&[u8]) -> Vec<u8>;
    let harms: [(&str, Harm); 3] = [
        ("cut", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("empty", |_| vec![]),
        ("another file", |_| b"no table".to_vec()),
    ];
    for (case, harm) in harms {
        let lab = Lab::of("abc");
        lab.run();
        let broken = harm(&fs::read(lab.table_path()).unwrap());
        fs::write(lab.table_path(), &broken).unwrap();
        let before = lab.files();
        for options in [incremental(), RunOptions { selection: only(&["a"]), ..replace() }] {
            let error = lab.run_with(&options).unwrap_err();
            assert!(error.is_broken_table(), "{case}: {error}");
            let text = error.to_string();
            assert!(text.contains("kym_stalls.parquet"), "{case}: {text}");
        }
        assert_eq!(before, lab.files(), "{case}");
        let preview = dry_run(&lab.dataset(), &info(), &mut lab.indexer(), &replace()).unwrap();
        assert_eq!(preview.would_update.concat(), "abc", "{case}");

        // While no image can be done, it stays.
        for id in ["a", "b", "c"] {
            lab.rows(id, "{}");
        }
        assert_eq!(lab.run_with(&replace()).unwrap().outcome.stats.failed, 3, "{case}");
        assert_eq!(fs::read(lab.table_path()).unwrap(), broken, "{case}");
        lab.rows("a", "[1]");
        lab.rows("c", "[3]");
        let outcome = lab.run_with(&replace()).unwrap().outcome;
        assert_eq!((outcome.stats.updated, outcome.stats.failed), (2, 1), "{case}");
        assert_eq!(lab.table(), ["a 1", "c 3"], "{case}");
        let aside: Vec<_> =
            fs::read_dir(lab.path.join("index/kymhost/aside")).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(aside.len(), 1, "{case}");
        assert_eq!(fs::read(&aside[0]).unwrap(), broken, "{case}");
        assert!(lab.is_sealed(), "{case}");
        assert_eq!(lab.stale(), of(&[("b", StaleLastRunFailed)]), "{case}");
    }
    // Without an image there is nothing to make it from.
    let lab = Lab::of("");
    lab.put("tables/kym_stalls.parquet", "no table");
    assert!(lab.run_with(&replace()).unwrap_err().is_broken_table());
}

#[test]
fn column_type_changes() {
    // A wider type: done and said.
    let lab = Lab::of("ab");
    lab.run();
    lab.rows("b", "[2.5]");
    let outcome = lab.run().outcome;
    assert_eq!(lab.table(), ["a 1.0", "b 2.5"]);
    assert_eq!(outcome.widened.iter().map(|w| w.column.as_str()).collect::<Vec<_>>(), ["x"]);
    assert_eq!((lab.stale(), lab.run().outcome.commits), (vec![], 0));

    // One that cannot be reconciled.
    let changed = || {
        let lab = Lab::of("abc");
        lab.run();
        lab.rows("b", r#"["two"]"#);
        lab
    };
    let lab = changed();
    let outcome = lab.run().outcome;
    assert_eq!((outcome.failures.len(), outcome.recomputed), (1, false));
    let ImageFailure { image_id, failure } = &outcome.failures[0];
    assert_eq!((image_id.as_str(), failure.kind), ("b", FailureKind::BadTable));
    for part in ["'x'", "Int64", "Utf8"] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    assert_eq!(lab.table(), ["a 1", "b 2", "c 3"]);
    assert_eq!(lab.failures(), [("b".to_owned(), "bad_table".to_owned())]);
    assert_eq!((lab.stale(), lab.intent()), (of(&[("b", StaleLastRunFailed)]), None));

    let recompute = RunOptions { on_schema_change: OnSchemaChange::Recompute, ..incremental() };
    // Still not all alike: the one that differs fails, and keeps its last good rows.
    let outcome = lab.run_with(&recompute).unwrap().outcome;
    assert_eq!((outcome.recomputed, outcome.stats.updated, outcome.stats.failed), (true, 2, 1));
    assert_eq!(lab.sorted_table(), ["a 1", "b 2", "c 3"]);
    assert_eq!(lab.stale(), of(&[("b", StaleLastRunFailed)]));
    // All of the new type.
    for options in [recompute.clone(), RunOptions { max_held_bytes: 1, ..recompute.clone() }] {
        let lab = changed();
        lab.delete("c");
        lab.rows("a", "[\"one\"]");
        lab.image("d", "[\"four\"]");
        let outcome = lab.run_with(&options).unwrap().outcome;
        assert_eq!((outcome.stats.updated, outcome.stats.failed, outcome.pruned_images), (3, 0, 1));
        assert_eq!(lab.table(), ["a one", "b two", "d four"]);
        assert_eq!((lab.stale(), lab.failures(), lab.is_sealed(), lab.intent()), (vec![], vec![], true, None));
    }
    // Many, each with old rows of the old type; one has none now, and one cannot be done: it keeps its last good rows, which
    // the others then do not go with. No row is lost.
    let lab = Lab::of("abcdefgh");
    lab.run();
    for id in ["a", "b", "c", "d", "e", "f"] {
        lab.rows(id, &format!("[\"{id}\", \"{id}{id}\"]"));
    }
    lab.rows("g", "[]");
    lab.rows("h", "{}");
    let outcome = lab.run_with(&recompute).unwrap().outcome;
    assert_eq!((outcome.stats.updated, outcome.stats.failed), (1, 7));
    assert_eq!(lab.sorted_table(), ["a 1", "b 2", "c 3", "d 4", "e 5", "f 6", "h 8"]);
    assert_eq!(lab.stale().len(), 7);
    // Nor where memory has room for one image at a time.
    for failing in ["a", "d"] {
        let lab = Lab::of("abcdefgh");
        lab.run();
        for id in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            lab.rows(id, if id == failing { "{}" } else { "[\"new\", \"new\"]" });
        }
        let each = RunOptions { max_held_bytes: 1, ..recompute.clone() };
        let outcome = lab.run_with(&each).unwrap().outcome;
        let table = lab.sorted_table();
        if failing == "a" {
            assert_eq!((outcome.stats.updated, outcome.stats.failed), (0, 8));
            assert_eq!(table, ["a 1", "b 2", "c 3", "d 4", "e 5", "f 6", "g 7", "h 8"]);
        } else {
            // Its rows left with the first commit, before it was tried.
            assert_eq!((outcome.stats.updated, outcome.stats.failed), (7, 1));
            assert_eq!((table.len(), lab.stale().len()), (14, 1));
        }
    }
    // Once it can be done all fit.
    lab.rows("h", "[\"h\"]");
    let outcome = lab.run_with(&recompute).unwrap().outcome;
    assert_eq!((outcome.stats.updated, outcome.stats.failed), (7, 0));
    assert_eq!((lab.table().len(), lab.stale()), (13, vec![]));
    // Even where only one image was asked for.
    let lab = changed();
    lab.rows("a", "[\"one\"]");
    lab.rows("c", "[\"three\"]");
    let ran = lab.run_with(&RunOptions { selection: only(&["b"]), ..recompute.clone() }).unwrap();
    assert_eq!(ran.extracted.concat(), "babc");
    assert_eq!((ran.outcome.recomputed, ran.outcome.stats.total_images, ran.outcome.stats.updated), (true, 3, 3));
    assert_eq!(lab.table(), ["a one", "b two", "c three"]);

    // Interrupted while all is made anew: the old table stays.
    let lab = changed();
    let mut told = RecordingObserver { stop_after: Some(3), ..RecordingObserver::default() };
    let outcome = lab.run_in(&lab.dataset(), &recompute, &mut told).unwrap().outcome;
    assert_eq!((outcome.recomputed, outcome.stats.updated), (false, 0));
    assert_eq!(lab.table(), ["a 1", "b 2", "c 3"]);
}

/// Runs that die after each number of changes; after each, `status` tells the truth and the next run comes right.
fn killed_at_every_change(begin: &dyn Fn() -> Lab, options: &RunOptions, expected: &[&str]) {
    let mut left = 0;
    loop {
        let mut lab = begin();
        lab.is_quick = true;
        let old = lab.sorted_table_or_broken();
        let (dataset, _) = FailingStore::dataset(&lab.path, Some(left));
        let ended = lab.run_in(&dataset, options, &mut RecordingObserver::default()).is_ok();

        let table = lab.sorted_table_or_broken();
        let of_image = |table: &Option<Vec<String>>, id: &str| -> Option<Vec<String>> {
            let table = table.as_ref()?;
            Some(table.iter().filter(|row| row.starts_with(&format!("{id} "))).cloned().collect())
        };
        let expected_table = Some(expected.iter().map(|row| (*row).to_owned()).collect());
        if table.is_some() {
            for (id, reason) in lab.status() {
                let rows = of_image(&table, &id);
                let new = of_image(&expected_table, &id);
                let aside = lab.path.join("index/kymhost/aside").exists() && rows == Some(vec![]);
                assert!(rows == new || rows == of_image(&old, &id) || aside, "{left}: {id} {rows:?}");
                assert!(reason.is_stale() || rows == new, "{left}: {id} is {reason} with {rows:?}");
            }
        }
        let next = lab.run_with(options).unwrap_or_else(|error| panic!("{left}: {error}"));
        assert_eq!(next.outcome.stats.failed, 0, "{left}");
        assert_eq!(lab.sorted_table(), expected, "{left}");
        assert_eq!((lab.stale(), lab.intent(), lab.failures()), (vec![], None, vec![]), "{left}");
        assert!(lab.is_sealed(), "{left}");
        if ended {
            assert!(left > 4, "nothing was ever cut short");
            break;
        }
        left += 1;
    }
}

impl Lab {
    fn sorted_table_or_broken(&self) -> Option<Vec<String>> {
        self.dataset().read_table("kym_stalls", None).ok()?;
        Some(self.sorted_table())
    }
}

#[test]
fn next_run_repairs_killed_run() {
    let edited = || {
        let lab = Lab::of("abcd");
        lab.run();
        lab.rows("a", "[10, 11]");
        lab.params("b", "q");
        lab.rows("c", "[]");
        lab.delete("d");
        lab.image("e", "[5]");
        lab
    };
    let table = ["a 10", "a 11", "b 2", "e 5"];
    killed_at_every_change(&edited, &incremental(), &table);
    killed_at_every_change(&edited, &RunOptions { max_held_bytes: 1, ..incremental() }, &table);
    killed_at_every_change(&edited, &replace(), &table);
    let broken = || {
        let lab = edited();
        fs::write(lab.table_path(), "no table").unwrap();
        lab
    };
    killed_at_every_change(&broken, &replace(), &table);
    let another_type = || {
        let lab = edited();
        for id in ["a", "b", "c", "e"] {
            lab.rows(id, &format!("[\"{id}\"]"));
        }
        lab
    };
    let recompute = RunOptions { on_schema_change: OnSchemaChange::Recompute, ..incremental() };
    killed_at_every_change(&another_type, &recompute, &["a a", "b b", "c c", "e e"]);
    let failed = || {
        let lab = edited();
        lab.rows("b", "{}");
        lab.run();
        lab.rows("b", "[2]");
        lab.rows("a", "[1]");
        lab
    };
    killed_at_every_change(&failed, &incremental(), &["a 1", "b 2", "e 5"]);
}

#[test]
fn run_keeps_and_checks_rows_python_wrote_in_between() {
    // Python gives another image other rows, before our first or second replacement of the table.
    for times in 1..=2 {
        let lab = Lab::of("abc");
        lab.run();
        lab.rows("a", "[10]");
        let (dataset, store) = FailingStore::dataset(&lab.path, None);
        for count in 0..times {
            let path = lab.path.clone();
            store.before_replace.lock().unwrap().push(Box::new(move || {
                alter(&path, |id, x| Some(if id == "b" { 20 + count } else { x }));
            }));
        }
        let outcome = lab.run_in(&dataset, &incremental(), &mut RecordingObserver::default()).unwrap().outcome;
        assert_eq!((outcome.stats.updated, outcome.commits), (1, 1));
        assert_eq!(lab.table(), ["b 20", "c 3", "a 10"]);
        assert_eq!(lab.seal(), None, "nobody has compared Python's rows with the markers");
        assert_eq!(lab.stale(), of(&[("b", StaleRowsChanged)]));
        assert_eq!(lab.run().extracted, ["b"]);
        assert_eq!((lab.table(), lab.is_sealed()), (vec!["c 3".to_owned(), "a 10".into(), "b 2".into()], true));
    }
    // Too often: nothing was written, and nothing counts as interrupted.
    let lab = Lab::of("ab");
    lab.run();
    lab.rows("a", "[10]");
    let (dataset, store) = FailingStore::dataset(&lab.path, None);
    for count in 0..5 {
        let path = lab.path.clone();
        store
            .before_replace
            .lock()
            .unwrap()
            .push(Box::new(move || alter(&path, |id, x| Some(if id == "b" { 20 + count } else { x }))));
    }
    let error = lab.run_in(&dataset, &incremental(), &mut RecordingObserver::default()).unwrap_err();
    assert!(error.to_string().contains("5 tries"), "{error}");
    assert_eq!((lab.table(), lab.intent()), (vec!["a 1".to_owned(), "b 20".into()], None));
    assert_eq!(lab.stale(), of(&[("a", StaleInputChanged), ("b", StaleRowsChanged)]));
}

#[test]
fn run_replans_if_table_changed_before_lock() {
    /// Waits for the lock, and meanwhile the other run ends.
    struct Other<'a>(&'a Lab, Option<LockGuard>);
    impl Observer for Other<'_> {
        fn waiting(&mut self, _: &Holder) {
            self.1.take();
            let ran = self.0.run();
            assert_eq!(ran.extracted, ["a"]);
        }
    }
    let lab = Lab::of("ab");
    lab.run();
    lab.rows("a", "[10]");
    let guard = lab.dataset().store().lock(&lab.name.lock_key().unwrap(), "the other").unwrap();
    let mut indexer = lab.indexer();
    let options = RunOptions { wait: Duration::from_secs(60), ..incremental() };
    let outcome = run(&lab.dataset(), &info(), &mut indexer, &options, &mut Other(&lab, guard)).unwrap();
    assert_eq!((outcome.stats.skipped_fresh, indexer.extracted.len()), (2, 0), "it was done already");
}

#[test]
fn kymflow_rules_write_only_what_kymflow_writes() {
    let lab = Lab::of("abc");
    lab.rows("b", "{}");
    let kymflow = RunOptions { compat: Compat::Kymflow, ..incremental() };
    let outcome = lab.run_with(&kymflow).unwrap().outcome;
    assert_eq!((outcome.stats.updated, outcome.stats.failed), (2, 1));
    assert!(lab.marker("a").is_some_and(|marker| marker.receipt.is_none()));
    assert_eq!((lab.seal(), lab.intent(), lab.failures()), (None, None, vec![]));
    assert_eq!(lab.said_by_table(), []);
    let ours: Vec<_> = fs::read_dir(lab.path.join("index/kymhost")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(ours.iter().all(|name| ["locks", "tmp"].contains(&name.to_str().unwrap())), "{ours:?}");
    // Its markers are fresh by the old rules, and what an input holds goes unseen.
    lab.rows("a", "[10]");
    assert_eq!(lab.stale(), of(&[("b", StaleMissingMarker)]));
    // Ours left an intent and failures: they mean nothing to it.
    ledger::write_intent(&lab.dataset(), &lab.name, &ledger::without_artifacts(["a"])).unwrap();
    assert_eq!(lab.run_with(&kymflow).unwrap().extracted, ["b"]);
    assert_eq!(lab.intent(), Some(Intent::Images(ledger::without_artifacts(["a"]))));
}
