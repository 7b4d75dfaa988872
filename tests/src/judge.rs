//! Judges a dataset after something was done to it: rows by image, what `status` says, and what extracting
//! everything from scratch gives.
//!
//! Decides when rows count as the same, finds the truth (a run in mode `replace` in a copy without our files),
//! and reports what differs. It never changes the dataset that it judges.

use crate::fixture::{Fixture, params_hash};
use crate::table::Table;
use crate::{Output, Run, TestDir, copy_tree, library};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The table of the indexer `reader`, which these judgements are about.
pub const TABLE: &str = "tables/kym_reader.parquet";
/// Where one of its runs leaves its marker, below `analysis/` and without the ending.
pub const MARKER: &str = "reader_run";
/// The table's seal: what its file was when its rows were those of the markers.
pub const SEAL: &str = "index/kymhost/seals/kym_reader.json";
/// Its analysis version.
pub const VERSION: &str = "tests.reader@1";

/// A row's cells by column, less the image's id; null and NaN are no cells, and numbers are floats: so that a column
/// that was widened, or that only other images have, changes nothing.
pub type Row = BTreeMap<String, Value>;
/// Each image's rows, in their order.
pub type Rows = BTreeMap<String, Vec<Row>>;

/// The rows of a table's file; none if there is no file.
///
/// # Errors
/// Why it cannot be read.
pub fn rows_of_file(path: &Path) -> Result<Rows, String> {
    if !path.exists() {
        return Ok(Rows::new());
    }
    let table = Table::try_read(path)?;
    let mut rows = Rows::new();
    for cells in &table.rows {
        let mut row: Row = table
            .columns
            .iter()
            .cloned()
            .zip(cells.iter().cloned())
            .filter(|(_, cell)| !cell.is_null() && cell != "NaN")
            .map(|(column, cell)| (column, cell.as_f64().map_or(cell, Value::from)))
            .collect();
        let image = row.remove("image_id").unwrap_or_default();
        let image = image.as_str().ok_or_else(|| format!("a row of no image: {row:?}"))?;
        rows.entry(image.to_owned()).or_default().push(row);
    }
    Ok(rows)
}

/// The rows of the dataset's table; fails if it exists and cannot be read.
#[track_caller]
pub fn rows(data: &Fixture, story: &str) -> Rows {
    rows_of_file(&data.key(TABLE)).unwrap_or_else(|error| panic!("{story}: the table does not open: {error}"))
}

/// One image's rows, which may be none.
pub fn of<'a>(rows: &'a Rows, image: &str) -> &'a [Row] {
    rows.get(image).map_or(&[], Vec::as_slice)
}

/// What `status` says of each image: the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts(pub BTreeMap<String, String>);

impl Verdicts {
    /// The images that it calls fresh.
    pub fn fresh(&self) -> BTreeSet<String> {
        self.of(|reason| reason.starts_with("FRESH_"))
    }

    /// The images that it calls stale.
    pub fn stale(&self) -> BTreeSet<String> {
        self.of(|reason| reason.starts_with("STALE_"))
    }

    /// The reason of one image.
    pub fn reason(&self, image: &str) -> &str {
        self.0.get(image).map_or("(not listed)", String::as_str)
    }

    fn of(&self, rule: impl Fn(&str) -> bool) -> BTreeSet<String> {
        self.0.iter().filter(|(_, reason)| rule(reason)).map(|(image, _)| image.clone()).collect()
    }
}

/// What extracting everything from scratch gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Truth {
    /// The rows of the images that can be extracted.
    pub rows: Rows,
    /// The images that cannot.
    pub failing: BTreeSet<String>,
    /// All images of the dataset.
    pub images: BTreeSet<String>,
}

/// Runs of `kymhost` with the indexer `reader`, in a folder of their own.
#[derive(Debug)]
pub struct Lab {
    dir: TestDir,
    /// Where libraries are: a folder in memory may not allow programs.
    libraries: TestDir,
    library: PathBuf,
    count: AtomicU64,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// A new folder, with the library as built.
    pub fn new() -> Self {
        Self {
            dir: TestDir::in_memory(),
            libraries: TestDir::new(),
            library: library("reader"),
            count: AtomicU64::new(0),
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new path in its folder.
    pub fn fresh(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{}-{name}", self.count.fetch_add(1, Ordering::Relaxed)))
    }

    /// Another binary of the same indexer from now on: the library with bytes after its end.
    pub fn swap_library(&mut self) {
        let mut bytes = fs::read(library("reader")).expect("the library");
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        bytes.extend_from_slice(format!("another build: {number}").as_bytes());
        let folder = self.libraries.join(number.to_string());
        fs::create_dir(&folder).expect("a folder for the library");
        let path = folder.join("libkymhost_reader.so");
        fs::write(&path, bytes).expect("another library");
        self.library = path;
    }

    /// A command with `--plugin`, `--dataset` and `--json`.
    pub fn command(&self, data: &Fixture, words: &[&str]) -> Run {
        Run::new(words).arg("--json").arg("--plugin").arg(&self.library).dataset(data.path())
    }

    /// A run of stale images by two workers.
    pub fn run(&self, data: &Fixture) -> Run {
        self.command(data, &["run", "--jobs", "2"])
    }

    /// A copy of the dataset, in which the table's seal still holds. A copied file has other times, and kymhost
    /// checks the rows of a table without a seal so closely that nothing else could go wrong.
    pub fn copy(&self, data: &Fixture) -> Fixture {
        let path = self.fresh("copy.zarr");
        copy_tree(data.path(), &path);
        let copy = Fixture::at(path);
        if let Some(mut seal) = seal_that_holds(data) {
            let (mtime_ns, ctime_ns) = times(&copy.key(TABLE)).expect("the copied table");
            seal["table"]["mtime_ns"] = mtime_ns.into();
            seal["table"]["ctime_ns"] = ctime_ns.into();
            copy.put(SEAL, seal.to_string());
            assert!(seal_that_holds(&copy).is_some(), "the copy's seal holds");
        }
        copy
    }

    /// What `status` says.
    #[track_caller]
    pub fn status(&self, data: &Fixture, story: &str) -> Verdicts {
        let output = self.command(data, &["status", "--jobs", "1"]).output();
        assert_eq!(output.code(), Some(0), "{story}: status\n{output}");
        verdicts(&output)
    }

    /// What extracting everything from scratch gives, in a copy in which nothing is left of earlier runs.
    #[track_caller]
    pub fn truth(&self, data: &Fixture, story: &str) -> Truth {
        let copy = self.copy(data);
        for folder in ["index/kymhost", "tables"] {
            let _ = fs::remove_dir_all(copy.key(folder));
        }
        let images = images(&copy);
        for image in &images {
            let _ = fs::remove_file(copy.key(&copy.image(image).key(&format!("{MARKER}.json"))));
        }
        let output = self.command(&copy, &["run", "--mode", "replace", "--in-process", "--jobs", "1"]).output();
        let failing = failed(&output);
        let expected = if failing.is_empty() { 0 } else { 3 };
        assert_eq!(output.code(), Some(expected), "{story}: from scratch\n{output}");
        let rows = rows(&copy, &format!("{story}: from scratch"));
        fs::remove_dir_all(copy.path()).expect("remove the copy");
        Truth { rows, failing, images }
    }
}

/// The seal of the table, if it fits the table's file as it is now.
fn seal_that_holds(data: &Fixture) -> Option<Value> {
    let seal: Value = serde_json::from_slice(&fs::read(data.key(SEAL)).ok()?).expect("a seal is JSON");
    let (mtime_ns, ctime_ns) = times(&data.key(TABLE))?;
    let table = &seal["table"];
    let known = |field: &str| table[field].as_i64().unwrap_or_else(|| panic!("a seal without {field}: {seal}"));
    ((known("mtime_ns"), known("ctime_ns")) == (mtime_ns, ctime_ns)).then_some(seal)
}

/// A file's times of last change, of its content and of any sort, in nanoseconds.
fn times(path: &Path) -> Option<(i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(path).ok()?;
    Some((meta.mtime() * 1_000_000_000 + meta.mtime_nsec(), meta.ctime() * 1_000_000_000 + meta.ctime_nsec()))
}

/// The reasons in a document of `status`.
#[track_caller]
pub fn verdicts(output: &Output) -> Verdicts {
    let document = output.json();
    let images = document["images"].as_array().unwrap_or_else(|| panic!("no images\n{output}"));
    let reason = |image: &Value| Some((image["image_id"].as_str()?.to_owned(), image["reason"].as_str()?.to_owned()));
    let found: BTreeMap<_, _> = images.iter().filter_map(reason).collect();
    assert_eq!(found.len(), images.len(), "one line for each image, each with a reason\n{output}");
    Verdicts(found)
}

/// The images that a run's document says have failed.
#[track_caller]
pub fn failed(output: &Output) -> BTreeSet<String> {
    let document = output.json();
    let failures = document["failures"].as_array().unwrap_or_else(|| panic!("no failures\n{output}"));
    failures.iter().filter_map(|failure| Some(failure["image_id"].as_str()?.to_owned())).collect()
}

/// The dataset's images: folders with a `.zgroup`.
pub fn images(data: &Fixture) -> BTreeSet<String> {
    let entries = fs::read_dir(data.key("images")).expect("images/").map(|entry| entry.expect("an entry"));
    let groups = entries.filter(|entry| entry.path().join(".zgroup").is_file());
    groups.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The params hash that `reader` gives now, for the plain values that tests use; `None` if the params are broken.
pub fn current_params_hash(data: &Fixture, image: &str) -> Option<String> {
    let read = |name: &str| -> Option<Option<Value>> {
        match fs::read(data.key(&data.image(image).key(&format!("{name}.json")))) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok().map(Some),
            Err(_) => Some(None),
        }
    };
    let params = read("reader/params")?.unwrap_or_else(|| json!({}));
    let scale = if params["scale"] == true { read("reader/scale")? } else { None };
    Some(params_hash(&json!({"params": params, "scale": scale})))
}

/// Fails unless all rows of each image are those of one extraction: `old`'s or `new`'s.
#[track_caller]
pub fn expect_unmixed(found: &Rows, old: &Rows, new: &Rows, story: &str) {
    let images: BTreeSet<&String> = found.keys().chain(old.keys()).chain(new.keys()).collect();
    for image in images {
        let rows = of(found, image);
        assert!(
            rows == of(old, image) || rows == of(new, image),
            "{story}: the rows of {image} are neither the old nor the new ones\nfound {rows:#?}\nold {:#?}\nnew {:#?}",
            of(old, image),
            of(new, image)
        );
    }
}

/// Fails if `status` calls an image fresh whose rows differ from the truth, or that cannot be extracted, and if
/// it does not judge exactly the dataset's images.
#[track_caller]
pub fn expect_true(verdicts: &Verdicts, found: &Rows, truth: &Truth, story: &str) {
    let judged: BTreeSet<String> = verdicts.0.keys().cloned().collect();
    assert_eq!(judged, truth.images, "{story}: the images that status judges");
    for image in verdicts.fresh() {
        expect_truly_fresh(&image, verdicts, found, truth, story);
    }
}

/// One image of [`expect_true`].
#[track_caller]
pub fn expect_truly_fresh(image: &str, verdicts: &Verdicts, found: &Rows, truth: &Truth, story: &str) {
    let reason = verdicts.reason(image);
    assert!(!truth.failing.contains(image), "{story}: {image} cannot be extracted, and status says {reason}");
    assert_eq!(
        of(found, image),
        of(&truth.rows, image),
        "{story}: status says {reason} of {image}, whose rows are not those of a new extraction (left: in the table)"
    );
}

/// Fails unless the table has, for each image, the truth's rows (or those of `old` if it cannot be extracted),
/// and no rows of other images.
#[track_caller]
pub fn expect_up_to_date(found: &Rows, old: &Rows, truth: &Truth, story: &str) {
    for image in &truth.images {
        let expected = if truth.failing.contains(image) { of(old, image) } else { of(&truth.rows, image) };
        assert_eq!(of(found, image), expected, "{story}: rows of {image} (left: in the table)");
    }
    for image in found.keys() {
        assert!(truth.images.contains(image), "{story}: rows of {image}, which is not in the dataset");
    }
}

/// Files that no run may leave behind: temporary ones, and unknown ones among the tables.
pub fn strays(data: &Fixture) -> Vec<String> {
    let ours = [TABLE, "tables/kym_velocity_events.parquet"];
    let stray = |name: &String| {
        let file = name.rsplit('/').next().unwrap_or_default();
        !name.ends_with('/')
            && (file.starts_with(".kymhost-tmp-")
                || name.starts_with("index/kymhost/tmp/")
                || name.starts_with("tables/") && !ours.contains(&name.as_str()))
    };
    files(data).into_iter().filter(stray).collect()
}

/// The names of all files and folders (these with a `/` at their end) of a dataset.
pub fn files(data: &Fixture) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(format!("{name}/"));
                walk(root, &path, found);
            } else {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    walk(data.path(), data.path(), &mut found);
    found.sort();
    found
}

/// Fails if the program panicked.
#[track_caller]
pub fn expect_no_panic(output: &Output, story: &str) {
    let stderr = output.stderr();
    assert!(output.code() != Some(101) && !stderr.contains("panicked at"), "{story}: a panic\n{output}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(image: &str, numbers: &[i64]) -> (String, Vec<Row>) {
        let row = |n: &i64| Row::from([("n".into(), json!(n)), ("params_hash".into(), json!("p"))]);
        (image.to_owned(), numbers.iter().map(row).collect())
    }

    fn fails(check: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(check).is_err()
    }

    #[test]
    fn judgements_can_fail() {
        let old = Rows::from([rows("a", &[1, 2]), rows("b", &[5])]);
        let new = Rows::from([rows("a", &[3]), rows("b", &[5])]);
        let mixed = Rows::from([rows("a", &[1, 3]), rows("b", &[5])]);
        expect_unmixed(&old, &old, &new, "");
        expect_unmixed(&new, &old, &new, "");
        assert!(fails(|| expect_unmixed(&mixed, &old, &new, "")), "mixed rows");
        assert!(fails(|| expect_unmixed(&Rows::new(), &old, &new, "")), "lost rows");

        let images: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
        let truth = Truth { rows: new.clone(), failing: BTreeSet::new(), images: images.clone() };
        let says = |a: &str| Verdicts([("a".into(), a.into()), ("b".into(), "FRESH_ROWS".into())].into());
        expect_true(&says("STALE_UNKNOWN"), &old, &truth, "");
        expect_true(&says("FRESH_ROWS"), &new, &truth, "");
        assert!(fails(|| expect_true(&says("FRESH_ROWS"), &old, &truth, "")), "a missed stale image");
        assert!(fails(|| expect_true(&Verdicts::default(), &old, &truth, "")), "images that are not judged");
        let failing = Truth { failing: ["a".to_owned()].into(), ..truth.clone() };
        assert!(fails(|| expect_true(&says("FRESH_ROWS"), &new, &failing, "")), "a failing image called fresh");

        expect_up_to_date(&new, &old, &truth, "");
        expect_up_to_date(&old, &old, &failing, "");
        assert!(fails(|| expect_up_to_date(&old, &old, &truth, "")), "rows that are not up to date");
        let orphan = Rows::from([rows("a", &[3]), rows("b", &[5]), rows("c", &[1])]);
        assert!(fails(|| expect_up_to_date(&orphan, &old, &truth, "")), "rows of no image");
    }
}
