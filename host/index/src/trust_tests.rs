//! `verify` and `adopt` over small datasets, with an indexer that reads two artifacts of each image.

use crate::receipt::ReadMarker;
use crate::staleness::Reason;
use crate::testing::{FailingStore, FakeIndexer, FakeWorkforce, RecordingObserver};
use crate::*;
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use kymhost_dataset::{Dataset, Input};
use kymhost_plugin::{Failure, FailureKind, IndexerInfo, ParamsReading};
use kymhost_plugin_api::RunMarker;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const MARKER: &str = "stalls_run";
const TABLE: &str = "kym_stalls";

fn library(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// The params are what `params.json` says; the rows are the numbers of `values.json`, times a factor.
struct Reader {
    dataset: Dataset,
    factor: i64,
    /// Added to each number, and then one more at each extraction: no two agree.
    drift: Option<i64>,
    broken: BTreeSet<String>,
    /// Runs once, after the first image of an extraction was read.
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
}

impl FakeIndexer for Reader {
    fn params(&mut self, image_id: &str) -> Result<ParamsReading, Failure> {
        let record = self.dataset.find_record(image_id).unwrap().watched(MARKER);
        let text = record.json_bytes("stalls/params").unwrap().unwrap_or_default();
        let text = String::from_utf8(text).unwrap();
        if text == "broken" {
            return Err(Failure::new(FailureKind::Unreadable, "broken params".into()));
        }
        Ok(ParamsReading { hash: format!("h{text}"), value: Some(text), inputs: record.inputs().unwrap() })
    }
    fn rows(&mut self, image_id: &str) -> Result<(RecordBatch, Vec<Input>), Failure> {
        let record = self.dataset.find_record(image_id).unwrap().watched(MARKER);
        let values = record.json("stalls/values").unwrap().unwrap();
        let values = values.as_array().unwrap().iter().map(|value| value.as_i64().unwrap());
        let drift = self.drift.unwrap_or_default();
        let values = Int64Array::from(values.map(|value| value * self.factor + drift).collect::<Vec<_>>());
        self.drift = self.drift.map(|drift| drift + 1);
        let rows = RecordBatch::try_from_iter_with_nullable([("x", Arc::new(values) as _, true)]).unwrap();
        let inputs = record.inputs().unwrap();
        if let Some(work) = self.meanwhile.take() {
            work();
        }
        match self.broken.contains(image_id) {
            true => Err(Failure::new(FailureKind::Panic, "it fell".into())),
            false => Ok((rows, inputs)),
        }
    }
}

struct Lab {
    _folder: tempfile::TempDir,
    path: PathBuf,
    dataset: Dataset,
    reader: FakeWorkforce<Reader>,
    indexer: IndexerInfo,
}

impl Lab {
    /// Images with their numbers, and an incremental run done.
    fn new(images: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.zarr");
        let dataset = Dataset::create(&path).unwrap();
        for (id, values) in images {
            let image = path.join("images").join(id);
            fs::create_dir_all(image.join("analysis/stalls")).unwrap();
            fs::write(image.join(".zgroup"), "{\"zarr_format\": 2}").unwrap();
            fs::write(image.join(".zattrs"), "{}").unwrap();
            fs::write(image.join("analysis/stalls/params.json"), "1").unwrap();
            fs::write(image.join("analysis/stalls/values.json"), values).unwrap();
        }
        let reader =
            Reader { dataset: dataset.clone(), factor: 1, drift: None, broken: BTreeSet::new(), meanwhile: None };
        let reader = FakeWorkforce { library_sha256: library('a'), ..FakeWorkforce::new(reader) };
        let indexer = IndexerInfo {
            name: "stalls".into(),
            analysis_version: "v1".into(),
            marker_name: MARKER.into(),
            params_artifacts: vec!["stalls/params".into()],
            ..IndexerInfo::default()
        };
        let mut lab = Self { _folder: folder, path, dataset, reader, indexer };
        lab.run();
        lab
    }

    fn run(&mut self) -> RunOutcome {
        run(
            &self.dataset,
            &self.indexer,
            &mut self.reader,
            &RunOptions::new(Mode::Incremental),
            &mut RecordingObserver::default(),
        )
        .unwrap()
    }

    fn put(&self, id: &str, name: &str, text: &str) {
        fs::write(self.path.join(format!("images/{id}/analysis/{name}.json")), text).unwrap();
    }

    /// The marker as Python writes it: without a receipt.
    fn strip(&self, id: &str) {
        let marker = self.marker(id).marker;
        self.put(id, MARKER, &marker.to_json().to_file_text());
    }

    fn marker(&self, id: &str) -> ReadMarker {
        let text = fs::read(self.path.join(format!("images/{id}/analysis/{MARKER}.json"))).unwrap();
        receipt::read(&text).unwrap()
    }

    fn reasons(&mut self) -> Vec<(String, Reason)> {
        let status = status(&self.dataset, &self.indexer, &mut self.reader, Compat::Kymhost, None).unwrap();
        status.images.into_iter().map(|image| (image.image_id, image.reason)).collect()
    }

    fn reason(&mut self, id: &str) -> Reason {
        self.reasons().into_iter().find(|(image, _)| image == id).unwrap().1
    }

    fn verify(&mut self, sample: Option<u64>, rows: bool) -> (u64, u64, Vec<(String, VerifyKind)>) {
        let options = VerifyOptions { sample, rows };
        let before = files(&self.path);
        let found = verify(&self.dataset, &self.indexer, &mut self.reader, &options, &mut RecordingObserver::default())
            .unwrap();
        assert_eq!(files(&self.path), before, "nothing is written");
        assert_eq!((found.indexer.as_str(), found.table.as_str()), ("stalls", "tables/kym_stalls.parquet"));
        (found.fresh, found.checked, found.findings.into_iter().map(|found| (found.image_id, found.kind)).collect())
    }

    fn adopt(&mut self, images: Option<&[&str]>) -> AdoptOutcome {
        let images = images.map(|images| images.iter().map(|id| (*id).to_owned()).collect());
        let options = AdoptOptions { images, ..AdoptOptions::new("the change is of no account") };
        adopt(&self.dataset, &self.indexer, &mut self.reader, &options, &mut RecordingObserver::default()).unwrap()
    }

    /// Image, x, params hash and version of each row.
    fn table(&self) -> Vec<(String, i64, String, String)> {
        let Some(table) = self.dataset.read_table(TABLE, None).unwrap() else { return vec![] };
        let text = |name: &str, row: usize| {
            provenance::TextColumn::of(&table, name).unwrap().get(row).unwrap_or("none").to_owned()
        };
        let x = table.column_by_name("x").unwrap().as_primitive::<Int64Type>();
        (0..table.num_rows())
            .map(|row| (text("image_id", row), x.value(row), text("params_hash", row), text("analysis_version", row)))
            .collect()
    }

    fn alter(&self, id: &str) {
        alter(&self.dataset, id);
    }
}

/// Writes the table as another program does: each number of an image is greater by 1000.
fn alter(dataset: &Dataset, id: &str) {
    let table = dataset.read_table(TABLE, None).unwrap().unwrap();
    let ids = provenance::TextColumn::of(&table, "image_id").unwrap();
    let at = table.schema().index_of("x").unwrap();
    let x = table.column(at).as_primitive::<Int64Type>();
    let x = (0..table.num_rows()).map(|row| x.value(row) + if ids.get(row) == Some(id) { 1000 } else { 0 });
    let mut columns = table.columns().to_vec();
    columns[at] = Arc::new(Int64Array::from_iter_values(x));
    dataset.write_table(TABLE, &RecordBatch::try_new(table.schema(), columns).unwrap()).unwrap();
}

/// Every file with its bytes.
fn files(folder: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

const IMAGES: [(&str, &str); 4] = [("a", "[1, 2]"), ("b", "[3]"), ("c", "[]"), ("d", "[4, 5, 6]")];

fn found(findings: &[(&str, VerifyKind)]) -> Vec<(String, VerifyKind)> {
    findings.iter().map(|(id, kind)| ((*id).to_owned(), *kind)).collect()
}

#[test]
fn verify_reports_each_kind() {
    use VerifyKind::*;
    type Harm = fn(&mut Lab);
    let all = |kind| vec![("a", kind), ("b", kind), ("d", kind)];
    // What was done, whether the table's rows are looked at, how many images are fresh then, what is found.
    type Case = (&'static str, Harm, bool, u64, Vec<(&'static str, VerifyKind)>);
    let cases: Vec<Case> = vec![
        ("nothing", |_| {}, true, 4, vec![]),
        ("another library that gives the same", |lab| lab.reader.library_sha256 = library('b'), true, 4, vec![]),
        (
            "a library that gives other rows",
            |lab| (lab.reader.library_sha256, lab.reader.factor) = (library('b'), 7),
            true,
            4,
            all(VersionBumpForgotten),
        ),
        ("the same library gives other rows", |lab| lab.reader.factor = 7, false, 4, all(VersionBumpForgotten)),
        ("no two extractions agree", |lab| lab.reader.drift = Some(1), false, 4, all(NotDeterministic)),
        ("one fails", |lab| lab.reader.broken = BTreeSet::from(["b".to_owned()]), false, 4, vec![("b", Failed)]),
        (
            "Python's markers, the same rows",
            |lab| ["a", "b", "c", "d"].iter().for_each(|id| lab.strip(id)),
            false,
            4,
            vec![],
        ),
        (
            "Python's markers, other rows",
            |lab| {
                ["a", "c"].iter().for_each(|id| lab.strip(id));
                lab.reader.factor = 7;
            },
            false,
            4,
            all(VersionBumpForgotten),
        ),
        // The seal does not hold: the plan itself finds it, and such an image is not fresh.
        ("rows altered", |lab| lab.alter("b"), false, 3, vec![("b", RowsChanged)]),
        (
            "rows altered, though the seal holds",
            |lab| {
                lab.alter("d");
                let name = names::TableName::of("stalls").unwrap();
                let table = rewrite::identity(&lab.dataset, &name).unwrap().unwrap();
                let seal = ledger::read_seal(&lab.dataset, &name).unwrap().unwrap();
                ledger::write_seal(&lab.dataset, &name, &ledger::Seal { table, ..seal }).unwrap();
            },
            true,
            4,
            vec![("d", RowsChanged)],
        ),
        ("a stale image is none of it", |lab| lab.put("a", "stalls/values", "[9]"), true, 3, vec![]),
        (
            "adopted rows may differ",
            |lab| {
                lab.indexer.analysis_version = "v2".into();
                lab.reader.factor = 7;
                lab.adopt(None);
            },
            true,
            4,
            vec![],
        ),
    ];
    for (case, harm, rows, fresh, expected) in cases {
        let mut lab = Lab::new(&IMAGES);
        harm(&mut lab);
        assert_eq!(lab.verify(None, rows), (fresh, fresh, found(&expected)), "{case}");
    }
}

#[test]
fn verify_extracts_a_sample_twice() {
    for (sample, rows, checked, extracted) in [(Some(0), false, 0, 0), (Some(2), false, 2, 4), (None, true, 4, 8)] {
        let mut lab = Lab::new(&IMAGES);
        lab.reader.extracted.clear();
        assert_eq!(lab.verify(sample, rows), (4, checked, vec![]));
        assert_eq!(lab.reader.extracted.len(), extracted);
    }
}

#[test]
fn verify_ignores_image_changed_during_verify() {
    let mut lab = Lab::new(&IMAGES);
    let path = lab.path.join("images/b/analysis/stalls/values.json");
    lab.reader.meanwhile = Some(Box::new(move || fs::write(path, "[33]").unwrap()));
    let options = VerifyOptions::default();
    let found =
        verify(&lab.dataset, &lab.indexer, &mut lab.reader, &options, &mut RecordingObserver::default()).unwrap();
    let [finding] = found.findings.as_slice() else { panic!("{found:?}") };
    assert_eq!((finding.image_id.as_str(), finding.kind), ("b", VerifyKind::Failed));
    assert!(finding.message.contains("STALE_INPUT_CHANGED while it was verified"), "{}", finding.message);
}

#[test]
fn interrupted_verify_reports_findings() {
    struct After(usize);
    impl Observer for After {
        fn interrupted(&mut self) -> bool {
            self.0 = self.0.saturating_sub(1);
            self.0 == 0
        }
    }
    // Asked once an image and pass, and once in between.
    for (answers, checked) in [(1, 0), (4, 0), (7, 2), (100, 4)] {
        let mut lab = Lab::new(&IMAGES);
        let options = VerifyOptions::default();
        let found = verify(&lab.dataset, &lab.indexer, &mut lab.reader, &options, &mut After(answers)).unwrap();
        assert_eq!((found.fresh, found.checked, found.findings), (4, checked, vec![]), "{answers}");
    }
}

#[test]
fn adopted_rows_fresh_until_next_change() {
    let mut lab = Lab::new(&IMAGES);
    // New params for two, a new input for another, and a run that fails.
    lab.put("a", "stalls/params", "2");
    lab.put("c", "stalls/params", "2");
    lab.put("d", "stalls/values", "[7]");
    lab.reader.broken.insert("d".into());
    let outcome = lab.run();
    assert_eq!((outcome.stats.updated, outcome.stats.failed), (2, 1));
    lab.indexer.analysis_version = "v2".into();
    assert_eq!(lab.reason("d"), Reason::StaleLastRunFailed);
    assert!(lab.reasons().iter().all(|(_, reason)| reason.is_stale()));

    let rows = |hash: &str, version: &str| {
        let row = |id: &str, x: i64, hash: &str| (id.to_owned(), x, hash.to_owned(), version.to_owned());
        let mut rows = vec![row("a", 1, hash), row("a", 2, hash), row("b", 3, "h1")];
        rows.extend([4, 5, 6].map(|x| row("d", x, "h1")));
        rows
    };
    let sorted = |lab: &Lab| {
        let mut table = lab.table();
        table.sort();
        table
    };
    assert_eq!(sorted(&lab), rows("h2", "v1"));
    lab.reader.extracted.clear();
    let outcome = lab.adopt(None);
    assert_eq!((outcome.adopted, outcome.already_fresh, outcome.nothing_to_adopt), (4, 0, 0), "{outcome:?}");
    assert_eq!(outcome.failures, []);
    assert_eq!((outcome.indexer.as_str(), outcome.table.as_str()), ("stalls", "tables/kym_stalls.parquet"));
    assert_eq!(sorted(&lab), rows("h2", "v2"), "the rows are the same, their provenance is that of now");
    let status = status(&lab.dataset, &lab.indexer, &mut lab.reader, Compat::Kymhost, None).unwrap();
    for image in &status.images {
        let expected = if image.image_id == "c" { Reason::FreshZeroRows } else { Reason::FreshRows };
        assert_eq!((image.reason, image.notes.as_slice()), (expected, [staleness::Note::Adopted].as_slice()));
        // What it was before, and why, stays in the marker.
        let ReadMarker { marker, receipt } = lab.marker(&image.image_id);
        let adopted = receipt.unwrap().adopted.unwrap();
        let hash = if ["a", "c"].contains(&image.image_id.as_str()) { "h2" } else { "h1" };
        assert_eq!((marker.params_hash.as_str(), marker.analysis_version.as_str()), (hash, "v2"));
        assert_eq!((adopted.params_hash.as_deref(), adopted.analysis_version.as_deref()), (Some(hash), Some("v1")));
        assert_eq!(adopted.reason, "the change is of no account");
        assert_eq!(adopted.utc_epoch_ns, marker.ran_utc_epoch_ns);
    }
    // A run has nothing to do; nor has adopting.
    assert_eq!(lab.run().stats.updated, 0);
    let before = files(&lab.path);
    let outcome = lab.adopt(None);
    assert_eq!((outcome.adopted, outcome.already_fresh, outcome.nothing_to_adopt), (0, 4, 0));
    assert_eq!(files(&lab.path), before);
    assert_eq!(lab.reader.extracted.len(), 0, "nothing was extracted");

    // What changes from now on is seen: the inputs are those of now.
    lab.reader.broken.clear();
    lab.put("d", "stalls/values", "[8]");
    lab.put("b", "stalls/params", "3");
    assert_eq!(lab.reason("d"), Reason::StaleInputChanged);
    assert!(lab.reason("b").is_stale() && !lab.reason("a").is_stale());
    assert_eq!(lab.run().stats.updated, 2);
    assert!(lab.marker("d").receipt.unwrap().adopted.is_none());
}

#[test]
fn unadoptable_images_reported_and_unchanged() {
    let mut lab = Lab::new(&IMAGES);
    // Its marker says rows, the table has none.
    lab.put("b", MARKER, &RunMarker::new("stalls", "h1", "v1", 7, 1).to_json().to_file_text());
    let image = lab.path.join("images/new/analysis/stalls");
    fs::create_dir_all(&image).unwrap();
    fs::write(lab.path.join("images/new/.zgroup"), "{\"zarr_format\": 2}").unwrap();
    fs::write(image.join("params.json"), "1").unwrap();
    fs::write(image.join("values.json"), "[1]").unwrap();
    // Its params cannot be had; its marker cannot be written.
    lab.put("a", "stalls/params", "broken");
    lab.indexer.analysis_version = "v2".into();
    // No marker is written through a link.
    fs::rename(lab.path.join("images/d/analysis"), lab.path.join("images/d/real")).unwrap();
    std::os::unix::fs::symlink("real", lab.path.join("images/d/analysis")).unwrap();
    let before = lab.table();
    let outcome = lab.adopt(Some(&["a", "d", "new"]));
    assert_eq!((outcome.adopted, outcome.already_fresh, outcome.nothing_to_adopt), (0, 0, 1));
    let failures: Vec<_> = outcome.failures.iter().map(|failure| (&*failure.image_id, failure.failure.kind)).collect();
    assert_eq!(failures, [("a", FailureKind::Unreadable), ("d", FailureKind::Unreadable)]);
    assert_eq!(lab.table(), before);
    assert_eq!(lab.marker("d").marker.analysis_version, "v1");

    // Only those that were asked for.
    let outcome = lab.adopt(Some(&["c"]));
    assert_eq!(outcome.adopted, 1);
    assert_eq!(lab.reason("c"), Reason::FreshZeroRows);
    assert_eq!(lab.reason("b"), Reason::StaleVersionChanged);
    assert_eq!(lab.table(), before);
    // Python's marker has no inputs to look at again: it stays judged by the old rules.
    assert_eq!(lab.adopt(Some(&["b"])).adopted, 1);
    assert_eq!(lab.marker("b").receipt.unwrap().inputs.rows, None);
    assert_eq!(lab.reason("b"), Reason::FreshRows);

    let images = ["b", "gone", "nowhere"].iter().map(|id| (*id).to_owned()).collect();
    let options = AdoptOptions { images: Some(images), ..AdoptOptions::new("") };
    let error =
        adopt(&lab.dataset, &lab.indexer, &mut lab.reader, &options, &mut RecordingObserver::default()).unwrap_err();
    assert!(matches!(&error, IndexError::UnknownImages(ids) if *ids == ["gone", "nowhere"]), "{error}");
}

#[test]
fn adopt_waits_only_if_asked() {
    let mut lab = Lab::new(&IMAGES);
    lab.indexer.analysis_version = "v2".into();
    let name = names::TableName::of("stalls").unwrap();
    let guard = lab.dataset.store().lock(&name.lock_key().unwrap(), "").unwrap();
    let error =
        adopt(&lab.dataset, &lab.indexer, &mut lab.reader, &AdoptOptions::new(""), &mut RecordingObserver::default())
            .unwrap_err();
    assert!(matches!(error, IndexError::Locked { .. }), "{error}");
    drop(guard);
    assert_eq!(lab.adopt(None).adopted, 4);
}

#[test]
fn interrupted_rows_can_be_adopted() {
    let mut lab = Lab::new(&IMAGES);
    let name = names::TableName::of("stalls").unwrap();
    let images: BTreeSet<String> = ["a", "b"].iter().map(|id| (*id).to_owned()).collect();
    ledger::write_intent(&lab.dataset, &name, &ledger::without_artifacts(images.clone())).unwrap();
    assert_eq!(lab.reason("a"), Reason::StaleInterrupted);
    assert_eq!(lab.adopt(Some(&["a"])).adopted, 1);
    assert_eq!((lab.reason("a"), lab.reason("b")), (Reason::FreshRows, Reason::StaleInterrupted));
    assert_eq!(lab.adopt(None).adopted, 1);
    assert_eq!(ledger::read_intent(&lab.dataset, &name).unwrap(), None);
    // Altered rows, too: their digest is that of now, and the seal no longer names them.
    lab.alter("d");
    assert_eq!(lab.reason("d"), Reason::StaleRowsChanged);
    assert_eq!(lab.adopt(None).adopted, 1);
    assert_eq!(lab.reason("d"), Reason::FreshRows);
    let seal = ledger::read_seal(&lab.dataset, &name).unwrap().unwrap();
    assert_eq!((Some(seal.table), seal.altered), (rewrite::identity(&lab.dataset, &name).unwrap(), BTreeSet::new()));
    assert_eq!(lab.table().len(), 6);
}

#[test]
fn adopt_uses_rows_that_python_wrote_in_between() {
    for (times, is_done) in [(1, true), (4, true), (5, false)] {
        let mut lab = Lab::new(&IMAGES);
        lab.indexer.analysis_version = "v2".into();
        let dataset = lab.dataset.clone();
        let mut left = times;
        // The plan knows the params; only adopting asks for them, right before it looks at the rows.
        lab.reader.on_params = Some(Box::new(move || {
            if left > 0 {
                left -= 1;
                alter(&dataset, "b");
            }
        }));
        let result = adopt(
            &lab.dataset,
            &lab.indexer,
            &mut lab.reader,
            &AdoptOptions::new(""),
            &mut RecordingObserver::default(),
        );
        let b = lab.table().into_iter().find(|row| row.0 == "b").unwrap();
        let version = if is_done { "v2" } else { "v1" };
        assert_eq!((b.1, b.3.as_str()), (3 + 1000 * times, version), "{times}");
        assert_eq!(lab.marker("b").marker.analysis_version, version, "{times}");
        match result {
            Ok(outcome) => assert_eq!((outcome.adopted, is_done), (4, true), "{times}"),
            Err(error) => assert!(!is_done && error.to_string().contains("kym_stalls"), "{times}: {error}"),
        }
        let name = names::TableName::of("stalls").unwrap();
        assert_eq!(ledger::read_intent(&lab.dataset, &name).unwrap(), None, "{times}");
        assert_eq!(lab.reasons().iter().all(|(_, reason)| !reason.is_stale()), is_done, "{times}");
    }
}

#[test]
fn adopt_failure_leaves_image_adopted_or_stale() {
    let mut failures = 0;
    for left in 0.. {
        let mut lab = Lab::new(&IMAGES);
        lab.put("d", "stalls/values", "[7]");
        lab.reader.broken.insert("d".into());
        lab.run();
        lab.indexer.analysis_version = "v2".into();
        let before: Vec<i64> = lab.table().into_iter().map(|row| row.1).collect();
        let (dataset, store) = FailingStore::dataset(&lab.path, Some(left));
        let result =
            adopt(&dataset, &lab.indexer, &mut lab.reader, &AdoptOptions::new(""), &mut RecordingObserver::default());
        let has_failed = store.has_refused();
        assert_eq!(result.is_err(), has_failed, "{left}: {result:?}");
        failures += usize::from(has_failed);
        for (id, reason) in lab.reasons() {
            let is_v2 = lab.marker(&id).marker.analysis_version == "v2"
                && lab.table().iter().all(|row| row.0 != id || row.3 == "v2");
            assert!(reason.is_stale() || is_v2, "{left}: {id} is {reason}");
            assert!(has_failed || !reason.is_stale(), "{left}: {id} is {reason}");
        }
        // The next time all is well, and the rows are what they were.
        lab.adopt(None);
        let reasons = lab.reasons();
        assert!(reasons.iter().all(|(_, reason)| !reason.is_stale()), "{left}: {reasons:?}");
        let after: Vec<i64> = lab.table().into_iter().map(|row| row.1).collect();
        assert_eq!(after, before, "{left}");
        assert_eq!(lab.run().stats.updated, 0, "{left}");
        if !has_failed {
            break;
        }
    }
    // Intent, table, the root's attributes, four markers, seal, failures, intent.
    assert!(failures >= 10, "{failures}");
}

/// Moves a whole folder over another one: neither times nor any file within change.
fn move_over(from: &std::path::Path, to: &std::path::Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    fs::rename(from, to).unwrap();
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for (path, bytes) in files(from) {
        let path = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// A marker vouches for the rows that its run wrote, not for those of a later one: wherever an image is put back.
#[test]
fn restored_marker_does_not_cover_later_rows() {
    // When it is put back: after the later run, while it works, or after one more run.
    for when in ["after", "during", "later"] {
        let mut lab = Lab::new(&IMAGES);
        let (image, backup) = (lab.path.join("images/b"), lab.path.with_file_name("backup"));
        copy(&image, &backup);
        lab.put("b", "stalls/values", "[33]");
        lab.run();
        match when {
            "during" => {
                lab.put("a", "stalls/values", "[7, 8]");
                let (image, backup) = (image.clone(), backup.clone());
                lab.reader.meanwhile = Some(Box::new(move || move_over(&backup, &image)));
                lab.run();
            }
            "later" => {
                let away = lab.path.with_file_name("away");
                move_over(&image, &away);
                lab.put("a", "stalls/values", "[7, 8]");
                let options = RunOptions { orphans: Orphans::Keep, ..RunOptions::new(Mode::Incremental) };
                run(&lab.dataset, &lab.indexer, &mut lab.reader, &options, &mut RecordingObserver::default()).unwrap();
                lab.alter("b");
                run(&lab.dataset, &lab.indexer, &mut lab.reader, &options, &mut RecordingObserver::default()).unwrap();
                move_over(&away, &image);
            }
            _ => move_over(&backup, &image),
        }
        assert_eq!(lab.reason("b"), Reason::StaleRowsChanged, "{when}");
        lab.run();
        let x: Vec<i64> = lab.table().into_iter().filter(|row| row.0 == "b").map(|row| row.1).collect();
        assert_eq!(x, if when == "later" { [33] } else { [3] }, "{when}");
        assert_eq!(lab.reason("b"), Reason::FreshRows, "{when}");
        // Files that were young when they were read are looked at once more; then a run with nothing to do writes nothing.
        std::thread::sleep(Duration::from_millis(30));
        lab.run();
        let before = files(&lab.path);
        lab.run();
        assert!(files(&lab.path) == before, "{when}");
    }
}

/// Whoever writes a seal knows all receipts: those of this commit, of earlier ones, and of images that it does not touch.
#[test]
fn seal_has_receipts_of_all_images() {
    let held = |lab: &mut Lab, what: &str| {
        let name = names::TableName::of("stalls").unwrap();
        let options = plan::PlanOptions::default();
        let plan = plan::plan(&lab.dataset, &lab.indexer, &name, &mut lab.reader, &options).unwrap();
        assert_eq!(plan.seal, plan::SealState::Held { altered: BTreeSet::new() }, "{what}");
    };
    let mut lab = Lab::new(&IMAGES);
    held(&mut lab, "first run");
    lab.put("b", "stalls/values", "[33]");
    lab.run();
    held(&mut lab, "one image");
    lab.put("d", "stalls/values", "[]");
    lab.put("c", "stalls/values", "[9]");
    let each = RunOptions { max_held_bytes: 1, ..RunOptions::new(Mode::Replace) };
    let outcome = run(&lab.dataset, &lab.indexer, &mut lab.reader, &each, &mut RecordingObserver::default()).unwrap();
    assert_eq!(outcome.commits, 4);
    held(&mut lab, "several commits");
    lab.indexer.analysis_version = "v2".into();
    assert_eq!(lab.adopt(Some(&["a"])).adopted, 1);
    held(&mut lab, "adopted");
    fs::remove_dir_all(lab.path.join("images/a")).unwrap();
    held(&mut lab, "an image is gone");
    assert_eq!(lab.run().pruned_images, 1);
    held(&mut lab, "its rows too");
    lab.alter("b");
    lab.run();
    held(&mut lab, "altered and done again");
}
