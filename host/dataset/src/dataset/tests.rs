//! Whole datasets: made, filled, read, refused, and found wanting.

use super::*;
use crate::{gzip, validate};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use kymhost_plugin_api::array::DType;
use kymhost_plugin_api::{Artifact, ArtifactKind};
use std::fs;

struct Fixture {
    _folder: tempfile::TempDir,
    root: PathBuf,
    dataset: Dataset,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("some.zarr");
    let dataset = Dataset::create(&root).unwrap();
    Fixture { _folder: folder, root, dataset }
}

fn pixels(shape: &[usize]) -> Array {
    let count: usize = shape.iter().product();
    let axes = ["y", "x"].map(str::to_owned).to_vec();
    Array::new(DType::UInt16, shape.to_vec(), axes, (0..count * 2).map(|n| n as u8).collect()).unwrap()
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn rows() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("image_id", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
        ("n", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("x", Arc::new(Float64Array::from(vec![1.5, f64::NAN]))),
    ])
    .unwrap()
}

/// A dataset in which everything that can be there is.
fn full() -> (Fixture, String) {
    let f = fixture();
    let record = f.dataset.add_image(None, &pixels(&[5, 4]), None).unwrap();
    record.put_json("metadata", &json(r#"{"header": {"acquired_local_epoch_ns": 7}, "rois": [NaN]}"#)).unwrap();
    record.put_json("radon/params", &json("{}")).unwrap();
    record.put_parquet("radon/results", &rows()).unwrap();
    record.put_array("maps/speed", &pixels(&[3, 3])).unwrap();
    let id = record.image_id().to_owned();
    let analysis = f.root.join("images").join(&id).join("analysis");
    fs::write(analysis.join("old.json.gz"), gzip::compress(b"[1]").unwrap()).unwrap();
    fs::write(analysis.join("events.csv.gz"), gzip::compress(b"a,b\n1,x\n").unwrap()).unwrap();
    f.dataset.write_table("kym_radon", &rows()).unwrap();
    f.dataset.rebuild_manifest().unwrap();
    (f, id)
}

#[test]
fn artifacts_round_trip() {
    let (f, id) = full();
    let dataset = Dataset::open(&f.root).unwrap();
    assert_eq!(dataset.image_ids().unwrap(), std::slice::from_ref(&id));
    assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 4);
    let record = dataset.find_record(&id).unwrap();
    assert_eq!(record.pixels().unwrap().unwrap(), pixels(&[5, 4]));
    assert_eq!(record.array("maps/speed").unwrap().unwrap(), pixels(&[3, 3]));
    assert_eq!(record.json("old").unwrap().unwrap(), json("[1]"));
    assert!(record.json("metadata").unwrap().unwrap().get("rois").is_some());
    assert_eq!(record.parquet("radon/results").unwrap().unwrap().num_rows(), 2);
    assert_eq!(record.csv("events").unwrap().unwrap().num_columns(), 2);
    for (name, absent) in [
        ("json", record.json("x").unwrap().is_none()),
        ("parquet", record.parquet("x").unwrap().is_none()),
        ("csv", record.csv("x").unwrap().is_none()),
        ("array", record.array("x").unwrap().is_none()),
        ("table", dataset.read_table("x", None).unwrap().is_none()),
    ] {
        assert!(absent, "{name}");
    }
    let line = |name: &str, kind| Artifact::new(name, kind);
    let expected = [
        line("events", ArtifactKind::Csv),
        line("maps/speed", ArtifactKind::Array),
        line("metadata", ArtifactKind::Json),
        line("old", ArtifactKind::Json),
        line("radon/params", ArtifactKind::Json),
        line("radon/results", ArtifactKind::Parquet),
    ];
    assert_eq!(record.artifacts().unwrap(), expected);
    assert_eq!(dataset.table_names().unwrap(), ["kym_radon"]);
    let table = dataset.read_table("kym_radon", Some(&["x", "image_id"])).unwrap().unwrap();
    assert_eq!(table.schema().field(0).name(), "image_id");
    let info = dataset.info().unwrap();
    assert_eq!((info.images, info.artifacts, info.tables[0].rows, info.has_manifest), (1, 6, 2, true));
    assert_eq!(dataset.check_manifest().unwrap(), []);
    assert_eq!(dataset.validate(), []);
    assert!(matches!(dataset.find_record("x"), Err(DatasetError::UnknownImage { .. })));
    assert!(matches!(dataset.find_record("../x"), Err(DatasetError::UnknownImage { .. })));
    assert!(dataset.delete_table("kym_radon").unwrap() && !dataset.delete_table("kym_radon").unwrap());
    assert!(dataset.delete_image(&id).unwrap() && !dataset.delete_image(&id).unwrap());
    assert!(dataset.image_ids().unwrap().is_empty());
}

#[test]
fn plain_json_wins_over_gzipped() {
    let (f, id) = full();
    let record = f.dataset.record(&id).unwrap();
    record.put_json("old", &json("[2]")).unwrap();
    assert_eq!(record.json("old").unwrap().unwrap(), json("[2]"));
    assert!(f.root.join("images").join(&id).join("analysis/old.json.gz").exists());
    assert_eq!(record.artifacts().unwrap().iter().filter(|a| a.name == "old").count(), 1);
}

#[test]
fn smaller_array_leaves_no_old_chunk() {
    let (f, id) = full();
    let record = f.dataset.record(&id).unwrap();
    for shape in [[1100, 3], [3, 3]] {
        record.put_array("maps/speed", &pixels(&shape)).unwrap();
        assert_eq!(record.array("maps/speed").unwrap().unwrap(), pixels(&shape));
    }
    f.dataset.rebuild_manifest().unwrap();
    assert_eq!(f.dataset.validate(), []);
}

#[test]
fn writes_set_updated_utc_and_keep_other_attributes() {
    let (f, id) = full();
    let image = f.root.join("images").join(&id).join(".zattrs");
    let root = f.root.join(".zattrs");
    let old = r#""created_utc": "2000-01-01T00:00:00Z", "updated_utc": "2000-01-01T00:00:00Z", "mine": NaN"#;
    let reset = || {
        fs::write(&image, format!("{{{old}, \"axes\": [\"y\", \"x\"]}}")).unwrap();
        fs::write(&root, format!("{{{old}, \"format\": \"{FORMAT}\", \"schema_version\": 1}}")).unwrap();
    };
    let changed = |path: &Path| {
        let json = Json::parse(&fs::read(path).unwrap()).unwrap();
        assert!(matches!(json.get("mine"), Some(Json::Float(value)) if value.is_nan()));
        assert_eq!(json.get("created_utc").and_then(Json::as_str), Some("2000-01-01T00:00:00Z"));
        json.get("updated_utc").and_then(Json::as_str) != Some("2000-01-01T00:00:00Z")
    };
    let d = &f.dataset;
    let record = d.record(&id).unwrap();
    type Work<'a> = Box<dyn Fn() + 'a>;
    let works: [(&str, bool, bool, Work<'_>); 8] = [
        ("json", true, false, Box::new(|| record.put_json("a", &json("1")).unwrap())),
        ("parquet", true, false, Box::new(|| record.put_parquet("a", &rows()).unwrap())),
        ("array", true, false, Box::new(|| record.put_array("a", &pixels(&[2, 2])).unwrap())),
        (
            "many",
            true,
            false,
            Box::new(|| {
                d.put_json_many(&mut [d.prepare_json(&id, "b", &json("1")).unwrap()].into_iter()).unwrap();
            }),
        ),
        ("table", false, true, Box::new(|| d.write_table("t", &rows()).unwrap())),
        ("manifest", false, true, Box::new(|| assert_eq!(d.rebuild_manifest().unwrap(), 1))),
        ("add", false, true, Box::new(|| drop(d.add_image(Some("new"), &pixels(&[2, 2]), None).unwrap()))),
        ("delete", false, true, Box::new(|| assert!(d.delete_image("new").unwrap()))),
    ];
    for (name, image_changes, root_changes, work) in works {
        reset();
        work();
        assert_eq!((changed(&image), changed(&root)), (image_changes, root_changes), "{name}");
    }
}

#[test]
fn broken_attributes_stop_writes() {
    let (f, id) = full();
    let path = f.root.join("images").join(&id).join(".zattrs");
    for broken in ["{", "[]", "", "\u{0}"] {
        fs::write(&path, broken).unwrap();
        let record = f.dataset.record(&id).unwrap();
        for result in [
            record.put_json("new", &json("1")),
            record.put_parquet("new", &rows()),
            record.put_array("new", &pixels(&[2, 2])),
            f.dataset.prepare_json(&id, "new", &json("1")).map(drop),
        ] {
            assert!(matches!(result, Err(DatasetError::Unreadable { ref key, .. }) if key.ends_with(".zattrs")));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), broken);
        assert!(record.json("new").unwrap().is_none());
    }
    let gone = f.dataset.record("gone").unwrap();
    assert!(matches!(gone.put_json("x", &json("1")), Err(DatasetError::UnknownImage { .. })));
    assert!(!f.root.join("images/gone").exists());
}

#[test]
fn open_rejects_other_folders_with_help() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("d");
    let refused = |expected: &str| match Dataset::open(&root) {
        Err(DatasetError::NotADataset { why, help, .. }) => {
            let text = format!("{why}; {help}");
            assert!(text.contains(expected), "{text}");
        }
        other => panic!("{expected}: {other:?}"),
    };
    refused("kymhost dataset create");
    fs::write(&root, "").unwrap();
    refused("it is a file");
    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    refused(".zgroup");
    fs::write(root.join("zarr.json"), "{}").unwrap();
    refused("Zarr v3");
    fs::write(root.join(".zgroup"), "{\"zarr_format\": 2}").unwrap();
    refused("attribute format");
    for (attributes, expected) in [
        (r#"{"format": "other", "schema_version": 1}"#, "'other'"),
        (r#"{"format": "kymflow_zarr_v1"}"#, "missing"),
        (r#"{"format": "kymflow_zarr_v1", "schema_version": "1"}"#, "expected 1"),
        (r#"{"format": "kymflow_zarr_v1", "schema_version": 2}"#, "newer kymhost"),
    ] {
        fs::write(root.join(".zattrs"), attributes).unwrap();
        refused(expected);
    }
    fs::write(root.join(".zattrs"), "{").unwrap();
    assert!(matches!(Dataset::open(&root), Err(DatasetError::Unreadable { .. })));
    fs::write(root.join(".zattrs"), r#"{"format": "kymflow_zarr_v1", "schema_version": 1, "x": NaN}"#).unwrap();
    let dataset = Dataset::open(&root).unwrap();
    assert!(matches!(dataset.image_ids(), Err(DatasetError::Unreadable { .. })), "a missing images folder is an error");
    assert!(Dataset::create(&root).is_err(), "not over something");
    assert!(Dataset::create(&folder.path().join("new/deep.zarr")).is_ok());
}

#[test]
fn corrupt_artifact_error_names_its_key() {
    let (f, id) = full();
    let record = f.dataset.record(&id).unwrap();
    let at = |path: &str| f.root.join("images").join(&id).join(path);
    for (path, read) in [
        ("analysis/metadata.json", Box::new(|| record.json("metadata").map(|_| ())) as Box<dyn Fn() -> Result<(), _>>),
        ("analysis/old.json.gz", Box::new(|| record.json("old").map(|_| ()))),
        ("analysis/events.csv.gz", Box::new(|| record.csv("events").map(|_| ()))),
        ("analysis/radon/results.parquet", Box::new(|| record.parquet("radon/results").map(|_| ()))),
        ("data/.zarray", Box::new(|| record.pixels().map(|_| ()))),
        ("data/0.0", Box::new(|| record.pixels().map(|_| ()))),
    ] {
        let whole = fs::read(at(path)).unwrap();
        for broken in [whole[..whole.len() - 1].to_vec(), b"junk".to_vec(), Vec::new()] {
            fs::write(at(path), &broken).unwrap();
            match read() {
                Err(DatasetError::Unreadable { key, .. }) => assert!(key.ends_with(path), "{path}: {key}"),
                other => panic!("{path} of {} bytes: {other:?}", broken.len()),
            }
        }
        fs::write(at(path), whole).unwrap();
        read().unwrap();
    }
}

#[test]
fn validate_reports_every_problem_at_once() {
    let (f, id) = full();
    let image = format!("images/{id}");
    let write = |path: &str, text: &str| {
        let path = f.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let mut expected = Vec::new();
    let mut wrong = |path: &str, text: &str, key: &str, message: &'static str| {
        write(path, text);
        expected.push((key.to_owned(), message));
    };
    let at = |path: &str| format!("{image}/{path}");
    wrong(".zattrs", r#"{"format": "x", "schema_version": 2}"#, ".zattrs", "'format' should be");
    wrong(".zattrs", r#"{"format": "x", "schema_version": 2}"#, ".zattrs", "'schema_version' should be");
    wrong(".zattrs", r#"{"format": "x", "schema_version": 2}"#, ".zattrs", "'updated_utc' should be");
    wrong("stray", "", "stray", "does not belong");
    wrong("index/stray", "", "index/stray", "does not belong");
    wrong("index/.zgroup", "{", "index/.zgroup", "not JSON");
    wrong("index/manifest.json.gz", "junk", "index/manifest.json.gz", "manifest");
    wrong("tables/bad.parquet", "junk", "tables/bad.parquet", "Parquet");
    wrong("tables/other.txt", "", "tables/other.txt", "NAME.parquet");
    wrong("images/file", "", "images/file", "recordings are folders");
    wrong("images/nogroup/x", "", "images/nogroup/.zgroup", "missing");
    wrong("images/nodata/.zgroup", "{\"zarr_format\": 2}", "images/nodata/data/.zarray", "missing");
    wrong(&at(".zattrs"), "{\"axes\": [\"y\"]}", &at(".zattrs"), "'axes' should name 2");
    wrong(&at("data/0.0"), "junk", &at("data/0.0"), "chunk");
    wrong(&at("data/9.9"), "", &at("data/9.9"), "is not a chunk");
    wrong(&at("analysis/bad.json"), "{", &at("analysis/bad.json"), "JSON");
    wrong(&at("analysis/old.json.gz"), "junk", &at("analysis/old.json.gz"), "gzip");
    wrong(&at("analysis/old.json"), "[]", &at("analysis/old.json.gz"), "gzip");
    wrong(&at("analysis/events.csv.gz"), "junk", &at("analysis/events.csv.gz"), "gzip");
    wrong(&at("analysis/radon/results.parquet"), "junk", &at("analysis/radon/results.parquet"), "Parquet");
    wrong(&at("analysis/notes.txt"), "", &at("analysis/notes.txt"), "not an artifact");
    wrong(&at("analysis/a b.json"), "{}", &at("analysis/a b.json"), "characters");
    wrong(
        &at("analysis_arrays/maps/speed/data/.zarray"),
        "{}",
        &at("analysis_arrays/maps/speed/data/.zarray"),
        "zarr_format",
    );
    for (name, to, message) in [
        ("out.json", "/etc/passwd", "leads out of the dataset"),
        ("nowhere.json", "missing", "nothing is there"),
        ("nowhere.parquet", "missing", "nothing is there"),
    ] {
        std::os::unix::fs::symlink(to, f.root.join(at("analysis")).join(name)).unwrap();
        expected.push((at(&format!("analysis/{name}")), message));
    }

    assert!(Dataset::open(&f.root).is_err());
    let problems = validate(Arc::new(LocalStore::open(&f.root).unwrap())).problems;
    for (key, message) in expected {
        assert!(
            problems.iter().any(|problem| problem.key == key && problem.message.contains(message)),
            "{key}: {message} is not among {problems:#?}"
        );
    }
    assert!(problems.iter().all(|problem| !problem.message.contains(&f.root.display().to_string())), "{problems:#?}");
}

#[test]
fn validate_notes_old_manifest_reports_broken_one() {
    let (f, id) = full();
    f.dataset.record(&id).unwrap().put_json("later", &json("1")).unwrap();
    let findings = || validate(Arc::clone(f.dataset.store()));
    assert_eq!(findings().problems, [], "it is derived: being behind is not damage");
    assert!(findings().notes.iter().any(|note| note.key == "index/manifest.json.gz"), "{:?}", findings().notes);
    assert!(f.dataset.check_manifest().unwrap().iter().any(|found| found.message.contains("analysis_keys")));
    let created = |dataset: &Dataset| dataset.read_manifest().unwrap().unwrap().get("created_utc").cloned();
    let before = created(&f.dataset);
    f.dataset.rebuild_manifest().unwrap();
    assert_eq!(created(&f.dataset), before);
    assert_eq!(findings(), Default::default());
    fs::write(f.root.join("index/manifest.json.gz"), gzip::compress(br#"{"images": [7]}"#).unwrap()).unwrap();
    assert!(findings().problems.iter().all(|problem| problem.key == "index/manifest.json.gz"));
    assert_eq!(
        findings().problems.len(),
        3,
        "format, schema version, a line that is not a recording: {:?}",
        findings()
    );
    fs::remove_file(f.root.join("index/manifest.json.gz")).unwrap();
    assert_eq!(f.dataset.validate(), [], "a dataset need not have a manifest");
    assert_eq!(f.dataset.check_manifest().unwrap().len(), 1);
}

#[test]
fn read_only_dataset_reads_and_refuses_writes() {
    use std::os::unix::fs::PermissionsExt;
    let (f, id) = full();
    if rustix::process::geteuid().is_root() {
        let _ = io::Write::write_all(&mut io::stderr(), b"SKIPPED a read-only dataset: root may write everywhere\n");
        return;
    }
    let lock = |mode: u32| {
        let mut open = vec![f.root.clone()];
        while let Some(folder) = open.pop() {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            open.extend(fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).filter(|path| path.is_dir()));
        }
    };
    lock(0o555);
    assert!(f.dataset.record(&id).unwrap().pixels().unwrap().is_some());
    assert!(matches!(f.dataset.write_table("kym_radon", &rows()), Err(DatasetError::Store(StoreError::Io { .. }))));
    lock(0o755);
    assert_eq!(f.dataset.validate(), []);
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
#[test]
fn validate_notes_left_over_files() {
    let (f, _) = full();
    let findings = || validate(Arc::clone(f.dataset.store()));
    // A process of this boot with our number, that began at another time: it has ended.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().replace('-', "");
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap().to_str().unwrap().replace("pid:[", "").replace(']', "");
    let namespace: u64 = namespace.parse().unwrap();
    let name = format!(".kymhost-tmp-{boot}-{namespace:x}-{:x}-1-0", std::process::id());
    for folder in ["tables", "index/kymhost/tmp"] {
        fs::create_dir_all(f.root.join(folder)).unwrap();
        let file = f.root.join(folder).join(&name);
        fs::write(&file, "half").unwrap();
        let found = findings();
        assert_eq!(found.problems, []);
        assert!(found.notes.iter().any(|note| note.key == folder && note.message.contains("killed")), "{found:?}");
        fs::remove_file(&file).unwrap();
    }
    assert!(!findings().notes.iter().any(|note| note.message.contains("killed")));
}
