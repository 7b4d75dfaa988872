//! The record of one image: which key each of its attributes, artifacts and pixels is read from, and what else a
//! write changes.
//!
//! A *watched* record remembers what was read through it ([`Record::inputs`]). What is read only for a message, or to
//! find the run markers in a listing, is not an input, because the caller never gets it.

use crate::artifact_keys::{self, Own};
use crate::attributes::AttributesEdit;
use crate::attributes::PreparedWrite;
use crate::error::DatasetError;
use crate::error::{unreadable, unwritable};
use crate::guarded;
use crate::input::Input;
use crate::limits::{MAX_FOLDERS, MAX_SMALL_TEXT_BYTES, MAX_SMALL_VALUE_BYTES, MAX_TABLE_BYTES};
use crate::missing_chunks::MissingChunks;
use crate::names::{self, ANALYSIS, ANALYSIS_ARRAYS, ARRAY, DATA, ENDINGS};
use crate::watch::{InputsError, Watch};
use crate::{arrays, attributes, gzip, tables};
use arrow::array::RecordBatch;
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::{Artifact, ArtifactKind, Json, RunMarker, csv};
use kymhost_store::{Key, MAX_DOCUMENT_BYTES, Reading, Seen, Store, Watched};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One image's record. Reads see the files as they are now; nothing is cached.
#[derive(Debug, Clone)]
pub struct Record {
    store: Arc<dyn Store>,
    image_id: String,
    group: Key,
    watch: Option<Arc<Watch>>,
    missing_chunks: MissingChunks,
}

impl Record {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        image_id: &str,
        missing_chunks: MissingChunks,
    ) -> Result<Self, DatasetError> {
        let group = names::image_key(image_id)?;
        Ok(Self { store, image_id: image_id.to_owned(), group, watch: None, missing_chunks })
    }

    /// The same image, remembering from now on what is read of it: see [`Record::inputs`]. `own` is what the reader
    /// itself leaves in the record (its marker's name alone, if it writes nothing else): returned like any other, but
    /// not an input.
    pub fn watched<'o>(&self, own: impl Into<Own<'o>>) -> Self {
        let watch = Watch::new(own.into().keys(&self.image_id));
        Self { watch: Some(Arc::new(watch)), ..self.clone() }
    }

    /// What was read of the image since it is watched, sorted by key. Nothing if it is not.
    ///
    /// # Errors
    /// If something changed between two reads, or if too much was read.
    pub fn inputs(&self) -> Result<Vec<Input>, InputsError> {
        self.watch.as_ref().map_or_else(|| Ok(Vec::new()), |watch| watch.inputs())
    }

    /// Reads with `read`. If the record is watched, `note` records the result.
    fn reading<T>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, DatasetError>,
        note: impl FnOnce(&Watch, &Result<T, DatasetError>, Vec<Reading>),
    ) -> Result<T, DatasetError> {
        let Some(watch) = &self.watch else { return read(&*self.store) };
        // One for each read, so that what several threads read at once is not mixed up.
        let watched = Watched::new(Arc::clone(&self.store));
        let result = read(&watched);
        note(watch, &result, watched.take_readings());
        result
    }

    fn reading_files<T>(&self, read: impl FnOnce(&dyn Store) -> Result<T, DatasetError>) -> Result<T, DatasetError> {
        self.reading(read, |watch, _, readings| watch.note_files(&*self.store, &self.group, readings))
    }

    fn reading_array(&self, group: &Key) -> Result<Option<Array>, DatasetError> {
        self.reading(
            |store| arrays::read(store, &*self.store, group, self.missing_chunks),
            |watch, read, readings| {
                let axes = read.as_ref().map(|array| array.as_ref().map(Array::axes)).map_err(drop);
                watch.note_array(&*self.store, self.missing_chunks, &self.group, group, axes, readings);
            },
        )
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(crate) fn missing_chunks(&self) -> MissingChunks {
        self.missing_chunks
    }

    pub(crate) fn group(&self) -> &Key {
        &self.group
    }

    /// The image's id.
    pub fn image_id(&self) -> &str {
        &self.image_id
    }

    /// The bytes of the JSON artifact `name` (`.json`, else `.json.gz` decompressed within a bound), unparsed.
    pub fn json_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, DatasetError> {
        Ok(self.reading_files(|store| self.json_from(store, name, MAX_DOCUMENT_BYTES))?.map(|(_, text)| text))
    }

    /// The text of a run marker: the JSON artifact `name`, which is small if it is one.
    pub fn marker_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, DatasetError> {
        Ok(self.reading_files(|store| self.json_from(store, name, MAX_SMALL_TEXT_BYTES))?.map(|(_, text)| text))
    }

    /// The JSON artifact `name`, which the host itself reads: params, metadata, provenance. One whose text or value is
    /// large for those is an error.
    pub fn json(&self, name: &str) -> Result<Option<Json>, DatasetError> {
        Ok(self.json_with_bytes(name)?.map(|(_, value)| value))
    }

    /// The JSON artifact `name`, as text and as [`Record::json`] gives it, with one read.
    pub fn json_with_bytes(&self, name: &str) -> Result<Option<(Vec<u8>, Json)>, DatasetError> {
        let found = self.reading_files(|store| self.json_from(store, name, MAX_SMALL_TEXT_BYTES))?;
        let Some((key, text)) = found else { return Ok(None) };
        match Json::parse_within(&text, MAX_SMALL_VALUE_BYTES) {
            Ok(value) => Ok(Some((text, value))),
            Err(error) => Err(unreadable(&*self.store, &key, "JSON", error)),
        }
    }

    /// The JSON artifact `name` to be changed: as [`Record::json_with_bytes`], with what was seen of it. For kymhost itself:
    /// no watch records it.
    #[allow(clippy::type_complexity)]
    pub fn json_to_change(&self, name: &str) -> Result<(Option<(Vec<u8>, Json)>, Vec<Seen>), DatasetError> {
        let (text, seen) = self.text_to_change(name)?;
        let Some((key, text)) = text else { return Ok((None, seen)) };
        match Json::parse_within(&text, MAX_SMALL_VALUE_BYTES) {
            Ok(value) => Ok((Some((text, value)), seen)),
            Err(error) => Err(unreadable(&*self.store, &key, "JSON", error)),
        }
    }

    /// As [`Record::json_to_change`], unparsed: a run marker.
    pub fn marker_bytes_to_change(&self, name: &str) -> Result<(Option<Vec<u8>>, Vec<Seen>), DatasetError> {
        let (text, seen) = self.text_to_change(name)?;
        Ok((text.map(|(_, text)| text), seen))
    }

    /// The bytes of a JSON artifact with their key, and what was seen of both keys that it may be under.
    #[allow(clippy::type_complexity)]
    fn text_to_change(&self, name: &str) -> Result<(Option<(Key, Vec<u8>)>, Vec<Seen>), DatasetError> {
        let key = names::artifact_key(&self.image_id, name, ".json")?;
        let (text, plain) = self.store.get_seen(&key, MAX_SMALL_TEXT_BYTES)?;
        if let Some(text) = text {
            return Ok((Some((key, text)), vec![plain]));
        }
        let key = key_with(&key, ".gz")?;
        let (packed, seen) = self.store.get_seen(&key, MAX_SMALL_TEXT_BYTES)?;
        let text = packed.map(|packed| {
            gzip::decompress(&packed, MAX_SMALL_TEXT_BYTES)
                .map_err(|found| unreadable(&*self.store, &key, "gzip", found))
        });
        Ok((text.transpose()?.map(|text| (key, text)), vec![plain, seen]))
    }

    /// What an artifact is now, so that a later write can see whether another program has changed it since: the files that
    /// say so, with the bytes of those that were just written.
    pub fn see_artifact(&self, name: &str, kind: ArtifactKind) -> Result<Vec<Seen>, DatasetError> {
        let artifact = Artifact::new(name, kind);
        let mut seen = Vec::new();
        for key in artifact_keys::full_keys(&self.image_id, &artifact)? {
            // An array is what its `.zarray` says, which comes last.
            let key = if kind == ArtifactKind::Array { key.join(ARRAY)? } else { key };
            seen.push(self.store.see(&key)?);
        }
        Ok(seen)
    }

    /// Whether all of these are still what they were.
    pub fn is_still(&self, seen: &[Seen]) -> Result<bool, DatasetError> {
        for seen in seen {
            if !self.store.is_still(seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where an artifact is kept, or would be: for messages.
    pub fn describe_artifact(&self, name: &str, kind: ArtifactKind) -> String {
        let with = |ending| names::artifact_key(&self.image_id, name, ending);
        let key = match kind {
            ArtifactKind::Json => with(".json").and_then(|plain| match self.store.stat(&plain)? {
                None if self.store.stat(&with(".json.gz")?)?.is_some() => with(".json.gz"),
                _ => Ok(plain),
            }),
            ArtifactKind::Parquet => with(".parquet"),
            ArtifactKind::Csv => with(".csv.gz"),
            _ => names::array_key(&self.image_id, name),
        };
        match key {
            Ok(key) => self.store.describe(&key),
            Err(_) => format!("the artifact '{name}' of image {}", self.image_id),
        }
    }

    /// How a key below the image's group is called in messages.
    pub fn describe_key(&self, key: &str) -> Result<String, DatasetError> {
        Ok(self.store.describe(&self.group.join(key)?))
    }

    fn json_from(&self, store: &dyn Store, name: &str, limit: u64) -> Result<Option<(Key, Vec<u8>)>, DatasetError> {
        let key = names::artifact_key(&self.image_id, name, ".json")?;
        if let Some(text) = store.get(&key, limit)? {
            return Ok(Some((key, text)));
        }
        let key = key_with(&key, ".gz")?;
        Ok(unpacked(store, &key, limit)?.map(|text| (key, text)))
    }

    /// The Parquet artifact `name`, dictionaries cast away.
    pub fn parquet(&self, name: &str) -> Result<Option<RecordBatch>, DatasetError> {
        let key = names::artifact_key(&self.image_id, name, ".parquet")?;
        let bytes = self.reading_files(|store| Ok(store.get(&key, MAX_TABLE_BYTES)?))?;
        let Some(bytes) = bytes else { return Ok(None) };
        match tables::read_artifact(bytes.into()) {
            Ok(rows) => Ok(Some(rows)),
            Err(found) => Err(unreadable(&*self.store, &key, "Parquet", found)),
        }
    }

    /// The CSV artifact `name`.
    pub fn csv(&self, name: &str) -> Result<Option<RecordBatch>, DatasetError> {
        let key = names::artifact_key(&self.image_id, name, ".csv.gz")?;
        let Some(text) = self.reading_files(|store| unpacked(store, &key, csv::MAX_TEXT_BYTES as u64))? else {
            return Ok(None);
        };
        match csv::parse(&text) {
            Ok(rows) => Ok(Some(rows)),
            Err(found) => Err(unreadable(&*self.store, &key, "CSV", found)),
        }
    }

    /// The CSV artifact `name` as it is kept: gzip, unread. For kymhost itself: no watch records it.
    pub fn csv_gz_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, DatasetError> {
        Ok(self.store.get(&names::artifact_key(&self.image_id, name, ".csv.gz")?, MAX_DOCUMENT_BYTES)?)
    }

    /// The image's pixels.
    pub fn pixels(&self) -> Result<Option<Array>, DatasetError> {
        self.reading_array(&self.group)
    }

    /// The array artifact `name`.
    pub fn array(&self, name: &str) -> Result<Option<Array>, DatasetError> {
        self.reading_array(&names::array_key(&self.image_id, name)?)
    }

    /// The group attributes as indexers see them: JSON text, sorted by name at the top (Python sorts when it writes,
    /// kymhost keeps the order), without `updated_utc`. Every artifact that is saved sets that: what depended on it
    /// would stay stale.
    pub fn attributes_text(&self) -> Result<Vec<u8>, DatasetError> {
        self.reading(
            |store| {
                let mut attributes = attributes::read(store, &self.group)?;
                attributes.shift_remove("updated_utc");
                attributes.sort_keys();
                Ok(Json::Object(attributes).to_file_text().into_bytes())
            },
            |watch, text, readings| watch.note_attributes(&*self.store, &self.group, text.as_deref().ok(), readings),
        )
    }

    /// The group attributes; an empty object if there are none. For kymhost itself: no watch records it.
    pub fn attributes(&self) -> Result<Json, DatasetError> {
        Ok(Json::Object(attributes::read(&*self.store, &self.group)?))
    }

    /// All artifacts as an indexer sees them, sorted by name, then kind: without what it writes itself, and without
    /// run markers (its own, and every JSON artifact that is a valid one), so that no rows depend on which indexers
    /// have run.
    pub fn artifacts_of_others<'o>(&self, own: impl Into<Own<'o>>) -> Result<Vec<Artifact>, DatasetError> {
        let own = own.into().keys(&self.image_id);
        let is_own = |artifact: &Artifact| {
            artifact_keys::full_keys(&self.image_id, artifact)
                .is_ok_and(|keys| keys.iter().any(|key| own.contains(key)))
        };
        let is_marker = |artifact: &Artifact| artifact.kind == ArtifactKind::Json && self.is_run_marker(&artifact.name);
        let listed = self.artifacts().map(|mut artifacts| {
            artifacts.retain(|artifact| !is_own(artifact) && !is_marker(artifact));
            artifacts
        });
        if let Some(watch) = &self.watch {
            watch.note_listing(listed.as_deref().ok());
        }
        listed
    }

    fn is_run_marker(&self, name: &str) -> bool {
        let Ok(Some((_, text))) = self.json_from(&*self.store, name, MAX_SMALL_TEXT_BYTES) else { return false };
        // Most artifacts are none, and need not be parsed to see it; a name may be written with escapes.
        let may_be =
            std::str::from_utf8(&text).is_ok_and(|text| text.contains("marker_version") || text.contains('\\'));
        may_be
            && Json::parse_within(&text, MAX_SMALL_VALUE_BYTES)
                .is_ok_and(|payload| RunMarker::from_json(&payload).is_some())
    }

    /// All artifacts, sorted by name, then kind. For kymhost itself: no watch records it.
    pub fn artifacts(&self) -> Result<Vec<Artifact>, DatasetError> {
        // A set: `.json` and `.json.gz` of one name are one artifact.
        let mut found = BTreeSet::new();
        let mut open = vec![(self.group.join(ANALYSIS)?, String::new(), MAX_FOLDERS)];
        while let Some((folder, prefix, depth)) = open.pop() {
            for entry in self.store.list(&folder)?.unwrap_or_default() {
                if entry.is_dir {
                    if depth == 0 {
                        return Err(self.too_deep(&folder));
                    }
                    open.push((folder.join(&entry.name)?, format!("{prefix}{}/", entry.name), depth - 1));
                } else if let Some((name, kind)) = artifact_of(&entry.name) {
                    found.insert(Artifact::new(format!("{prefix}{name}"), kind));
                }
            }
        }
        let mut open = vec![(self.group.join(ANALYSIS_ARRAYS)?, String::new(), MAX_FOLDERS)];
        while let Some((folder, prefix, depth)) = open.pop() {
            for entry in self.store.list(&folder)?.unwrap_or_default().into_iter().filter(|entry| entry.is_dir) {
                let below = folder.join(&entry.name)?;
                if entry.name == DATA && !prefix.is_empty() && self.store.stat(&below.join(ARRAY)?)?.is_some() {
                    found.insert(Artifact::new(prefix.trim_end_matches('/'), ArtifactKind::Array));
                } else if depth == 0 {
                    return Err(self.too_deep(&folder));
                } else {
                    open.push((below, format!("{prefix}{}/", entry.name), depth - 1));
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    fn too_deep(&self, folder: &Key) -> DatasetError {
        unreadable(&*self.store, folder, "artifacts", format!("its folders nest deeper than {MAX_FOLDERS}"))
    }

    /// Writes the JSON artifact `name` and sets `updated_utc`.
    pub fn put_json(&self, name: &str, payload: &Json) -> Result<(), DatasetError> {
        self.put_json_if(name, payload, Vec::new()).map(drop)
    }

    /// As [`Record::put_json`], but only if all of these are still what they were; `false`, with nothing of the artifact
    /// changed, if another program has written meanwhile.
    pub fn put_json_if(&self, name: &str, payload: &Json, seen: Vec<Seen>) -> Result<bool, DatasetError> {
        self.write(vec![self.json_item(name, payload)?.if_still(seen), self.touched()?])
    }

    fn write(&self, items: Vec<PreparedWrite>) -> Result<bool, DatasetError> {
        Ok(guarded::write(&*self.store, &mut items.into_iter())?.is_empty())
    }

    /// What a JSON artifact's write puts: the artifact, and the group's attributes. An older `.json.gz` stays; the
    /// plain one is read first.
    pub(crate) fn json_items(&self, name: &str, payload: &Json) -> Result<Vec<PreparedWrite>, DatasetError> {
        Ok(vec![self.json_item(name, payload)?, self.touched()?])
    }

    /// A JSON artifact's write alone. What would keep it from being written is reported now.
    pub(crate) fn json_item(&self, name: &str, payload: &Json) -> Result<PreparedWrite, DatasetError> {
        let key = names::artifact_key(&self.image_id, name, ".json")?;
        if !self.exists()? {
            return Err(self.unknown());
        }
        self.store.check_way(&key)?;
        Ok((key, payload.to_file_text().into_bytes()).into())
    }

    /// Writes the Parquet artifact `name` and sets `updated_utc`.
    pub fn put_parquet(&self, name: &str, rows: &RecordBatch) -> Result<(), DatasetError> {
        self.put_parquet_if(name, rows, Vec::new()).map(drop)
    }

    /// As [`Record::put_parquet`], under the condition of [`Record::put_json_if`].
    pub fn put_parquet_if(&self, name: &str, rows: &RecordBatch, seen: Vec<Seen>) -> Result<bool, DatasetError> {
        let key = names::artifact_key(&self.image_id, name, ".parquet")?;
        let bytes = tables::artifact_bytes(rows).map_err(|why| unwritable(&*self.store, &key, why))?;
        self.write(vec![PreparedWrite::from((key, bytes)).if_still(seen), self.touched()?])
    }

    /// Writes the CSV artifact `name`, as gzip already, and sets `updated_utc`, under the condition of
    /// [`Record::put_json_if`].
    pub fn put_csv_gz_if(&self, name: &str, bytes: &[u8], seen: Vec<Seen>) -> Result<bool, DatasetError> {
        let key = names::artifact_key(&self.image_id, name, ".csv.gz")?;
        self.write(vec![PreparedWrite::from((key, bytes.to_vec())).if_still(seen), self.touched()?])
    }

    /// Writes the array artifact `name` and sets `updated_utc`.
    pub fn put_array(&self, name: &str, array: &Array) -> Result<(), DatasetError> {
        self.put_array_if(name, array, &[]).map(drop)
    }

    /// As [`Record::put_array`], under the condition of [`Record::put_json_if`]. An array is several files: they are looked
    /// at right before the old ones are removed.
    pub fn put_array_if(&self, name: &str, array: &Array, seen: &[Seen]) -> Result<bool, DatasetError> {
        let data = names::array_key(&self.image_id, name)?.join(DATA)?;
        let touched = self.touched()?;
        let mut items = self.array_items(name, array)?;
        if !self.is_still(seen)? {
            return Ok(false);
        }
        arrays::remove(&*self.store, &data)?;
        items.push(touched);
        self.write(items)
    }

    /// The items of an array artifact, once its old data is removed: the groups, the chunks, and `.zarray` last.
    pub(crate) fn array_items(&self, name: &str, array: &Array) -> Result<Vec<PreparedWrite>, DatasetError> {
        let group = names::array_key(&self.image_id, name)?;
        self.store.check_way(&group.join(DATA)?)?;
        let mut items: Vec<PreparedWrite> = Vec::new();
        // Every group on the way, as zarr's `require_group` makes them.
        let mut above = Some(group.clone());
        while let Some(key) = above.filter(|key| *key != self.group) {
            if !attributes::is_group(&*self.store, &key)? {
                items.push(attributes::group_item(&key)?.into());
            }
            above = key.split().map(|(folder, _)| folder);
        }
        items.push(AttributesEdit::of_array(&group, array.axes()).prepare(&*self.store)?);
        let data = group.join(DATA)?;
        let encoded = arrays::encode(&data, array, None).map_err(|why| unwritable(&*self.store, &data, why))?;
        items.extend(encoded.into_iter().map(PreparedWrite::from));
        Ok(items)
    }

    /// The write that sets `updated_utc`. An image that does not exist gets none, because its artifacts would belong
    /// to nothing.
    pub(crate) fn touched(&self) -> Result<PreparedWrite, DatasetError> {
        if !attributes::is_group(&*self.store, &self.group)? {
            return Err(self.unknown());
        }
        attributes::touched(&*self.store, &self.group)
    }

    pub(crate) fn exists(&self) -> Result<bool, DatasetError> {
        attributes::is_group(&*self.store, &self.group)
    }

    pub(crate) fn unknown(&self) -> DatasetError {
        DatasetError::UnknownImage { id: self.image_id.clone(), dataset: self.store.root().display().to_string() }
    }
}

/// A text that is kept as gzip, which is shorter than the text or longer by very little.
fn unpacked(store: &dyn Store, key: &Key, limit: u64) -> Result<Option<Vec<u8>>, DatasetError> {
    let Some(packed) = store.get(key, limit + limit / 64 + 1024)? else { return Ok(None) };
    match gzip::decompress(&packed, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(found) => Err(unreadable(store, key, "gzip", found)),
    }
}

fn key_with(key: &Key, ending: &str) -> Result<Key, DatasetError> {
    Ok(Key::new(format!("{key}{ending}"))?)
}

/// The artifact that a file under `analysis/` holds, if it is one.
pub(crate) fn artifact_of(file: &str) -> Option<(&str, ArtifactKind)> {
    ENDINGS.iter().find_map(|(ending, kind)| file.strip_suffix(ending).map(|name| (name, *kind)))
}
