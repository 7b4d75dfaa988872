//! Lists every problem of a dataset. Never stops at the first one, and repairs nothing.

use crate::array_layout::Layout;
use crate::dataset::Dataset;
use crate::dataset::FORMAT;
use crate::dataset::SCHEMA_VERSION;
use crate::error::DatasetError;
use crate::limits::{MAX_FOLDERS, MAX_SMALL_TEXT_BYTES, MAX_SMALL_VALUE_BYTES};
use crate::missing_chunks::MissingChunks;
use crate::names::{
    ANALYSIS, ANALYSIS_ARRAYS, ARRAY, ATTRIBUTES, DATA, GROUP, IMAGES, INDEX, MANIFEST, OWN, TABLES, TEMPORARY,
    artifact_key, image_key,
};
use crate::record::Record;
use crate::record::artifact_of;
use crate::{arrays, attributes};
use kymhost_plugin_api::{ArtifactKind, Json};
use kymhost_store::{Entry, Key, MAX_DOCUMENT_BYTES, Store, StoreError};
use std::fmt;

/// A listing shows it, but it cannot be opened.
const NOTHING_THERE: &str = "is listed, but nothing is there: a symbolic link that leads nowhere, or a folder";

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The key, below the dataset's folder.
    pub key: String,
    /// What was expected and found.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_empty() { "." } else { &self.key };
        write!(f, "{key}: {}", self.message)
    }
}

/// What reading a whole dataset found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// All that is wrong, in the order of the keys.
    pub problems: Vec<Problem>,
    /// What is worth knowing, but not wrong: a manifest that is out of date.
    pub notes: Vec<Problem>,
}

/// Reads everything in a dataset and lists all that is wrong with it. Needs no readable root attributes:
/// what keeps a dataset from being opened is a problem like another.
pub fn validate(store: std::sync::Arc<dyn Store>) -> Findings {
    let mut inspection = Inspection {
        dataset: Dataset { store, missing_chunks: MissingChunks::default() },
        problems: Vec::new(),
        notes: Vec::new(),
    };
    inspection.root();
    inspection.images();
    inspection.tables();
    inspection.index();
    inspection.left_overs();
    let Inspection { mut problems, notes, .. } = inspection;
    problems.sort();
    problems.dedup();
    Findings { problems, notes }
}

impl Dataset {
    /// All that is wrong with the dataset, in the order of the keys; empty when nothing is.
    pub fn validate(&self) -> Vec<Problem> {
        validate(std::sync::Arc::clone(self.store())).problems
    }
}

struct Inspection {
    dataset: Dataset,
    problems: Vec<Problem>,
    notes: Vec<Problem>,
}

impl Inspection {
    fn store(&self) -> &dyn Store {
        &**self.dataset.store()
    }

    fn report(&mut self, key: &str, message: impl fmt::Display) {
        self.problems.push(Problem { key: key.to_owned(), message: message.to_string() });
    }

    /// Records an error under its key, and goes on.
    fn note<T>(&mut self, key: &str, result: Result<T, DatasetError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let root = self.store().root();
                let below = |path: &str| {
                    let path = std::path::Path::new(path).strip_prefix(&root).ok()?;
                    Some(path.display().to_string())
                };
                let (named, message) = match &error {
                    DatasetError::Unreadable { key, expected, found, .. } => {
                        (below(key), format!("cannot be read as {expected}: {found}"))
                    }
                    DatasetError::Store(StoreError::LeadsOut { key }) => {
                        (below(key), "leads out of the dataset through a symbolic link".to_owned())
                    }
                    DatasetError::Store(StoreError::TooLarge { key, limit }) => {
                        (below(key), format!("has more than {limit} bytes, the limit for such a file"))
                    }
                    DatasetError::Store(StoreError::Io { key, source, .. }) if error.is_shortage() => {
                        (below(key), format!("cannot be checked, because the system refused: {source}"))
                    }
                    DatasetError::Store(StoreError::Io { action, key, source }) => {
                        (below(key), format!("cannot {action} it: {source}"))
                    }
                    other => (None, other.to_string()),
                };
                self.report(&named.unwrap_or_else(|| key.to_owned()), message);
                None
            }
        }
    }

    /// A listing; if there is no such folder, nothing.
    fn list(&mut self, folder: &str) -> Vec<Entry> {
        let key = if folder.is_empty() { Ok(Key::root()) } else { Key::new(folder) };
        let listing = key.and_then(|key| self.store().list(&key)).map_err(DatasetError::from);
        self.note(folder, listing).flatten().unwrap_or_default()
    }

    /// The bytes of a key that is there.
    fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        let bytes =
            Key::new(key).and_then(|key| self.store().get(&key, MAX_SMALL_TEXT_BYTES)).map_err(DatasetError::from);
        self.note(key, bytes).flatten()
    }

    /// A group: its `.zgroup` says Zarr v2. `needed`: that it is missing is a problem.
    fn group(&mut self, folder: &str, needed: bool) -> bool {
        let key = below(folder, GROUP);
        match self.get(&key) {
            Some(text) => {
                match Json::parse_within(&text, MAX_SMALL_VALUE_BYTES) {
                    Ok(json) if json.get("zarr_format").and_then(Json::as_i64) == Some(2) => {}
                    Ok(json) => self.report(&key, format!("expected {{\"zarr_format\": 2}}, found {json}")),
                    Err(error) => self.report(&key, format!("is not JSON: {error}")),
                }
                true
            }
            None => {
                if needed && !self.problems.iter().any(|problem| problem.key == key) {
                    self.report(&key, "is missing: a group needs it");
                }
                false
            }
        }
    }

    fn times(&mut self, key: &str, attributes: &Json, names: &[&str]) {
        for name in names {
            let good = attributes.get(name).and_then(Json::as_str).is_some_and(is_time);
            if !good {
                let found = attributes.get(name).map_or_else(|| "nothing".to_owned(), Json::to_string);
                self.report(key, format!("'{name}' should be a time such as 2026-11-22T06:48:18Z, found {found}"));
            }
        }
    }

    fn root(&mut self) {
        self.group("", true);
        let attributes = attributes::read(self.store(), &Key::root());
        let Some(root) = self.note(ATTRIBUTES, attributes).map(Json::Object) else { return };
        if root.get("format").and_then(Json::as_str) != Some(FORMAT) {
            let found = root.get("format").map_or_else(|| "nothing".to_owned(), Json::to_string);
            self.report(ATTRIBUTES, format!("'format' should be \"{FORMAT}\", found {found}"));
        }
        if root.get("schema_version").and_then(Json::as_i64) != Some(SCHEMA_VERSION) {
            let found = root.get("schema_version").map_or_else(|| "nothing".to_owned(), Json::to_string);
            self.report(ATTRIBUTES, format!("'schema_version' should be {SCHEMA_VERSION}, found {found}"));
        }
        self.times(ATTRIBUTES, &root, &["created_utc", "updated_utc"]);
        self.strays("", &[GROUP, ATTRIBUTES], &[IMAGES, INDEX, TABLES]);
    }

    /// What is in a folder besides what belongs there.
    fn strays(&mut self, folder: &str, files: &[&str], folders: &[&str]) {
        for entry in self.list(folder) {
            let belongs = if entry.is_dir { folders } else { files };
            if !belongs.contains(&entry.name.as_str()) {
                let what = if entry.is_dir { "folder" } else { "file" };
                self.report(&below(folder, &entry.name), format!("is a {what} that does not belong here"));
            }
        }
    }

    fn images(&mut self) {
        self.group(IMAGES, true);
        for entry in self.list(IMAGES) {
            let folder = below(IMAGES, &entry.name);
            if entry.is_dir {
                if self.group(&folder, true) {
                    self.image(&entry.name, &folder);
                }
            } else if ![GROUP, ATTRIBUTES].contains(&entry.name.as_str()) {
                self.report(&folder, "is a file that does not belong here: recordings are folders");
            }
        }
    }

    fn image(&mut self, id: &str, folder: &str) {
        let Some(group) = self.note(folder, image_key(id).map_err(DatasetError::from)) else { return };
        let Some(record) = self.note(folder, self.dataset.record(id)) else { return };
        let key = below(folder, ATTRIBUTES);
        let attributes = attributes::read(self.store(), &group);
        let attributes = self.note(&key, attributes).map(Json::Object);
        if let Some(attributes) = &attributes {
            self.times(&key, attributes, &["created_utc", "updated_utc"]);
        }
        let data = below(folder, DATA);
        let layout =
            group.join(DATA).map_err(DatasetError::from).and_then(|data| arrays::read_layout(self.store(), &data));
        match self.note(&data, layout) {
            Some(None) => self.report(&below(&data, ARRAY), "is missing: a recording needs pixels"),
            Some(Some(layout)) => {
                self.axes(&key, attributes.as_ref(), layout.shape.len());
                self.chunks(&data, &layout);
                self.array(&data, &layout);
            }
            None => {}
        }
        self.strays(folder, &[GROUP, ATTRIBUTES], &[DATA, ANALYSIS, ANALYSIS_ARRAYS]);
        self.artifacts(&record, &below(folder, ANALYSIS), "", MAX_FOLDERS);
        self.array_artifacts(&below(folder, ANALYSIS_ARRAYS), false, MAX_FOLDERS);
    }

    /// Checks the chunks of an array.
    fn array(&mut self, data: &str, layout: &Layout) {
        let policy = self.dataset.missing_chunks;
        let checked = Key::new(data)
            .map_err(DatasetError::from)
            .and_then(|data| arrays::check(self.store(), &data, layout, policy));
        self.note(data, checked);
    }

    fn axes(&mut self, key: &str, attributes: Option<&Json>, rank: usize) {
        let Some(attributes) = attributes else { return };
        let axes = attributes.get("axes");
        let named = axes
            .and_then(Json::as_array)
            .is_some_and(|axes| axes.len() == rank && axes.iter().all(|axis| axis.as_str().is_some()));
        if !named {
            let found = axes.map_or_else(|| "nothing".to_owned(), Json::to_string);
            self.report(key, format!("'axes' should name {rank} axes, found {found}"));
        }
    }

    /// Files next to an array's chunks.
    fn chunks(&mut self, data: &str, layout: &Layout) {
        for name in self.files(data, "", 2) {
            if ![ARRAY, ATTRIBUTES].contains(&name.as_str()) && !layout.has_chunk(&name) {
                self.report(&below(data, &name), "is not a chunk of the array");
            }
        }
    }

    /// Names of all files below a folder, to a depth.
    fn files(&mut self, folder: &str, prefix: &str, depth: usize) -> Vec<String> {
        let mut names = Vec::new();
        for entry in self.list(folder) {
            let name = format!("{prefix}{}", entry.name);
            if !entry.is_dir {
                names.push(name);
            } else if depth > 0 {
                names.extend(self.files(&below(folder, &entry.name), &format!("{name}/"), depth - 1));
            }
        }
        names
    }

    fn artifacts(&mut self, record: &Record, folder: &str, prefix: &str, depth: usize) {
        for entry in self.list(folder) {
            let key = below(folder, &entry.name);
            if entry.is_dir {
                if depth == 0 {
                    self.report(&key, format!("nests deeper than {MAX_FOLDERS} folders"));
                } else {
                    self.artifacts(record, &key, &format!("{prefix}{}/", entry.name), depth - 1);
                }
                continue;
            }
            // Zarr's own group files are allowed here.
            if [GROUP, ATTRIBUTES].contains(&entry.name.as_str()) {
                continue;
            }
            let Some((name, kind)) = artifact_of(&entry.name) else {
                self.report(&key, "is not an artifact (.json, .json.gz, .parquet or .csv.gz)");
                continue;
            };
            let ending = entry.name.strip_prefix(name).unwrap_or_default();
            let name = format!("{prefix}{name}");
            let reached = artifact_key(record.image_id(), &name, ending).is_ok_and(|found| found.as_str() == key);
            if !reached {
                self.report(&key, "cannot be read as an artifact: its name has characters that names may not have");
                continue;
            }
            let found = match kind {
                ArtifactKind::Parquet => record.parquet(&name).map(|rows| rows.is_some()),
                ArtifactKind::Csv => record.csv(&name).map(|rows| rows.is_some()),
                _ => {
                    self.json(&key);
                    continue;
                }
            };
            if self.note(&key, found) == Some(false) {
                self.report(&key, NOTHING_THERE);
            }
        }
    }

    /// A JSON file by its own key: a `.json.gz` is checked even if a `.json` hides it.
    fn json(&mut self, key: &str) {
        let bytes =
            Key::new(key).and_then(|key| self.store().get(&key, MAX_DOCUMENT_BYTES)).map_err(DatasetError::from);
        let Some(bytes) = self.note(key, bytes) else { return };
        let Some(bytes) = bytes else { return self.report(key, NOTHING_THERE) };
        let text = if key.ends_with(".gz") {
            match crate::gzip::decompress(&bytes, MAX_DOCUMENT_BYTES) {
                Ok(text) => text,
                Err(found) => return self.report(key, format!("cannot be read as gzip: {found}")),
            }
        } else {
            bytes
        };
        if let Err(error) = Json::check(&text) {
            self.report(key, format!("cannot be read as JSON: {error}"));
        }
    }

    /// `named`: whether the folder is below one that names an artifact.
    fn array_artifacts(&mut self, folder: &str, named: bool, depth: usize) {
        for entry in self.list(folder) {
            let key = below(folder, &entry.name);
            if !entry.is_dir {
                if ![GROUP, ATTRIBUTES].contains(&entry.name.as_str()) {
                    self.report(&key, "is a file that does not belong here: array artifacts are folders");
                }
                continue;
            }
            self.group(folder, true);
            if entry.name == DATA && named {
                self.array_artifact(folder, &key);
            } else if depth == 0 {
                self.report(&key, format!("nests deeper than {MAX_FOLDERS} folders"));
            } else {
                self.array_artifacts(&key, true, depth - 1);
            }
        }
    }

    fn array_artifact(&mut self, folder: &str, data: &str) {
        let layout = Key::new(data).map_err(DatasetError::from).and_then(|key| arrays::read_layout(self.store(), &key));
        let Some(layout) = self.note(data, layout) else { return };
        let Some(layout) = layout else { return self.report(&below(data, ARRAY), "is missing: an array needs it") };
        let attributes =
            Key::new(folder).map_err(DatasetError::from).and_then(|key| attributes::read(self.store(), &key));
        let key = below(folder, ATTRIBUTES);
        if let Some(attributes) = self.note(&key, attributes).map(Json::Object) {
            self.axes(&key, Some(&attributes), layout.shape.len());
        }
        self.chunks(data, &layout);
        self.array(data, &layout);
    }

    fn tables(&mut self) {
        for entry in self.list(TABLES) {
            let key = below(TABLES, &entry.name);
            match entry.name.strip_suffix(".parquet") {
                Some(table) if !entry.is_dir && !table.is_empty() => {
                    let rows = self.dataset.read_table(table, None);
                    self.note(&key, rows);
                }
                _ => self.report(&key, "does not belong here: tables are files NAME.parquet"),
            }
        }
    }

    fn index(&mut self) {
        self.group(INDEX, true);
        let manifest = MANIFEST.trim_start_matches(INDEX).trim_start_matches('/');
        let own = OWN.trim_start_matches(INDEX).trim_start_matches('/');
        self.strays(INDEX, &[GROUP, ATTRIBUTES, manifest], &[own]);
        // A dataset need not have a manifest. One that it has must be one, but it is derived: one that is behind the
        // images (any run makes it so) is not damage.
        match self.dataset.read_manifest() {
            Ok(None) => {}
            Err(error) => {
                self.note(MANIFEST, Err::<(), _>(error));
            }
            Ok(Some(_)) => {
                // Images that cannot be read have been reported already; without them there is nothing to compare with.
                if let Ok(differences) = self.dataset.check_manifest() {
                    let (broken, old): (Vec<_>, Vec<_>) =
                        differences.into_iter().partition(|difference| difference.image_id.is_empty());
                    for difference in broken {
                        let message = format!("{}; `kymhost dataset manifest` rebuilds it", difference.message);
                        self.report(MANIFEST, message);
                    }
                    if !old.is_empty() {
                        let message = format!(
                            "is out of date, which harms nothing ({} differences); `kymhost dataset manifest` rebuilds it, \
                             with --check it lists them",
                            old.len()
                        );
                        self.notes.push(Problem { key: MANIFEST.to_owned(), message });
                    }
                }
            }
        }
    }
}

impl Inspection {
    /// What killed processes left where tables are made.
    fn left_overs(&mut self) {
        for folder in [TEMPORARY, TABLES] {
            let names = Key::new(folder).and_then(|key| self.store().left_overs(&key)).unwrap_or_default();
            if !names.is_empty() {
                let message = format!(
                    "holds left-over files of killed writes ({}); they are harmless, and the next write removes them",
                    names.len()
                );
                self.notes.push(Problem { key: folder.to_owned(), message });
            }
        }
    }
}

fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// `2026-11-22T06:48:18Z`, as kymflow writes times; a fraction or an offset is a time too.
fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
}
