//! The record of an image in memory, for tests.
//!
//! This file has what exists and what is broken, and serves it as the host serves a dataset's record. It does not
//! call an indexer.

#[cfg(feature = "_cast")]
use super::outcome::{Outcome, OutputContent};
use super::Roi;
use crate::array::{Array, Element};
use crate::ffi::HostRecord;
use crate::{Artifact, ArtifactKind, Error, ErrorKind, Json, Result, RunMarker, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

type MakeTable = dyn Fn() -> Result<Table> + Send + Sync;

/// What is kept under a name.
#[derive(Clone)]
enum Content {
    Json(Json),
    /// The text of a JSON artifact, which need not be valid.
    Text(Vec<u8>),
    Table(Arc<MakeTable>),
    Array(Array),
    Unreadable,
}

/// The record of an image in memory, for tests. What is not added is absent.
///
/// Each method adds something, or replaces what had the name before. Use `clone` to make variants.
///
/// ```
/// use kymhost_plugin_api::testing::{Roi, TestRecord};
/// use kymhost_plugin_api::Json;
///
/// let record = TestRecord::new()
///     .json("stalls/params", Json::object([("threshold", 2.5.into())]))
///     .pixels(&[10_u16, 20, 30, 40, 50, 60], [2, 3])
///     .roi(Roi::rect(1).lines(0, 2).pixels(1, 3))
///     .voxels(0.001, 0.25);
/// let broken = record.clone().json_text("stalls/params", "{\"threshold\": ");
/// ```
///
/// # Panics
/// Methods panic if a test contradicts itself, e.g. if there are more elements than the shape has; their docs say so.
#[derive(Clone)]
#[must_use]
pub struct TestRecord {
    image_id: String,
    artifacts: BTreeMap<(String, ArtifactKind), Content>,
    pixels: Option<Content>,
    attributes: Content,
    is_listable: bool,
}

impl Default for TestRecord {
    fn default() -> Self {
        Self::new()
    }
}

impl TestRecord {
    /// An empty record of the image `image-1`.
    pub fn new() -> Self {
        Self {
            image_id: "image-1".into(),
            artifacts: BTreeMap::new(),
            pixels: None,
            attributes: Content::Json(Json::object::<&str>([])),
            is_listable: true,
        }
    }

    /// Sets the image's id (default: `image-1`).
    pub fn image_id(mut self, image_id: impl Into<String>) -> Self {
        self.image_id = image_id.into();
        self
    }

    fn with(mut self, name: impl Into<String>, kind: ArtifactKind, content: Content) -> Self {
        self.artifacts.insert((name.into(), kind), content);
        self
    }

    /// Adds a JSON artifact.
    pub fn json(self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.with(name, ArtifactKind::Json, Content::Json(value.into()))
    }

    /// Adds a JSON artifact with this text, valid or not.
    pub fn json_text(self, name: impl Into<String>, text: impl AsRef<[u8]>) -> Self {
        self.with(name, ArtifactKind::Json, Content::Text(text.as_ref().to_vec()))
    }

    /// Adds a table artifact that is kept as Parquet.
    ///
    /// # Panics
    /// If the table is not valid.
    #[cfg(feature = "_cast")]
    #[track_caller]
    pub fn table(self, name: impl Into<String>, table: Table) -> Self {
        let rows = match table.into_batch() {
            Ok(rows) => super::outcome::plain(rows),
            Err(error) => panic!("the record's table is not valid: {error}"),
        };
        self.table_from(name, move || Table::from_batch(rows.clone()))
    }

    /// Adds a table artifact that is kept as Parquet and made for each read: without the feature `arrow` a table
    /// cannot be copied.
    pub fn table_from(self, name: impl Into<String>, make: impl Fn() -> Result<Table> + Send + Sync + 'static) -> Self {
        self.with(name, ArtifactKind::Parquet, Content::Table(Arc::new(make)))
    }

    /// Adds a table artifact that is kept as CSV with this text, valid or not. It is read as the host reads it, by
    /// pandas' rules.
    #[cfg(feature = "_cast")]
    pub fn csv(self, name: impl Into<String>, text: impl Into<String>) -> Self {
        let (name, text) = (name.into(), text.into());
        let key = self.key_of(&name, ArtifactKind::Csv);
        let read = move || match crate::csv::parse(text.as_bytes()) {
            Ok(rows) => Table::from_batch(rows),
            Err(why) => Err(Error::new(ErrorKind::Unreadable, format!("cannot read {key} as CSV: {why}"))),
        };
        self.with(name, ArtifactKind::Csv, Content::Table(Arc::new(read)))
    }

    /// Adds a table artifact that is kept as CSV and made for each read, as [`table_from`](Self::table_from).
    pub fn csv_from(self, name: impl Into<String>, make: impl Fn() -> Result<Table> + Send + Sync + 'static) -> Self {
        self.with(name, ArtifactKind::Csv, Content::Table(Arc::new(make)))
    }

    /// Adds an array artifact of these elements in C order. Axes get the host's default names: `y`, `x` for two.
    ///
    /// # Panics
    /// If the shape does not have that many elements.
    #[track_caller]
    pub fn array<T: Element, const N: usize>(self, name: impl Into<String>, elements: &[T], shape: [usize; N]) -> Self {
        self.array_from(name, array(elements, &shape))
    }

    /// Adds an array artifact.
    pub fn array_from(self, name: impl Into<String>, array: Array) -> Self {
        self.with(name, ArtifactKind::Array, Content::Array(array))
    }

    /// Sets the image's pixels, in C order. Axes get the host's default names: for two, `y` (lines, time), then `x`
    /// (space).
    ///
    /// # Panics
    /// If the shape does not have that many elements.
    #[track_caller]
    pub fn pixels<T: Element, const N: usize>(self, elements: &[T], shape: [usize; N]) -> Self {
        self.pixels_from(array(elements, &shape))
    }

    /// Sets the image's pixels, with the axis names of this array.
    pub fn pixels_from(mut self, pixels: Array) -> Self {
        self.pixels = Some(Content::Array(pixels));
        self
    }

    /// Sets the metadata: the JSON artifact `metadata`.
    pub fn metadata(self, metadata: Json) -> Self {
        self.json("metadata", metadata)
    }

    /// Adds a region of interest to the metadata, which is made if there is none.
    ///
    /// # Panics
    /// If the metadata is not an object, or its `rois` are not a list.
    #[track_caller]
    pub fn roi(self, roi: Roi) -> Self {
        self.edit_metadata(|metadata| match metadata.entry("rois".to_owned()).or_insert(Json::Array(Vec::new())) {
            Json::Array(rois) => rois.push(roi.to_json()),
            other => panic!("the metadata's rois are not a list, but {other}"),
        })
    }

    /// Sets the size of a pixel in the metadata's header: seconds per line and µm per pixel.
    ///
    /// # Panics
    /// If the metadata or its `header` is not an object.
    #[track_caller]
    pub fn voxels(self, seconds_per_line: f64, um_per_pixel: f64) -> Self {
        self.edit_metadata(|metadata| match metadata.entry("header".to_owned()).or_insert(Json::object::<&str>([])) {
            Json::Object(header) => {
                header.insert("voxels".into(), vec![seconds_per_line, um_per_pixel].into());
                header.insert("voxels_units".into(), vec!["s", "um"].into());
            }
            other => panic!("the metadata's header is not an object, but {other}"),
        })
    }

    #[track_caller]
    fn edit_metadata(mut self, edit: impl FnOnce(&mut crate::json::Object)) -> Self {
        let key = ("metadata".to_owned(), ArtifactKind::Json);
        let made = || Content::Json(Json::object([("version", "2.0".into())]));
        match self.artifacts.entry(key).or_insert_with(made) {
            Content::Json(Json::Object(metadata)) => edit(metadata),
            _ => panic!("the metadata is not a JSON object"),
        }
        self
    }

    /// Sets the record's group attributes. As in the host, `updated_utc` is left out, and `axes` are those of the
    /// pixels if they are not given.
    pub fn attributes(mut self, attributes: Json) -> Self {
        self.attributes = Content::Json(attributes);
        self
    }

    /// Adds an artifact that exists but cannot be read.
    pub fn unreadable(self, name: impl Into<String>, kind: ArtifactKind) -> Self {
        self.with(name, kind, Content::Unreadable)
    }

    /// Sets pixels that exist but cannot be read.
    pub fn unreadable_pixels(mut self) -> Self {
        self.pixels = Some(Content::Unreadable);
        self
    }

    /// Makes the attributes unreadable.
    pub fn unreadable_attributes(mut self) -> Self {
        self.attributes = Content::Unreadable;
        self
    }

    /// Makes the list of artifacts unreadable.
    pub fn unreadable_list(mut self) -> Self {
        self.is_listable = false;
        self
    }

    /// Adds the artifacts that an indexer handed over, as the host keeps them: for tests of an indexer that reads
    /// them.
    #[cfg(feature = "_cast")]
    pub fn artifacts_of(mut self, outcome: &Outcome) -> Self {
        for (artifact, content) in outcome.artifacts.iter().zip(&outcome.contents) {
            let name = artifact.name.as_str();
            self = match content {
                OutputContent::Json(value) => self.json(name, value.clone()),
                OutputContent::Array(array) => self.array_from(name, array.clone()),
                OutputContent::Table(rows) => {
                    let rows = rows.batch().clone();
                    self.table_from(name, move || Table::from_batch(rows.clone()))
                }
            };
        }
        self
    }

    /// Removes the artifacts of this name, of any kind.
    ///
    /// # Panics
    /// If there is none: a test that removes nothing tests nothing.
    #[track_caller]
    pub fn without(mut self, name: &str) -> Self {
        let before = self.artifacts.len();
        self.artifacts.retain(|(known, _), _| known != name);
        assert!(self.artifacts.len() < before, "the record has no artifact '{name}'");
        self
    }

    /// Removes the pixels.
    pub fn without_pixels(mut self) -> Self {
        self.pixels = None;
        self
    }

    pub(super) fn id(&self) -> &str {
        &self.image_id
    }

    /// The key under which a dataset keeps this artifact.
    fn key_of(&self, name: &str, kind: ArtifactKind) -> String {
        let image = &self.image_id;
        match kind {
            ArtifactKind::Json => format!("images/{image}/analysis/{name}.json"),
            ArtifactKind::Parquet => format!("images/{image}/analysis/{name}.parquet"),
            ArtifactKind::Csv => format!("images/{image}/analysis/{name}.csv.gz"),
            ArtifactKind::Array => format!("images/{image}/analysis_arrays/{name}"),
        }
    }

    fn unreadable_error(&self, what: &str) -> Error {
        Error::new(ErrorKind::Unreadable, format!("cannot read {what}: the test made it unreadable"))
    }

    fn get(&self, name: &str, kind: ArtifactKind) -> Result<Option<&Content>> {
        match self.artifacts.get(&(name.to_owned(), kind)) {
            Some(Content::Unreadable) => Err(self.unreadable_error(&self.key_of(name, kind))),
            found => Ok(found),
        }
    }

    fn is_run_marker(&self, name: &str) -> bool {
        let payload = match self.artifacts.get(&(name.to_owned(), ArtifactKind::Json)) {
            Some(Content::Json(payload)) => payload.clone(),
            Some(Content::Text(text)) => Json::parse(text).unwrap_or_default(),
            _ => return false,
        };
        RunMarker::from_json(&payload).is_some()
    }
}

/// An array with the axis names that the host gives by default.
#[track_caller]
fn array<T: Element>(elements: &[T], shape: &[usize]) -> Array {
    let axes: Vec<String> = match shape.len() {
        2 => ["y", "x"].map(String::from).to_vec(),
        3 => ["z", "y", "x"].map(String::from).to_vec(),
        4 => ["z", "y", "x", "c"].map(String::from).to_vec(),
        5 => ["t", "z", "y", "x", "c"].map(String::from).to_vec(),
        rank => (0..rank).map(|at| format!("a{at}")).collect(),
    };
    match Array::from_elements(elements, shape.to_vec(), axes) {
        Ok(array) => array,
        Err(error) => panic!("{error}"),
    }
}

/// What was read of a record, and what was looked up but absent: the method of [`crate::Record`] and the name.
#[derive(Debug, Default)]
pub(super) struct ReadLog {
    pub(super) read: BTreeSet<String>,
    pub(super) missed: BTreeSet<String>,
}

/// A record as it is served to one indexer.
pub(super) struct TestRecordHost<'a> {
    pub(super) record: &'a TestRecord,
    /// The indexer's own run marker, which is not an input and which no list contains.
    pub(super) marker_name: &'a str,
    pub(super) seen: Mutex<ReadLog>,
}

impl TestRecordHost<'_> {
    fn note<T>(&self, what: String, found: Result<Option<T>>) -> Result<Option<T>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &found {
            Ok(None) => seen.missed.insert(what),
            _ => seen.read.insert(what),
        };
        found
    }
}

impl HostRecord for TestRecordHost<'_> {
    fn image_id(&self) -> &str {
        &self.record.image_id
    }

    fn json(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let found = self.record.get(name, ArtifactKind::Json).map(|found| {
            found.map(|content| match content {
                Content::Json(value) => value.to_file_text().into_bytes(),
                Content::Text(text) => text.clone(),
                _ => Vec::new(),
            })
        });
        if name == self.marker_name {
            return found;
        }
        self.note(format!("json {name}"), found)
    }

    fn table(&self, name: &str, kind: ArtifactKind) -> Result<Option<Table>> {
        let found = self.record.get(name, kind).and_then(|found| match found {
            Some(Content::Table(make)) => make().map(Some),
            _ => Ok(None),
        });
        let form = if kind == ArtifactKind::Csv { "csv" } else { "parquet" };
        self.note(format!("{form} {name}"), found)
    }

    fn pixels(&self) -> Result<Option<Array>> {
        let found = match &self.record.pixels {
            None => Ok(None),
            Some(Content::Array(pixels)) => Ok(Some(pixels.clone())),
            Some(_) => Err(self.record.unreadable_error(&format!("the pixels of images/{}", self.record.image_id))),
        };
        self.note("pixels".into(), found)
    }

    fn array(&self, name: &str) -> Result<Option<Array>> {
        let found = self.record.get(name, ArtifactKind::Array).map(|found| match found {
            Some(Content::Array(array)) => Some(array.clone()),
            _ => None,
        });
        self.note(format!("array {name}"), found)
    }

    fn key(&self, name: &str, kind: ArtifactKind) -> String {
        self.record.key_of(name, kind)
    }

    fn attributes(&self) -> Result<Vec<u8>> {
        let found = match &self.record.attributes {
            Content::Json(Json::Object(given)) => {
                let mut attributes = given.clone();
                attributes.shift_remove("updated_utc");
                if let Some(Content::Array(pixels)) = &self.record.pixels {
                    let axes = || pixels.axes().iter().map(String::as_str).collect();
                    attributes.entry("axes".to_owned()).or_insert_with(axes);
                }
                attributes.sort_keys();
                Ok(Some(Json::Object(attributes).to_file_text().into_bytes()))
            }
            _ => Err(self.record.unreadable_error(&format!("images/{}/.zattrs", self.record.image_id))),
        };
        self.note("attributes".into(), found).map(Option::unwrap_or_default)
    }

    fn artifacts(&self) -> Result<Vec<Artifact>> {
        let is_marker = |name: &str, kind: ArtifactKind| {
            kind == ArtifactKind::Json && (name == self.marker_name || self.record.is_run_marker(name))
        };
        let found = if self.record.is_listable {
            let artifacts = self.record.artifacts.keys().filter(|(name, kind)| !is_marker(name, *kind));
            Ok(Some(artifacts.map(|(name, kind)| Artifact::new(name.as_str(), *kind)).collect()))
        } else {
            Err(self.record.unreadable_error(&format!("images/{}/analysis", self.record.image_id)))
        };
        self.note("artifacts".into(), found).map(Option::unwrap_or_default)
    }
}
