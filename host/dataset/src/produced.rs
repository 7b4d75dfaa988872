//! Artifacts that an indexer produced: their bytes, their keys, and writing many of them at once.
//!
//! Never decides what may be overwritten.

use crate::arrays;
use crate::artifact_keys::artifact_keys;
use crate::attributes::PreparedWrite;
use crate::dataset::{Dataset, image_of};
use crate::error::DatasetError;
use crate::error::unwritable;
use crate::guarded;
use crate::input_digest::sha256_of;
use crate::names::{ANALYSIS_ARRAYS, ARRAY};
use crate::record::Record;
use crate::tables;
use arrow::array::RecordBatch;
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::{Artifact, ArtifactKind};
use kymhost_store::{Key, MAX_DOCUMENT_BYTES, Seen};
use std::collections::{BTreeMap, BTreeSet};

/// An artifact's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// A JSON artifact, as it is kept.
    Json(Vec<u8>),
    /// A table artifact.
    Table(RecordBatch),
    /// An array artifact.
    Array(Array),
}

impl Payload {
    /// Its form.
    pub fn kind(&self) -> ArtifactKind {
        match self {
            Self::Json(_) => ArtifactKind::Json,
            Self::Table(_) => ArtifactKind::Parquet,
            Self::Array(_) => ArtifactKind::Array,
        }
    }

    /// Roughly how much memory it holds.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Json(text) => text.len(),
            Self::Table(rows) => rows.get_array_memory_size(),
            Self::Array(array) => array.bytes().len(),
        }
    }
}

impl Payload {
    /// As it is read after it was written: a table's columns may then have other types.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub fn as_kept(self) -> Result<Self, String> {
        let Self::Table(rows) = &self else { return Ok(self) };
        tables::read_artifact(tables::artifact_bytes(rows)?.into()).map(Self::Table)
    }

    /// What is kept of an artifact; `None` if it is not there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn kept(record: &Record, name: &str, kind: ArtifactKind) -> Result<Option<Self>, DatasetError> {
        Ok(match kind {
            ArtifactKind::Json => record.json_bytes(name)?.map(Self::Json),
            ArtifactKind::Parquet => record.parquet(name)?.map(Self::Table),
            ArtifactKind::Csv => record.csv(name)?.map(Self::Table),
            _ => record.array(name)?.map(Self::Array),
        })
    }
}

/// An artifact that is ready to be written.
#[derive(Debug, Clone)]
pub struct PreparedArtifact {
    image_id: String,
    key: String,
    sha256: String,
    items: Vec<PreparedWrite>,
    /// An array's data, which is removed before the new data is written.
    clear: Option<Key>,
    /// What stood in its place when it was decided to write it.
    seen: Vec<Seen>,
    /// Sets the image's `updated_utc`.
    touch: PreparedWrite,
}

impl PreparedArtifact {
    /// The key that it takes, below the image's group: as an [`crate::Input`]'s.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The SHA-256 of the file that it will be, lower-case hex; empty for an array, which is several.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl Dataset {
    /// Makes an artifact ready to be written with others. What would keep it from being written (the image is gone,
    /// columns that Parquet does not keep, a link in the way) is reported now. `seen`: what stood in its place when it was
    /// decided to write it (see [`Record::see_artifact`]).
    pub fn prepare_artifact(
        &self,
        image_id: &str,
        name: &str,
        payload: &Payload,
        seen: Vec<Seen>,
    ) -> Result<PreparedArtifact, DatasetError> {
        let record = self.find_record(image_id)?;
        let artifact = Artifact::new(name, payload.kind());
        let relative = artifact_keys(&artifact)?.swap_remove(0);
        let key = record.group().join(&relative)?;
        self.store().check_way(&key)?;
        let refused = |why: String| unwritable(&**self.store(), &key, why);
        let (items, clear) = match payload {
            Payload::Json(text) if text.len() as u64 > MAX_DOCUMENT_BYTES => {
                let found = text.len();
                return Err(refused(format!("it has {found} bytes, JSON artifacts have at most {MAX_DOCUMENT_BYTES}")));
            }
            Payload::Json(text) => (vec![PreparedWrite::from((key, text.clone()))], None),
            Payload::Table(rows) => {
                let bytes = tables::artifact_bytes(rows).map_err(refused)?;
                (vec![PreparedWrite::from((key, bytes))], None)
            }
            Payload::Array(array) => (record.array_items(name, array)?, Some(key)),
        };
        let sha256 = match (&clear, items.as_slice()) {
            (None, [file]) => sha256_of(file.bytes()),
            _ => String::new(),
        };
        Ok(PreparedArtifact {
            image_id: image_id.to_owned(),
            key: relative,
            sha256,
            items,
            clear,
            seen,
            touch: record.touched()?,
        })
    }

    /// Writes artifacts with one wait for the disk, and sets their images' `updated_utc`. Returns the ids of images of
    /// which not all were written, because another program has changed what stood in their place.
    pub fn put_artifacts(&self, prepared: Vec<PreparedArtifact>) -> Result<BTreeSet<String>, DatasetError> {
        let store = &**self.store();
        let (mut differing, mut touches, mut writes) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        for artifact in prepared {
            let PreparedArtifact { image_id, items, clear, seen, touch, .. } = artifact;
            match clear {
                // An array is removed first: afterwards nothing can say whether it was changed.
                Some(data) => {
                    if !self.record(&image_id)?.is_still(&seen)? {
                        differing.insert(image_id);
                        continue;
                    }
                    arrays::remove(store, &data)?;
                    writes.extend(items);
                }
                None => writes.extend(items.into_iter().map(|item| item.if_still(seen.clone()))),
            }
            touches.entry(touch.key().clone()).or_insert(touch);
        }
        writes.extend(touches.into_values());
        let left = guarded::write(store, &mut writes.into_iter())?;
        differing.extend(left.iter().filter_map(image_of).map(str::to_owned));
        Ok(differing)
    }

    /// Removes what is under a key below an image's group: a file, or an array's data.
    pub fn remove_artifact(&self, image_id: &str, key: &str) -> Result<(), DatasetError> {
        let full = self.record(image_id)?.group().join(key)?;
        if key.starts_with(ANALYSIS_ARRAYS) {
            arrays::remove(&**self.store(), &full)?;
        } else {
            self.store().delete(&full)?;
        }
        Ok(())
    }

    /// Whether there is something under a key below an image's group.
    pub fn has_artifact(&self, image_id: &str, key: &str) -> Result<bool, DatasetError> {
        let full = self.record(image_id)?.group().join(key)?;
        let file = if key.starts_with(ANALYSIS_ARRAYS) { full.join(ARRAY)? } else { full };
        Ok(self.store().glance(&file)?.is_some())
    }
}
