//! What a plugin must do whatever it was built with: one battery over both doors.
//!
//! Has the datasets for the probes, what they must answer, and how a refusal must read. It builds no plugins.

pub mod memory;

use kymhost::dataset::{Dataset, Record};
use kymhost::plugin::{Failure, FailureKind, Indexer, PluginError, load_library};
use kymhost_plugin_api::array::{Array, DType};
use kymhost_plugin_api::{ArtifactKind, Json, Table};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A dataset with an image for each thing that the probe is to do.
pub struct Fixture {
    _folder: tempfile::TempDir,
    dataset: Dataset,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dataset = Dataset::create(&folder.path().join("probe.zarr")).expect("a new dataset");
        Self { _folder: folder, dataset }
    }

    pub fn image(&self, what_to_do: &str) -> Record {
        let pixels = Array::new(DType::UInt8, vec![2, 3], vec!["y".into(), "x".into()], vec![1, 2, 3, 4, 5, 6])
            .expect("an array");
        let record = self.dataset.add_image(None, &pixels, None).expect("a new image");
        let params = Json::object([("do", Json::from(what_to_do))]);
        record.put_json("probe/params", &params).expect("params");
        record
    }

    /// Writes a JSON artifact that is not JSON, and gives its path.
    pub fn break_json(&self, record: &Record, name: &str) -> String {
        record.put_json(name, &Json::Null).expect("an artifact");
        let place = record.describe_artifact(name, ArtifactKind::Json);
        let path = if Path::new(&place).is_absolute() {
            PathBuf::from(&place)
        } else {
            self.dataset.store().root().join(&place)
        };
        assert!(path.is_file(), "{}", path.display());
        fs::write(path, "{\"x\": ").expect("a broken artifact");
        place
    }
}

pub fn never() -> bool {
    false
}

pub fn load(library: &Path) -> Vec<Box<dyn Indexer>> {
    load_library(library).unwrap_or_else(|error| panic!("{}: {error}", library.display()))
}

pub fn indexer<'a>(indexers: &'a [Box<dyn Indexer>], name: &str) -> &'a dyn Indexer {
    indexers.iter().find(|indexer| indexer.info().name == name).expect("the indexer").as_ref()
}

/// Column `key` of a text table, by the text in column `by`.
pub fn answers(rows: &arrow::array::RecordBatch) -> BTreeMap<String, String> {
    let text = |name: &str| -> Vec<String> {
        let column = rows.column_by_name(name).expect("the column");
        let column = column.as_any().downcast_ref::<arrow::array::StringArray>().expect("text");
        column.iter().map(|cell| cell.unwrap_or_default().to_owned()).collect()
    };
    text("asked").into_iter().zip(text("answer")).collect()
}

/// Which door the probe came through, and what it cannot do for that.
pub enum Door {
    /// The probe in Rust, without what an older API lacks.
    Rust {
        /// What it was asked but could not ask.
        without: &'static [&'static str],
    },
    /// The probe in C.
    C,
}

/// What every plugin that loads must do, whatever it was built with and whichever door it has.
pub fn check_runs(library: &Path, door: &Door) {
    let without = match door {
        Door::Rust { without } => *without,
        Door::C => &[],
    };
    let fixture = Fixture::new();
    let indexers = load(library);
    let names: Vec<_> = indexers.iter().map(|indexer| indexer.info().name.as_str()).collect();
    assert_eq!(names, ["abi_probe", "abi_second"]);
    let probe = indexer(&indexers, "abi_probe");
    let info = probe.info();
    assert_eq!(
        (info.marker_name.as_str(), &info.params_artifacts[..]),
        ("abi_probe_run", &["probe/params".to_owned(), "probe.params".to_owned()][..])
    );

    let record = fixture.image("report");
    let table = Table::builder().column("a", vec![1.0, 2.0]).and_then(|table| table.column("b", vec!["x", "y"]));
    let table = table.and_then(|table| table.build()).and_then(Table::into_batch).expect("a table");
    record.put_parquet("probe/table", &table).expect("a table artifact");
    let array =
        Array::new(DType::Float32, vec![1], vec!["t".into()], 1.5_f32.to_ne_bytes().to_vec()).expect("an array");
    record.put_array("probe/array", &array).expect("an array artifact");
    let broken = fixture.break_json(&record, "probe/broken");
    let params = Json::object([("do", Json::from("report"))]);
    assert_eq!(probe.params_hash(&record), Ok(kymhost_plugin_api::params_hash(&params)));
    let rows = probe.extract_rows(&record, 3, &never).expect("rows");
    let answers = answers(&rows);
    for (asked, words) in [
        ("image_id", record.image_id()),
        ("json", "report"),
        ("json_absent", "None"),
        ("json_broken", "Unreadable"),
        ("metadata", "None"),
        ("attributes", "created_utc"),
        ("table", "Some((2, [\"a\", \"b\"]))"),
        ("parquet_absent", "None"),
        ("csv", "None"),
        ("pixels", "[1, 2, 3, 4, 5, 6]"),
        ("array", "Float32, [1], [\"t\"]"),
        ("artifacts", "probe/table"),
        ("threads", "3"),
        ("cancelled", "false"),
    ] {
        let answer = answers.get(asked).map_or("", String::as_str);
        assert!(without.contains(&asked) || answer.contains(words), "{asked}: {answer}");
    }
    assert!(!answers["attributes"].contains("updated_utc"), "{}", answers["attributes"]);

    let failed = |kind, message: &str| Err(Failure::new(kind, message.to_owned()));
    for (what, expected) in [
        ("panic", FailureKind::Panic),
        ("panic_in_thread", FailureKind::Panic),
        ("error", FailureKind::Error),
        ("cancelled", FailureKind::Error),
        ("ragged", FailureKind::BadTable),
        ("duplicate", FailureKind::BadTable),
        ("unnamed", FailureKind::BadTable),
    ] {
        let found = probe.extract_rows(&fixture.image(what), 1, &|| true).map_err(|failure| failure.kind);
        assert_eq!(found.map(drop), Err(expected), "{what}");
    }
    let record = fixture.image("panic");
    let found = probe.extract_rows(&record, 1, &never).map(drop);
    assert_eq!(found, failed(FailureKind::Panic, &format!("the probe panics for {}", record.image_id())));
    for (what, kind, words) in
        [("params_panic", FailureKind::Panic, "no params for"), ("params_error", FailureKind::Error, "no params today")]
    {
        let failure = probe.params_hash(&fixture.image(what)).expect_err(what);
        assert!(failure.kind == kind && failure.message.contains(words), "{failure:?}");
    }
    for (what, rows, columns) in [
        ("print", 1, "a: Float64"),
        ("no_rows", 0, "a: Float64"),
        ("cut_to_no_rows", 0, "a: Utf8"),
        ("foreign_types", 3, "dictionary: Utf8, view: Utf8"),
    ] {
        // What C has no headers for.
        if matches!(door, Door::C) && what == "foreign_types" {
            continue;
        }
        let found = probe.extract_rows(&fixture.image(what), 1, &never).expect(what);
        let types: Vec<_> =
            found.schema().fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect();
        assert_eq!((found.num_rows(), types.join(", ").as_str()), (rows, columns), "{what}");
    }

    let record = fixture.image("unreadable");
    let broken_too = fixture.break_json(&record, "probe/broken");
    assert_ne!(broken, broken_too);
    let failure = probe.extract_rows(&record, 1, &never).expect_err("unreadable");
    assert!(failure.kind == FailureKind::Unreadable && failure.message.contains(&broken_too), "{failure:?}");

    let second = indexer(&indexers, "abi_second");
    // Quotes have no place in the literals that a card in C is made of.
    let version = if matches!(door, Door::C) { "second 'quoted' @ä" } else { "second \"quoted\" @ä" };
    assert_eq!(
        (second.info().analysis_version.as_str(), second.info().marker_name.as_str()),
        (version, "second/summary")
    );
    assert_eq!(second.params_hash(&record), Ok(format!("own hash of {}", record.image_id())));
    if !without.contains(&"read_old_marker") {
        for (payload, expected) in
            [("{\"n_events\": 4}", Ok(Some(4))), ("{}", Ok(None)), ("{\"n_events\": 13}", Err(FailureKind::Panic))]
        {
            let found = second.read_old_marker(payload.as_bytes());
            assert_eq!(
                found.map(|marker| marker.map(|marker| marker.n_rows)).map_err(|failure| failure.kind),
                expected
            );
        }
    } else {
        assert_eq!(second.read_old_marker(b"{\"n_events\": 4}"), Ok(None));
    }
}

/// A refusal: at most five lines, with the file, these words, and which side to upgrade.
#[track_caller]
pub fn check_refused(library: &Path, words: &[&str]) {
    let error = match load_library(library) {
        Ok(_) => panic!("{} was loaded", library.display()),
        Err(error) => error,
    };
    let PluginError::Refused { refusal, .. } = &error else { panic!("{error:?}") };
    let text = format!("{error}\n{}", refusal.help);
    assert!(text.lines().count() <= 5, "{} lines:\n{text}", text.lines().count());
    assert!(text.lines().all(|line| line.chars().count() <= 600), "{text}");
    assert!(text.contains(&library.display().to_string()), "no file name:\n{text}");
    for word in words {
        assert!(text.contains(word), "no '{word}':\n{text}");
    }
    let sides = ["upgrade kymhost", "upgrade the plugin", "rebuild", "reinstall"];
    assert!(sides.iter().any(|side| text.contains(side)), "it does not say which side to upgrade:\n{text}");
}
