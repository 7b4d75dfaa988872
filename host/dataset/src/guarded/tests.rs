//! Another program writes after everything was read and before anything is renamed: nothing of it is lost.

use super::MAX_TRIES;
use crate::{Dataset, DatasetError, Payload};
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::{ArtifactKind, Json};
use kymhost_store::{
    Entry, GuardedWrite, Key, LocalStore, LockGuard, Sink, StagedTree, Stat, Store, StoreError, StoredFile,
};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

type Meddle = Box<dyn FnMut(&Path) + Send>;

/// A store in which another program writes right before each batch of ours, as often as it likes.
struct Meddling {
    store: LocalStore,
    meddle: Mutex<Option<Meddle>>,
}

impl std::fmt::Debug for Meddling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a store with another writer")
    }
}

impl Store for Meddling {
    fn replace_many(&self, items: &mut dyn Iterator<Item = GuardedWrite>) -> Result<Vec<Key>, StoreError> {
        // All are made before the other program writes.
        let items: Vec<GuardedWrite> = items.collect();
        if let Some(meddle) = &mut *self.meddle.lock().unwrap() {
            meddle(&self.store.root());
        }
        self.store.replace_many(&mut items.into_iter())
    }
    fn get_with_stat(&self, key: &Key, limit: u64) -> Result<Option<(Vec<u8>, Stat)>, StoreError> {
        self.store.get_with_stat(key, limit)
    }
    fn open(&self, key: &Key) -> Result<Option<Box<dyn StoredFile>>, StoreError> {
        self.store.open(key)
    }
    fn stat(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        self.store.stat(key)
    }
    fn list(&self, folder: &Key) -> Result<Option<Vec<Entry>>, StoreError> {
        self.store.list(folder)
    }
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.put(key, bytes)
    }
    fn put_with(&self, key: &Key, write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>) -> Result<Stat, StoreError> {
        self.store.put_with(key, write)
    }
    fn replace_with(
        &self,
        key: &Key,
        expected: Option<Stat>,
        write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<Option<Stat>, StoreError> {
        self.store.replace_with(key, expected, write)
    }
    fn put_many(&self, items: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<(), StoreError> {
        self.store.put_many(items)
    }
    fn check_way(&self, key: &Key) -> Result<(), StoreError> {
        self.store.check_way(key)
    }
    fn stage_tree(
        &self,
        folder: &Key,
        items: &mut dyn Iterator<Item = (Key, Vec<u8>)>,
    ) -> Result<StagedTree, StoreError> {
        self.store.stage_tree(folder, items)
    }
    fn publish_trees(&self, trees: Vec<(Key, StagedTree)>) -> Result<(), StoreError> {
        self.store.publish_trees(trees)
    }
    fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.store.delete(key)
    }
    fn delete_tree(&self, folder: &Key) -> Result<bool, StoreError> {
        self.store.delete_tree(folder)
    }
    fn lock(&self, key: &Key, holder: &str) -> Result<Option<LockGuard>, StoreError> {
        self.store.lock(key, holder)
    }
    fn root(&self) -> PathBuf {
        self.store.root()
    }
}

/// A dataset with image `a`, and its store.
fn fixture() -> (tempfile::TempDir, Dataset, Arc<Meddling>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.zarr");
    Dataset::create(&path).unwrap().add_image(Some("a"), &pixels(2), None).unwrap();
    let store = Arc::new(Meddling { store: LocalStore::open(&path).unwrap(), meddle: Mutex::new(None) });
    let dataset = Dataset::open_store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
    (folder, dataset, store)
}

fn pixels(lines: usize) -> Array {
    let elements = vec![7u16; lines * 2];
    Array::from_elements(&elements, vec![lines, 2], vec!["t".to_owned(), "x".to_owned()]).unwrap()
}

fn set(file: &Path, member: &str, value: impl Into<Json>) {
    let text = fs::read(file).unwrap_or_else(|_| b"{}".to_vec());
    let Json::Object(mut object) = Json::parse(&text).unwrap() else { panic!("no object") };
    object.insert(member.to_owned(), value.into());
    let aside = file.with_extension("new");
    fs::write(&aside, Json::Object(object).to_file_text()).unwrap();
    fs::rename(aside, file).unwrap();
}

/// Sets a member of a file before each of the next `times` batches.
fn meddle(store: &Meddling, file: &'static str, times: i64) {
    let mut count = 0;
    *store.meddle.lock().unwrap() = Some(Box::new(move |root| {
        if count < times {
            count += 1;
            set(&root.join(file), "theirs", count);
        }
    }));
}

const ATTRIBUTES: &str = "images/a/.zattrs";

/// Everything that sets attributes, in a dataset in which another program sets them as well.
#[test]
fn attributes_of_others_stay_whatever_is_written() {
    let rows = || {
        let column: arrow::array::ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
        arrow::array::RecordBatch::try_from_iter([("n", column)]).unwrap()
    };
    let root = ".zattrs";
    type Write<'a> = &'a dyn Fn(&Dataset);
    let writes: [(&str, &'static str, Write<'_>); 12] = [
        ("put_json", ATTRIBUTES, &|d| d.record("a").unwrap().put_json("j", &Json::from(1)).unwrap()),
        ("put_parquet", ATTRIBUTES, &|d| d.record("a").unwrap().put_parquet("t", &rows()).unwrap()),
        ("put_array", ATTRIBUTES, &|d| d.record("a").unwrap().put_array("x", &pixels(3)).unwrap()),
        ("put_array's own", "images/a/analysis_arrays/x/.zattrs", &|d| {
            fs::create_dir_all(d.path().join("images/a/analysis_arrays/x")).unwrap();
            d.record("a").unwrap().put_array("x", &pixels(3)).unwrap();
        }),
        ("put_json_many", ATTRIBUTES, &|d| {
            let prepared = d.prepare_json("a", "j", &Json::from(1)).unwrap();
            assert!(d.put_json_many(&mut [prepared].into_iter()).unwrap().is_empty());
        }),
        ("put_artifacts", ATTRIBUTES, &|d| {
            let prepare = |name, payload| d.prepare_artifact("a", name, &payload, Vec::new()).unwrap();
            let made = vec![prepare("j", Payload::Json(b"1".to_vec())), prepare("x", Payload::Array(pixels(3)))];
            assert!(d.put_artifacts(made).unwrap().is_empty());
        }),
        ("publish_pixels", ATTRIBUTES, &|d| d.publish_pixels(d.stage_pixels("a", &pixels(9)).unwrap()).unwrap()),
        ("publish_images", root, &|d| {
            let staged = d.draft_image("b", &pixels(2)).unwrap().stage().unwrap();
            assert!(d.publish_images(vec![staged]).unwrap().is_empty());
        }),
        ("add_image", root, &|d| drop(d.add_image(Some("b"), &pixels(2), None).unwrap())),
        ("delete_image", root, &|d| assert!(d.delete_image("a").unwrap())),
        ("rebuild_manifest", root, &|d| assert_eq!(d.rebuild_manifest().unwrap(), 1)),
        ("replace_table", root, &|d| assert!(d.replace_table("t", None, &rows()).unwrap())),
    ];
    for (what, file, write) in writes {
        for times in 1..MAX_TRIES as i64 {
            let (_folder, dataset, store) = fixture();
            let read = |file: &str| Json::parse(&fs::read(dataset.path().join(file)).unwrap()).unwrap();
            let stamp = "2001-01-01T00:00:00Z";
            for file in [ATTRIBUTES, ".zattrs"] {
                set(&dataset.path().join(file), "updated_utc", stamp);
            }
            meddle(&store, file, times);
            write(&dataset);
            let now = read(file);
            assert_eq!(now.get("theirs"), Some(&Json::from(times)), "{what}, {times}");
            let updated = now.get("updated_utc").and_then(Json::as_str).unwrap_or_default();
            assert!(updated > stamp, "{what}, {times}: {now}");
            if what == "publish_pixels" {
                assert_eq!(now.get("axes"), Some(&["t", "x"].into_iter().collect::<Json>()));
            }
        }
    }
}

/// A program that never stops: a time is only a hint, axes are not.
#[test]
fn attributes_that_never_stand_still_are_an_error_if_it_matters() {
    let (_folder, dataset, store) = fixture();
    meddle(&store, ATTRIBUTES, i64::MAX);
    let record = dataset.record("a").unwrap();
    record.put_json("j", &Json::from(1)).unwrap();
    assert_eq!(record.json("j").unwrap(), Some(Json::from(1)));
    let error = dataset.publish_pixels(dataset.stage_pixels("a", &pixels(9)).unwrap()).unwrap_err();
    assert!(matches!(&error, DatasetError::Busy { tries: MAX_TRIES, .. }), "{error}");
    assert!(error.to_string().contains(ATTRIBUTES), "{error}");
    // Attributes that were broken meanwhile stay as they are.
    *store.meddle.lock().unwrap() = Some(Box::new(|root| fs::write(root.join(ATTRIBUTES), "{").unwrap()));
    set(&dataset.path().join(ATTRIBUTES), "mine", 1);
    record.put_json("j", &Json::from(2)).unwrap();
    assert_eq!(fs::read(dataset.path().join(ATTRIBUTES)).unwrap(), b"{");
}

#[test]
fn changed_artifact_of_others_is_left_and_named() {
    let (_folder, dataset, store) = fixture();
    let record = dataset.record("a").unwrap();
    for (file, packed) in [("images/a/analysis/j.json", false), ("images/a/analysis/j.json.gz", true)] {
        if packed {
            let plain = dataset.path().join("images/a/analysis/j.json");
            fs::write(dataset.path().join(file), crate::gzip::compress(b"{\"mine\": 1}").unwrap()).unwrap();
            fs::remove_file(plain).unwrap();
        } else {
            record.put_json("j", &Json::object([("mine", 1.into())])).unwrap();
        }
        let (found, seen) = record.json_to_change("j").unwrap();
        assert_eq!(found.unwrap().1.get("mine"), Some(&Json::from(1)));
        let path = dataset.path().join(file);
        let theirs =
            if packed { crate::gzip::compress(b"{\"theirs\": 1}").unwrap() } else { b"{\"theirs\": 1}".to_vec() };
        let expected = theirs.clone();
        *store.meddle.lock().unwrap() = Some(Box::new(move |_| fs::write(&path, &theirs).unwrap()));
        let prepared = dataset.prepare_changed_json("a", "j", &Json::from(2), seen.clone()).unwrap();
        let differing = dataset.put_json_many(&mut [prepared].into_iter()).unwrap();
        assert_eq!(differing.into_iter().collect::<Vec<_>>(), ["a"], "{file}");
        assert!(!record.put_json_if("j", &Json::from(2), seen).unwrap());
        assert_eq!(fs::read(dataset.path().join(file)).unwrap(), expected, "{file}");
        *store.meddle.lock().unwrap() = None;
    }
}

#[test]
fn artifact_that_appears_or_changes_is_not_replaced() {
    let (_folder, dataset, store) = fixture();
    let record = dataset.record("a").unwrap();
    let array = |value: u16| Array::from_elements(&[value; 4], vec![2, 2], vec!["t".into(), "x".into()]).unwrap();
    for was_there in [false, true] {
        if was_there {
            record.put_array("x", &array(1)).unwrap();
        }
        let seen = [
            record.see_artifact("j", ArtifactKind::Json).unwrap(),
            record.see_artifact("x", ArtifactKind::Array).unwrap(),
        ];
        let prepare =
            |name, payload, seen: &Vec<_>| dataset.prepare_artifact("a", name, &payload, seen.clone()).unwrap();
        let json = prepare("j", Payload::Json(b"1".to_vec()), &seen[0]);
        let other = prepare("x", Payload::Array(array(9)), &seen[1]);
        record.put_array("x", &array(5)).unwrap();
        let path = dataset.path().join("images/a/analysis");
        *store.meddle.lock().unwrap() = Some(Box::new(move |_| {
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("j.json"), "2").unwrap();
        }));
        assert_eq!(dataset.put_artifacts(vec![json, other]).unwrap().into_iter().collect::<Vec<_>>(), ["a"]);
        assert_eq!(record.json("j").unwrap(), Some(Json::from(2)));
        assert_eq!(record.array("x").unwrap().unwrap(), array(5));
        *store.meddle.lock().unwrap() = None;
    }
}

/// A marker says itself when it was written.
#[test]
fn marker_leaves_attributes_untouched() {
    let (_folder, dataset, _store) = fixture();
    let path = dataset.path().join(ATTRIBUTES);
    let before = (fs::read(&path).unwrap(), dataset.store().stat(&Key::new(ATTRIBUTES).unwrap()).unwrap());
    let marker = dataset.prepare_marker("a", "run", &Json::from(1)).unwrap();
    dataset.put_json_many(&mut [marker].into_iter()).unwrap();
    let after = (fs::read(&path).unwrap(), dataset.store().stat(&Key::new(ATTRIBUTES).unwrap()).unwrap());
    assert_eq!(before, after);
    assert_eq!(dataset.record("a").unwrap().json("run").unwrap(), Some(Json::from(1)));
    assert!(matches!(dataset.prepare_marker("b", "run", &Json::from(1)), Err(DatasetError::UnknownImage { .. })));
    fs::write(&path, "{ broken").unwrap();
    assert!(matches!(dataset.prepare_marker("a", "run", &Json::from(1)), Err(DatasetError::Unreadable { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"{ broken");
}

/// A link in the place of a folder or file under a record: what it leads to stays byte for byte.
#[test]
fn artifacts_are_not_written_through_links() {
    let (_folder, dataset, _store) = fixture();
    dataset.add_image(Some("b"), &pixels(5), None).unwrap();
    let images = dataset.path().join("images");
    let record = dataset.record("a").unwrap();
    let theirs = || dataset.record("b").unwrap().pixels().unwrap().unwrap();
    // An array's `data`: the link is replaced.
    record.put_array("x", &pixels(2)).unwrap();
    let data = images.join("a/analysis_arrays/x/data");
    let link = |to: &str, at: &Path| {
        let _ = fs::remove_dir_all(at);
        std::os::unix::fs::symlink(to, at).unwrap();
    };
    link("../../../b/data", &data);
    assert_eq!(record.array("x").unwrap().unwrap(), pixels(5), "a link inside the dataset is read");
    record.put_array("x", &pixels(2)).unwrap();
    assert!(!data.is_symlink());
    assert_eq!((record.array("x").unwrap().unwrap(), theirs()), (pixels(2), pixels(5)));
    link("../../../b/data", &data);
    dataset.remove_artifact("a", "analysis_arrays/x/data").unwrap();
    assert_eq!((fs::symlink_metadata(&data).is_err(), theirs()), (true, pixels(5)));
    // Its group, and what is above it: refused, and the link is named.
    for at in ["analysis_arrays/x", "analysis_arrays"] {
        fs::remove_dir_all(images.join("a").join(at)).unwrap();
        link(if at == "analysis_arrays" { "../b" } else { "../../b" }, &images.join("a").join(at));
        let errors = [
            record.put_array("x", &pixels(2)).unwrap_err(),
            dataset.prepare_artifact("a", "x", &Payload::Array(pixels(2)), Vec::new()).unwrap_err(),
            dataset.remove_artifact("a", "analysis_arrays/x/data").unwrap_err(),
        ];
        for error in errors {
            let DatasetError::Store(StoreError::ThroughLink { link, .. }) = &error else { panic!("{at}: {error}") };
            assert!(link.ends_with(&format!("images/a/{at}")), "{error}");
        }
        assert_eq!(theirs(), pixels(5), "{at}");
        fs::remove_file(images.join("a").join(at)).unwrap();
        fs::create_dir_all(images.join("a").join(at)).unwrap();
    }
    // The folder of JSON and table artifacts.
    link("../b", &images.join("a/analysis"));
    for error in
        [record.put_json("j", &Json::from(1)).unwrap_err(), dataset.prepare_marker("a", "j", &Json::Null).unwrap_err()]
    {
        assert!(matches!(error, DatasetError::Store(StoreError::ThroughLink { .. })), "{error}");
    }
    assert!(!images.join("b/j.json").exists());
    // A file: the link is replaced.
    fs::remove_file(images.join("a/analysis")).unwrap();
    fs::create_dir(images.join("a/analysis")).unwrap();
    fs::write(images.join("b/precious"), "1").unwrap();
    link("../../b/precious", &images.join("a/analysis/j.json"));
    record.put_json("j", &Json::from(2)).unwrap();
    assert_eq!(fs::read(images.join("b/precious")).unwrap(), b"1");
    assert_eq!(record.json("j").unwrap(), Some(Json::from(2)));
    // A whole image: its link goes.
    link("b", &images.join("c"));
    assert!(dataset.record("c").unwrap().put_json("j", &Json::from(1)).is_err());
    assert!(dataset.delete_image("c").unwrap());
    assert_eq!((images.join("c").is_symlink(), theirs()), (false, pixels(5)));
}

#[test]
fn commands_that_change_params_exclude_each_other() {
    use std::time::Duration;
    let (_folder, dataset, _store) = fixture();
    let held = dataset.lock_params("params of radon", None).unwrap();
    let error = dataset.lock_params("another", Some(Duration::ZERO)).unwrap_err();
    assert!(matches!(&error, DatasetError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("params of radon"), "{error}");
    // An ingest need not wait for them.
    dataset.add_image(Some("b"), &pixels(2), None).unwrap();
    drop(held);
    dataset.lock_params("another", Some(Duration::ZERO)).unwrap();
}
