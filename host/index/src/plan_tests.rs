//! Plans over small datasets on disk: each edit, and what it makes of every image.

use super::*;
use crate::ledger::{PastFailure, Seal};
use crate::rewrite;
use crate::staleness::Note;
use crate::testing::{FakeIndexer, FakeWorkforce, RecordingObserver};
use crate::{Mode, RunOptions, explain, run, status};
use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use kymhost_dataset::{DatasetError, Input, Record};
use kymhost_plugin::FailureKind;
use kymhost_plugin_api::{Json, RunMarker, canonical_json, params_hash};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// An indexer over the artifacts `params` (a value), `events` (a list of integers) and `extra` (if it exists, there is one
/// row more).
struct Fake(Dataset);

impl FakeIndexer for Fake {
    fn params(&mut self, image_id: &str) -> Result<ParamsReading, Failure> {
        self.0.store().sync();
        let record = self.0.record(image_id).unwrap().watched(MARKER);
        let params = record.json("params").map_err(|error| failed(&error))?.unwrap_or_default();
        let inputs = record.inputs().unwrap();
        Ok(ParamsReading { hash: params_hash(&params), value: Some(canonical_json(&params)), inputs })
    }
    fn rows(&mut self, image_id: &str) -> Result<(RecordBatch, Vec<Input>), Failure> {
        self.0.store().sync();
        let record = self.0.record(image_id).unwrap().watched(MARKER);
        let rows = rows_of(&record).map_err(|error| failed(&error))?;
        Ok((rows, record.inputs().unwrap()))
    }
    fn old_marker(&mut self, payload: &Json) -> Result<Option<RunMarker>, Failure> {
        let text = |name: &str| payload.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let n_rows = payload.get("n_events").and_then(Json::as_u64);
        Ok(n_rows.map(|n| RunMarker::new("stalls", text("params_hash"), text("analysis_version"), n, 1)))
    }
}

/// Waits until times can be trusted.
fn wait() {
    std::thread::sleep(Duration::from_millis(30));
}

fn rows_of(record: &Record) -> Result<RecordBatch, DatasetError> {
    let events = record.json("events")?.unwrap_or_default();
    let mut values: Vec<i64> = events.as_array().unwrap_or_default().iter().filter_map(Json::as_i64).collect();
    values.extend(record.json("extra")?.map(|_| 1000));
    let attributes = Json::parse(&record.attributes_text()?).unwrap_or_default();
    let gain = attributes.get("gain").and_then(Json::as_i64).unwrap_or(1);
    let values = values.into_iter().map(|value| value * gain).collect::<Vec<_>>();
    Ok(RecordBatch::try_from_iter_with_nullable([("x", Arc::new(Int64Array::from(values)) as ArrayRef, true)]).unwrap())
}

fn failed(error: &DatasetError) -> Failure {
    Failure::new(FailureKind::Unreadable, error.to_string())
}

const MARKER: &str = "stalls_run";
/// The image with two rows, that with one, and that without.
const IMAGES: [&str; 3] = ["a", "b", "c"];

struct Lab {
    _folder: tempfile::TempDir,
    path: PathBuf,
    fake: FakeWorkforce<Fake>,
    indexer: IndexerInfo,
}

impl Lab {
    /// All three images, not run yet.
    fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.zarr");
        let dataset = Dataset::create(&path).unwrap();
        let fake = FakeWorkforce {
            library_sha256: "1".repeat(64),
            on_params: Some(Box::new(wait)),
            on_rows: Some(Box::new(wait)),
            ..FakeWorkforce::new(Fake(dataset))
        };
        let indexer = IndexerInfo {
            name: "stalls".into(),
            analysis_version: "v1".into(),
            marker_name: MARKER.into(),
            params_artifacts: vec!["params".into()],
            ..IndexerInfo::default()
        };
        let lab = Self { _folder: folder, path, fake, indexer };
        for (id, events) in IMAGES.into_iter().zip(["[1, 2]", "[3]", "[]"]) {
            lab.add_image(id);
            lab.put(id, "events.json", events);
            lab.put(id, "params.json", r#"{"window": 5}"#);
        }
        lab
    }

    /// All three images, run.
    fn new() -> Self {
        let mut lab = Self::bare();
        lab.run();
        lab.fake.asked.clear();
        lab
    }

    fn dataset(&self) -> &Dataset {
        &self.fake.0
    }

    fn image(&self, id: &str) -> PathBuf {
        self.path.join("images").join(id)
    }

    fn add_image(&self, id: &str) {
        fs::create_dir_all(self.image(id).join("analysis")).unwrap();
        fs::write(self.image(id).join(".zgroup"), "{\"zarr_format\": 2}").unwrap();
        fs::write(self.image(id).join(".zattrs"), "{}").unwrap();
    }

    fn artifact(&self, id: &str, file: &str) -> PathBuf {
        self.image(id).join("analysis").join(file)
    }

    fn put(&self, id: &str, file: &str, text: &str) {
        fs::write(self.artifact(id, file), text).unwrap();
    }

    /// Puts a link out of the dataset in a file's place: nothing reads through it.
    fn block(&self, id: &str, file: &str) {
        fs::remove_file(self.artifact(id, file)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", self.artifact(id, file)).unwrap();
    }

    fn marker(&self, id: &str) -> Json {
        Json::parse(&fs::read(self.artifact(id, "stalls_run.json")).unwrap()).unwrap()
    }

    /// Changes an image's marker.
    fn edit_marker(&self, id: &str, edit: impl Fn(&mut kymhost_plugin_api::json::Object)) {
        let Json::Object(mut fields) = self.marker(id) else { panic!("no object") };
        edit(&mut fields);
        self.put(id, "stalls_run.json", &Json::Object(fields).to_file_text());
    }

    fn edit_receipt(&self, id: &str, name: &str, value: Json) {
        self.edit_marker(id, |fields| {
            let Some(Json::Object(ours)) = fields.get_mut(receipt::FIELD) else { panic!("no receipt") };
            ours.insert(name.to_owned(), value.clone());
        });
    }

    fn name(&self) -> TableName {
        TableName::of("stalls").unwrap()
    }

    fn table(&self) -> RecordBatch {
        self.dataset().read_table("kym_stalls", None).unwrap().unwrap()
    }

    /// Writes the table as another program does: the seal breaks.
    fn write_table(&self, table: &RecordBatch) {
        std::thread::sleep(Duration::from_millis(10));
        self.dataset().write_table("kym_stalls", table).unwrap();
    }

    /// The table with another column `x`.
    fn write_x(&self, x: ArrayRef) {
        let table = self.table();
        let schema = table.schema();
        let columns = schema.fields().iter().zip(table.columns()).map(|(field, column)| {
            (field.name().as_str(), if field.name() == "x" { Arc::clone(&x) } else { Arc::clone(column) }, true)
        });
        self.write_table(&RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).unwrap());
    }

    fn x(&self) -> Vec<i64> {
        self.table().column_by_name("x").unwrap().as_primitive::<Int64Type>().values().to_vec()
    }

    fn plan_with(&mut self, options: &PlanOptions<'_>) -> Result<Plan, IndexError> {
        self.fake.asked.clear();
        let dataset = self.dataset().clone();
        plan(&dataset, &self.indexer, &self.name(), &mut self.fake, options)
    }

    fn plan(&mut self, compat: Compat) -> Plan {
        self.plan_with(&PlanOptions { compat, ..PlanOptions::default() }).unwrap()
    }

    fn run(&mut self) {
        let (dataset, indexer) = (self.dataset().clone(), self.indexer.clone());
        let options = RunOptions { allow_mass_removal: true, ..RunOptions::new(Mode::Incremental) };
        let outcome = run(&dataset, &indexer, &mut self.fake, &options, &mut RecordingObserver::default()).unwrap();
        let failed: Vec<_> = outcome.failures.iter().map(|failure| &failure.image_id).collect();
        assert!(failed.iter().all(|id| *id == "blocked"), "{failed:?}");
    }

    fn explain(&mut self, id: &str) -> super::super::Explanation {
        let dataset = self.dataset().clone();
        explain(&dataset, &self.indexer, &mut self.fake, id, Compat::Kymhost).unwrap()
    }

    fn asked(&self, question: &str) -> Vec<&str> {
        let asked = self.fake.asked.iter().filter(|(asked, _)| *asked == question);
        asked.flat_map(|(_, ids)| ids.iter().map(String::as_str)).collect()
    }
}

fn reasons(plan: &Plan) -> Vec<(&str, Reason)> {
    plan.images.iter().map(|image| (image.report.image_id.as_str(), image.report.reason)).collect()
}

fn path_text(key: &str) -> String {
    format!("analysis/{key}")
}

/// What is expected of an edit of the dataset after a run.
struct Expected {
    /// The image that the edit is of.
    image: &'static str,
    /// Its reason by our rules, and by kymflow's.
    reason: Reason,
    by_kymflow: Reason,
    /// The keys of the reason.
    keys: Vec<String>,
    /// Whether its params hash is asked for.
    is_asked: bool,
    notes: Vec<Note>,
    /// Whether its marker is to be freshened.
    is_freshened: bool,
    /// Whether a run brings everything up to date.
    is_mended: bool,
}

fn fresh() -> Expected {
    Expected {
        image: "a",
        reason: Reason::FreshRows,
        by_kymflow: Reason::FreshRows,
        keys: vec![],
        is_asked: false,
        notes: vec![],
        is_freshened: false,
        is_mended: true,
    }
}

fn stale(reason: Reason) -> Expected {
    Expected { reason, ..fresh() }
}

/// By both rules.
fn both(reason: Reason) -> Expected {
    Expected { reason, by_kymflow: reason, ..fresh() }
}

fn input(reason: Reason, key: &str) -> Expected {
    Expected { keys: vec![path_text(key)], ..stale(reason) }
}

type Edit = Box<dyn Fn(&mut Lab) + Send>;

fn edit(edit: impl Fn(&mut Lab) + Send + 'static) -> Edit {
    Box::new(edit)
}

#[test]
fn each_edit_gives_its_reason() {
    use Reason::*;
    let of_c = |expected: Expected| Expected { image: "c", ..expected };
    let asked = |expected: Expected| Expected { is_asked: true, ..expected };
    let cases: Vec<(&str, Edit, Expected)> = vec![
        ("nothing", edit(|_| {}), fresh()),
        ("nothing, no rows", edit(|_| {}), of_c(both(FreshZeroRows))),
        // What the rows were made from.
        (
            "an input is touched",
            edit(|lab| lab.put("a", "events.json", "[1, 2]")),
            Expected { is_freshened: true, ..fresh() },
        ),
        (
            "an input changes",
            edit(|lab| lab.put("a", "events.json", "[1, 5]")),
            input(StaleInputChanged, "events.json"),
        ),
        (
            "an input is cut",
            edit(|lab| lab.put("a", "events.json", "[1, 2")),
            // The run fails, and goes on failing.
            Expected { is_mended: false, ..input(StaleInputChanged, "events.json") },
        ),
        (
            "an input goes",
            edit(|lab| fs::remove_file(lab.artifact("a", "events.json")).unwrap()),
            input(StaleInputRemoved, "events.json"),
        ),
        ("an input comes", edit(|lab| lab.put("a", "extra.json", "1")), input(StaleInputAppeared, "extra.json")),
        (
            "an input comes to an image without rows",
            edit(|lab| lab.put("c", "extra.json", "1")),
            of_c(Expected { by_kymflow: FreshZeroRows, ..input(StaleInputAppeared, "extra.json") }),
        ),
        (
            "attributes change",
            edit(|lab| fs::write(lab.image("a").join(".zattrs"), "{\"gain\": 2}").unwrap()),
            Expected { keys: vec![".zattrs".into()], ..stale(StaleInputChanged) },
        ),
        (
            "an artifact that nobody read comes",
            edit(|lab| lab.dataset().record("a").unwrap().put_json("other", &Json::Null).unwrap()),
            fresh(),
        ),
        (
            "an input that cannot be looked at",
            edit(|lab| lab.block("a", "events.json")),
            Expected { is_mended: false, ..stale(StaleUnreadable) },
        ),
        // What the params were made from.
        (
            "the params are touched",
            edit(|lab| lab.put("a", "params.json", "{\"window\": 5}")),
            Expected { is_freshened: true, ..fresh() },
        ),
        (
            "the params are laid out otherwise",
            edit(|lab| lab.put("a", "params.json", "{\"window\":5}")),
            asked(Expected { is_freshened: true, ..fresh() }),
        ),
        (
            "the params change",
            edit(|lab| lab.put("a", "params.json", "{\"window\": 6}")),
            asked(both(StaleParamsChanged)),
        ),
        (
            "the params go",
            edit(|lab| fs::remove_file(lab.artifact("a", "params.json")).unwrap()),
            asked(both(StaleParamsChanged)),
        ),
        (
            "the params change, no rows",
            edit(|lab| lab.put("c", "params.json", "{\"window\": 6}")),
            of_c(asked(both(StaleParamsChanged))),
        ),
        (
            "the params are broken",
            edit(|lab| lab.put("a", "params.json", "{")),
            asked(Expected { is_mended: false, ..both(StaleUnreadable) }),
        ),
        // The indexer.
        (
            "another library",
            edit(|lab| lab.fake.library_sha256 = "2".repeat(64)),
            Expected { notes: vec![Note::AnotherLibrary], is_mended: false, ..asked(fresh()) },
        ),
        ("another version", edit(|lab| lab.indexer.analysis_version = "v2".into()), both(StaleVersionChanged)),
        // The marker.
        (
            "the marker goes",
            edit(|lab| fs::remove_file(lab.artifact("a", "stalls_run.json")).unwrap()),
            asked(stale(StaleNoReceipt)),
        ),
        (
            "the marker goes, no rows",
            edit(|lab| fs::remove_file(lab.artifact("c", "stalls_run.json")).unwrap()),
            of_c(asked(both(StaleMissingMarker))),
        ),
        (
            "the marker is torn",
            edit(|lab| lab.put("a", "stalls_run.json", "{\"marker_version\": ")),
            asked(Expected { by_kymflow: StaleUnreadable, ..stale(StaleNoReceipt) }),
        ),
        (
            "the marker cannot be read",
            edit(|lab| lab.block("a", "stalls_run.json")),
            asked(Expected { is_mended: false, ..both(StaleUnreadable) }),
        ),
        (
            "the marker is Python's",
            edit(|lab| lab.edit_marker("a", |fields| drop(fields.shift_remove(receipt::FIELD)))),
            Expected { notes: vec![Note::JudgedByOldRules], is_mended: false, ..asked(fresh()) },
        ),
        (
            "the marker is Python's and counts other rows",
            edit(|lab| {
                lab.edit_marker("a", |fields| {
                    fields.shift_remove(receipt::FIELD);
                    fields.insert("n_rows".into(), 3.into());
                });
            }),
            asked(stale(StaleNoReceipt)),
        ),
        (
            "the marker is of another run",
            edit(|lab| lab.edit_marker("a", |fields| drop(fields.insert("analysis_version".into(), "v0".into())))),
            stale(StaleNoReceipt),
        ),
        (
            "the receipt is of tomorrow",
            edit(|lab| lab.edit_receipt("a", "format", (receipt::FORMAT + 1).into())),
            Expected { notes: vec![Note::JudgedByOldRules], is_mended: false, ..asked(fresh()) },
        ),
        (
            "the receipt knows no inputs",
            edit(|lab| lab.edit_receipt("a", "inputs", Json::object([("params", Json::Null)]))),
            Expected { notes: vec![Note::JudgedByOldRules], is_freshened: true, ..asked(fresh()) },
        ),
        (
            "the receipt is of rows that were adopted",
            edit(|lab| {
                let adopted = Json::object([("reason", Json::from("so")), ("utc_epoch_ns", 1.into())]);
                lab.edit_receipt("a", "adopted", adopted);
            }),
            Expected { notes: vec![Note::Adopted], ..fresh() },
        ),
        (
            "an old marker",
            edit(|lab| {
                let marker = lab.marker("a");
                let old = [("n_events", 2.into()), ("params_hash", marker.get("params_hash").unwrap().clone())];
                let old = Json::object(old.into_iter().chain([("analysis_version", "v1".into())]));
                lab.put("a", "stalls_run.json", &old.to_string());
            }),
            Expected { notes: vec![Note::JudgedByOldRules], is_mended: false, ..asked(fresh()) },
        ),
        // The table.
        (
            "a row is lost",
            edit(|lab| {
                let kept = UInt32Array::from(vec![1, 2]);
                lab.write_table(&take_record_batch(&lab.table(), &kept).unwrap());
            }),
            stale(StaleRowsChanged),
        ),
        (
            "a value is altered",
            edit(|lab| lab.write_x(Arc::new(Int64Array::from(vec![1, 7, 3])))),
            stale(StaleRowsChanged),
        ),
        (
            "rows of another image are altered",
            edit(|lab| lab.write_x(Arc::new(Int64Array::from(vec![1, 2, 7])))),
            fresh(),
        ),
        (
            "pandas writes the table",
            edit(|lab| lab.write_x(Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0])))),
            fresh(),
        ),
        (
            "the table goes",
            edit(|lab| fs::remove_file(lab.path.join("tables/kym_stalls.parquet")).unwrap()),
            both(StaleMarkerTableMismatch),
        ),
        (
            "the table goes, no rows",
            edit(|lab| fs::remove_file(lab.path.join("tables/kym_stalls.parquet")).unwrap()),
            of_c(both(FreshZeroRows)),
        ),
        (
            "the rows are of other params",
            edit(|lab| {
                let table = lab.table();
                let at = table.schema().index_of("params_hash").unwrap();
                let mut columns = table.columns().to_vec();
                columns[at] = Arc::new(StringArray::from(vec!["p"; 3]));
                lab.write_table(&RecordBatch::try_new(table.schema(), columns).unwrap());
            }),
            both(StaleUnknown),
        ),
        // The ledger.
        (
            "the seal goes",
            edit(|lab| fs::remove_file(lab.path.join("index/kymhost/seals/kym_stalls.json")).unwrap()),
            fresh(),
        ),
        (
            "the seal names the image",
            edit(|lab| {
                let mut seal = ledger::read_seal(lab.dataset(), &lab.name()).unwrap().unwrap();
                seal.altered.insert("a".into());
                ledger::write_seal(lab.dataset(), &lab.name(), &seal).unwrap();
            }),
            stale(StaleRowsChanged),
        ),
        (
            "an intent names the image, and one that is gone",
            edit(|lab| {
                let images = ledger::without_artifacts(["a", "gone"]);
                ledger::write_intent(lab.dataset(), &lab.name(), &images).unwrap();
            }),
            stale(StaleInterrupted),
        ),
        (
            "an intent names another image",
            edit(|lab| ledger::write_intent(lab.dataset(), &lab.name(), &ledger::without_artifacts(["b"])).unwrap()),
            fresh(),
        ),
        (
            "an intent is broken",
            edit(|lab| {
                ledger::write_intent(lab.dataset(), &lab.name(), &ledger::without_artifacts(["b"])).unwrap();
                fs::write(lab.path.join("index/kymhost/intents/kym_stalls.json"), "{").unwrap();
            }),
            stale(StaleInterrupted),
        ),
        (
            "the last run failed",
            edit(|lab| {
                let failure = PastFailure {
                    kind: "panic".into(),
                    message: "no".into(),
                    library_sha256: "1".repeat(64),
                    utc_epoch_ns: 1,
                    inputs: vec![],
                };
                let failures = [("a".to_owned(), failure)].into();
                ledger::write_failures(lab.dataset(), &lab.name(), &failures).unwrap();
            }),
            stale(StaleLastRunFailed),
        ),
    ];
    // Mostly they wait, for times and for the disk.
    let cases = std::sync::Mutex::new(cases);
    let next = || cases.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| std::iter::from_fn(next).for_each(|(case, edit, expected)| check(case, &edit, &expected)));
        }
    });
}

fn check(case: &str, edit: &Edit, expected: &Expected) {
    {
        let mut lab = Lab::new();
        assert!(!reasons(&lab.plan(Compat::Kymhost)).iter().any(|(_, reason)| reason.is_stale()), "{case}");
        assert_eq!(lab.fake.asked, [], "{case}: nothing to do");
        edit(&mut lab);

        let plan = lab.plan(Compat::Kymhost);
        let image = plan.images.iter().find(|image| image.report.image_id == expected.image).unwrap();
        let report = &image.report;
        assert_eq!(report.reason, expected.reason, "{case}: {:?}", image.reasons);
        assert_eq!(report.is_stale, expected.reason.is_stale(), "{case}");
        assert_eq!(image.reasons.first().copied(), expected.reason.is_stale().then_some(expected.reason), "{case}");
        assert_eq!(report.inputs, expected.keys, "{case}");
        assert_eq!(report.notes, expected.notes, "{case}");
        assert_eq!(report.error.is_some(), expected.reason == Reason::StaleUnreadable, "{case}");
        assert_eq!(image.freshen.is_some(), expected.is_freshened, "{case}");
        assert_eq!(lab.asked("params").contains(&expected.image), expected.is_asked, "{case}");
        assert_eq!(lab.asked("rows"), [""; 0], "{case}");

        // `explain` says the same, and the reason first.
        let why = lab.explain(expected.image);
        assert_eq!(why.report, image.report, "{case}");
        assert_eq!(why.causes.iter().map(|cause| cause.reason).collect::<Vec<_>>(), image.reasons, "{case}");
        let keys: Vec<_> = why.causes.iter().flat_map(|cause| &cause.inputs).map(|difference| &difference.at).collect();
        assert_eq!(keys, expected.keys.iter().collect::<Vec<_>>(), "{case}");

        // kymflow's rules know nothing of ours, and ask about all.
        let by_kymflow = lab.plan(Compat::Kymflow);
        let image = by_kymflow.images.iter().find(|image| image.report.image_id == expected.image).unwrap();
        assert_eq!(image.report.reason, expected.by_kymflow, "{case}");
        assert_eq!((&image.report.notes, &image.report.inputs), (&vec![], &vec![]), "{case}");
        assert!(image.freshen.is_none(), "{case}");
        assert_eq!(lab.asked("params"), IMAGES, "{case}");
        assert_eq!(by_kymflow.library_sha256, None, "{case}");

        // One run, and there is nothing to do.
        if expected.is_mended {
            lab.run();
            let plan = lab.plan(Compat::Kymhost);
            assert!(!plan.images.iter().any(|image| image.report.is_stale), "{case}: {:?}", reasons(&plan));
            assert_eq!(lab.fake.asked, [], "{case}: nothing to do after the run");
            assert!(plan.images.iter().all(|image| image.freshen.is_none()), "{case}");
            assert!(!matches!(plan.seal, SealState::Recomputed { .. }), "{case}: {:?}", plan.seal);
        }
    }
}

#[test]
fn seal_state_by_case() {
    let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    // No marker has a receipt: no digest is computed.
    let mut lab = Lab::bare();
    assert_eq!(lab.plan(Compat::Kymhost).seal, SealState::Unneeded);
    lab.run();
    assert_eq!(lab.plan(Compat::Kymhost).seal, SealState::Held { altered: set(&[]) });
    // A row of `b` is altered: that is found for `b` alone, and only where `b` is looked at.
    lab.write_x(Arc::new(Int64Array::from(vec![1, 2, 9])));
    let recomputed = |altered, is_complete| SealState::Recomputed { altered: set(altered), is_complete };
    let plan = lab.plan(Compat::Kymhost);
    assert_eq!(plan.seal, recomputed(&["b"], true));
    assert_eq!(plan.table.identity, rewrite::identity(lab.dataset(), &lab.name()).unwrap());
    assert_eq!(
        reasons(&plan),
        [("a", Reason::FreshRows), ("b", Reason::StaleRowsChanged), ("c", Reason::FreshZeroRows)]
    );
    for (only, altered) in [(["a", "c"], &[][..]), (["b", "not there"], &["b"][..])] {
        let only = set(&only);
        let options = PlanOptions { only: Some(&only), ..PlanOptions::default() };
        let plan = lab.plan_with(&options).unwrap();
        assert_eq!(plan.seal, recomputed(altered, false));
        let ids: BTreeSet<_> = plan.images.iter().map(|image| image.report.image_id.clone()).collect();
        assert_eq!(ids, only.intersection(&set(&IMAGES)).cloned().collect());
        assert_eq!(plan.table.images.len(), plan.images.len());
        assert_eq!(plan.table.orphans, [], "others are no orphans");
    }
    // Of an image without a receipt nothing follows for the others; nor where a marker cannot be read.
    let marker = fs::read(lab.artifact("a", "stalls_run.json")).unwrap();
    fs::remove_file(lab.artifact("a", "stalls_run.json")).unwrap();
    let only = set(&["a"]);
    let options = PlanOptions { only: Some(&only), ..PlanOptions::default() };
    assert_eq!(lab.plan_with(&options).unwrap().seal, recomputed(&[], false));
    std::os::unix::fs::symlink("/etc/hostname", lab.artifact("a", "stalls_run.json")).unwrap();
    assert_eq!(lab.plan(Compat::Kymhost).seal, recomputed(&["b"], false));
    fs::remove_file(lab.artifact("a", "stalls_run.json")).unwrap();
    fs::write(lab.artifact("a", "stalls_run.json"), marker).unwrap();
    // A seal that holds says which rows are altered.
    let receipts = plan.images.iter().filter_map(|image| image.mark).collect();
    let seal = Seal { table: plan.table.identity.unwrap(), altered: set(&["b"]), receipts };
    ledger::write_seal(lab.dataset(), &lab.name(), &seal).unwrap();
    assert_eq!(lab.plan(Compat::Kymhost).seal, SealState::Held { altered: set(&["b"]) });
    lab.run();
    assert_eq!(lab.x(), [1, 2, 3]);
    assert_eq!(lab.plan(Compat::Kymhost).seal, SealState::Held { altered: set(&[]) });
}

#[test]
fn images_added_and_deleted() {
    let mut lab = Lab::new();
    lab.add_image("ab");
    fs::remove_dir_all(lab.image("a")).unwrap();
    let plan = lab.plan(Compat::Kymhost);
    let expected = [("ab", Reason::StaleMissingMarker), ("b", Reason::FreshRows), ("c", Reason::FreshZeroRows)];
    assert_eq!(reasons(&plan), expected);
    assert_eq!(lab.asked("params"), ["ab"]);
    assert_eq!(plan.images.iter().map(|image| image.rows).collect::<Vec<_>>(), [0, 1, 0]);
    for compat in [Compat::Kymhost, Compat::Kymflow] {
        let dataset = lab.dataset().clone();
        let found = status(&dataset, &lab.indexer, &mut lab.fake, compat, None).unwrap();
        assert_eq!(found.orphans, [("a".to_owned(), 2)]);
        assert_eq!(found.images.len(), 3);
        // A listing that is handed over is what counts.
        let listing = Some(Arc::new(vec!["b".to_owned()]));
        let found = status(&dataset, &lab.indexer, &mut lab.fake, compat, listing).unwrap();
        assert_eq!(found.orphans, [("a".to_owned(), 2)]);
        assert_eq!(found.images.iter().map(|image| image.image_id.as_str()).collect::<Vec<_>>(), ["b"]);
    }
    let dataset = lab.dataset().clone();
    let error = explain(&dataset, &lab.indexer, &mut lab.fake, "a", Compat::Kymhost).unwrap_err();
    assert!(matches!(&error, IndexError::UnknownImages(ids) if *ids == ["a"]), "{error}");
    let error = explain(&dataset, &lab.indexer, &mut lab.fake, "../a", Compat::Kymhost).unwrap_err();
    assert!(matches!(&error, IndexError::UnknownImages(_)), "{error}");
    // None are left.
    for id in ["ab", "b", "c"] {
        fs::remove_dir_all(lab.image(id)).unwrap();
    }
    let plan = lab.plan(Compat::Kymhost);
    assert_eq!((plan.images.len(), plan.table.orphans.len(), lab.fake.asked.len()), (0, 2, 0));
}

#[test]
fn a_table_that_cannot_be_read() {
    type Harm = fn(&Lab);
    let harms: [(&str, Harm); 2] = [
        ("no Parquet", |lab| fs::write(lab.path.join("tables/kym_stalls.parquet"), "no table").unwrap()),
        // The footer stays; the rows are looked at because the seal no longer holds.
        ("pages are lost", |lab| {
            let path = lab.path.join("tables/kym_stalls.parquet");
            let mut bytes = fs::read(&path).unwrap();
            let end = bytes.len() / 2;
            bytes[4..end].fill(0xff);
            fs::write(path, bytes).unwrap();
        }),
    ];
    for (harm, work) in harms {
        let mut lab = Lab::new();
        work(&lab);
        for compat in [Compat::Kymhost, Compat::Kymflow] {
            let error = lab.plan_with(&PlanOptions { compat, ..PlanOptions::default() }).unwrap_err();
            assert!(error.is_broken_table(), "{harm}: {error}");
            assert!(error.to_string().contains("kym_stalls"), "{harm}: {error}");
            let options = PlanOptions { compat, table_may_be_broken: true, ..PlanOptions::default() };
            let plan = lab.plan_with(&options).unwrap();
            assert!(plan.broken_table.as_ref().unwrap().to_string().contains("kym_stalls"), "{harm}");
            assert_eq!(plan.table.stat, lab.dataset().table_stat("kym_stalls").unwrap(), "{harm}");
            assert_eq!((plan.seal.clone(), plan.table.identity.clone()), (SealState::Unneeded, None), "{harm}");
            let lost = Reason::StaleMarkerTableMismatch;
            assert_eq!(reasons(&plan), [("a", lost), ("b", lost), ("c", Reason::FreshZeroRows)], "{harm}");
        }
    }
    // A table that is fine is no broken one.
    let mut lab = Lab::new();
    let plan = lab.plan_with(&PlanOptions { table_may_be_broken: true, ..PlanOptions::default() }).unwrap();
    assert!(plan.broken_table.is_none() && plan.table.stat.is_some());
}

#[test]
fn young_times_trusted_later() {
    let mut lab = Lab::bare();
    (lab.fake.on_params, lab.fake.on_rows) = (None, None);
    // A busy machine may be so slow that the run finds the times old enough. Then it tries again.
    let with = (0..100).find_map(|attempt| {
        for id in IMAGES {
            lab.put(id, "events.json", &format!("[4, {attempt}]"));
        }
        lab.run();
        // The receipt has no times: content is compared. It holds, and by now the times can be trusted.
        std::thread::sleep(Duration::from_millis(30));
        let plan = lab.plan(Compat::Kymhost);
        assert!(plan.images.iter().all(|image| !image.report.is_stale), "{:?}", reasons(&plan));
        assert_eq!(lab.fake.asked, []);
        plan.images[0].freshen.clone()
    });
    let with = with.expect("a run that saw young files");
    let before = receipt::read(lab.marker("a").to_string().as_bytes()).unwrap();
    let (text, _) = freshened_marker(lab.dataset(), MARKER, "a", &with).unwrap().unwrap();
    let after = receipt::read(&text).unwrap();
    assert_eq!(after.marker, before.marker);
    let times = |receipt: &Option<receipt::Receipt>| {
        let inputs = receipt.as_ref().unwrap().inputs.rows.clone().unwrap();
        let events = inputs.into_iter().find(|input| input.key == "analysis/events.json").unwrap();
        matches!(events.found, kymhost_dataset::InputState::File { times: Some(_), .. })
    };
    assert!(!times(&before.receipt) && times(&after.receipt));
    assert_eq!(freshened_marker(lab.dataset(), MARKER, "c/../a", &with).ok(), None);
}

#[test]
fn untrusted_times_not_written_again() {
    let mut lab = Lab::bare();
    let future = std::time::SystemTime::now() + Duration::from_secs(3600);
    fs::File::options().write(true).open(lab.artifact("a", "events.json")).unwrap().set_modified(future).unwrap();
    lab.run();
    let plan = lab.plan(Compat::Kymhost);
    assert_eq!((plan.images[0].report.reason, &plan.images[0].freshen), (Reason::FreshRows, &None));
}

#[test]
fn images_judged_in_order() {
    let mut lab = Lab::bare();
    for number in 0..200 {
        let id = format!("n{number:03}");
        lab.add_image(&id);
        lab.put(&id, "events.json", &format!("[{number}]"));
    }
    lab.run();
    for number in (0..200).step_by(7) {
        lab.put(&format!("n{number:03}"), "events.json", "[]");
    }
    let plan = lab.plan(Compat::Kymhost);
    assert_eq!(plan.images.len(), 203);
    for (place, image) in plan.images.iter().skip(3).enumerate() {
        assert_eq!(image.report.image_id, format!("n{place:03}"));
        let expected = if place % 7 == 0 { Reason::StaleInputChanged } else { Reason::FreshRows };
        assert_eq!(image.report.reason, expected, "{place}");
    }
    assert_eq!(lab.fake.asked, []);
}

#[test]
fn stopped_workforce_gives_no_plan() {
    for is_old in [false, true] {
        let mut lab = Lab::bare();
        lab.fake.stops_early = true;
        if is_old {
            lab.put("a", "stalls_run.json", "{}");
        }
        let (dataset, indexer, name) = (lab.dataset().clone(), lab.indexer.clone(), lab.name());
        for compat in [Compat::Kymhost, Compat::Kymflow] {
            let options = PlanOptions { compat, ..PlanOptions::default() };
            let stopped = plan(&dataset, &indexer, &name, &mut lab.fake, &options);
            assert!(matches!(stopped, Err(IndexError::Interrupted)), "{is_old} {compat:?}");
        }
    }
}

#[test]
fn every_reason_is_explained() {
    let mut lab = Lab::new();
    lab.put("a", "params.json", r#"{"window": 6, "a/b": [1]}"#);
    lab.put("a", "events.json", "[1, 2, 3]");
    lab.put("a", "extra.json", "7");
    lab.write_x(Arc::new(Int64Array::from(vec![1, 7, 3])));
    lab.indexer.analysis_version = "v2".into();
    ledger::write_intent(lab.dataset(), &lab.name(), &ledger::without_artifacts(["a"])).unwrap();
    let failure = PastFailure {
        kind: "panic".into(),
        message: "no peak".into(),
        library_sha256: "1".repeat(64),
        utc_epoch_ns: 1_795_483_323_000_000_000,
        inputs: vec![],
    };
    ledger::write_failures(lab.dataset(), &lab.name(), &[("a".to_owned(), failure)].into()).unwrap();
    let why = lab.explain("a");
    assert_eq!((why.indexer.as_str(), why.table.as_str()), ("stalls", "tables/kym_stalls.parquet"));
    let shown: Vec<_> =
        why.causes.iter().map(|cause| (cause.reason, cause.before.as_deref(), cause.after.as_deref())).collect();
    let hash = |text: &[u8]| format!("params hash {}…", &params_hash(&Json::parse(text).unwrap())[..12]);
    let (before, after) = (hash(br#"{"window":5}"#), hash(br#"{"window":6,"a/b":[1]}"#));
    let expected = [
        (Reason::StaleLastRunFailed, Some("panic: no peak (2026-11-24T01:22:03Z)"), None),
        (Reason::StaleInterrupted, Some("a run was killed while it committed this image"), None),
        (Reason::StaleVersionChanged, Some("v1"), Some("v2")),
        (Reason::StaleParamsChanged, Some(&*before), Some(&*after)),
        (Reason::StaleRowsChanged, Some("the run wrote 2 rows"), Some("the table has 2 rows, of other values")),
        (Reason::StaleInputChanged, None, None),
        (Reason::StaleInputAppeared, None, None),
    ];
    assert_eq!(shown, expected);
    let texts = |differences: &[crate::Difference]| -> Vec<_> {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        differences.iter().map(|found| (found.at.clone(), text(&found.before), text(&found.after))).collect()
    };
    let owned = |at: &str, before: &str, after: &str| (at.to_owned(), before.to_owned(), after.to_owned());
    assert_eq!(texts(&why.causes[3].params), [owned("/a~1b", "-", "[1]"), owned("/window", "5", "6")]);
    let (changed, appeared) = (texts(&why.causes[5].inputs), texts(&why.causes[6].inputs));
    assert_eq!((changed.len(), changed[0].0.as_str()), (1, "analysis/events.json"));
    assert!(
        changed[0].1.starts_with("6 bytes, sha256 ") && changed[0].2.starts_with("9 bytes, sha256 "),
        "{changed:?}"
    );
    assert_eq!((appeared.len(), appeared[0].1.as_str()), (1, "absent"));
    assert!(appeared[0].2.starts_with("1 byte, sha256 "), "{appeared:?}");

    // A fresh one has none.
    lab.run();
    let why = lab.explain("a");
    assert_eq!((why.report.reason, why.causes), (Reason::FreshRows, vec![]));
    // Params that were not kept: the hashes are said.
    lab.edit_receipt("a", "params", Json::Null);
    lab.put("a", "params.json", "[]");
    let cause = lab.explain("a").causes.remove(0);
    assert_eq!((cause.reason, cause.params, cause.before), (Reason::StaleParamsChanged, vec![], Some(after)));
    // Rows that match, and a marker of another time.
    lab.put("a", "params.json", r#"{"window": 6, "a/b": [1]}"#);
    lab.edit_marker("a", |fields| drop(fields.insert("analysis_version".into(), "v0".into())));
    let cause = lab.explain("a").causes.remove(0);
    let told = cause.before.unwrap();
    assert_eq!(cause.reason, Reason::StaleNoReceipt);
    assert!(told.starts_with("the marker has 4 rows: params hash ") && told.ends_with(", v0"), "{told}");
    assert_eq!(cause.after.as_deref(), Some("the table has 4 rows"));
}
