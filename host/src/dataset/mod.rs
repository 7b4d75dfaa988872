//! The dataset format shared with kymflow: groups, records, artifacts, arrays, tables, manifest.
//!
//! Owns: where each thing is kept and in what form. Never: decides what is stale or what is to be done.
//! The format in words: `docs/dataset-format.md`.

mod csv;
mod record;

pub use record::Record;

use crate::store::{Store, StoreError};
use arrow::array::RecordBatch;
use kymhost_plugin_api::Json;
use std::path::Path;
use std::sync::Arc;

/// What can go wrong with a dataset. Every kind names the key or file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The folder is no dataset.
    #[error("{path} is not a kymhost dataset: {why}")]
    NotADataset {
        /// The folder.
        path: String,
        /// What was expected and found.
        why: String,
    },
    /// There is no such image.
    #[error(
        "there is no image '{id}' in {dataset}; `kymhost dataset info` counts them, ids are the folders of images/"
    )]
    UnknownImage {
        /// The id asked for.
        id: String,
        /// The dataset.
        dataset: String,
    },
    /// The key is there, but not what it should be (broken JSON, gzip, Parquet, CSV, `.zarray` or chunk).
    #[error("cannot read {key} as {expected}: {found}")]
    Unreadable {
        /// The key, as [`Store::describe`] gives it.
        key: String,
        /// The form expected, e.g. `JSON`.
        expected: &'static str,
        /// What is wrong.
        found: String,
    },
    /// What is to be written does not fit the format.
    #[error("cannot write {key}: {why}")]
    Unwritable {
        /// The key or name.
        key: String,
        /// Why.
        why: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An open dataset. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dataset {
    store: Arc<dyn Store>,
}

impl Dataset {
    /// Opens the dataset in a folder of the local file system.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let _ = path;
        unimplemented!()
    }
    /// Opens the dataset in a store.
    pub fn open_store(store: Arc<dyn Store>) -> Result<Self, DatasetError> {
        let _ = store;
        unimplemented!()
    }
    /// Makes a new, empty dataset in a folder that does not exist or is empty.
    pub fn create(path: &Path) -> Result<Self, DatasetError> {
        let _ = path;
        unimplemented!()
    }
    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
    /// The ids of all images (sub-groups of `images/`), sorted. An `images` folder that is missing or cannot be listed is an error.
    pub fn image_ids(&self) -> Result<Vec<String>, DatasetError> {
        unimplemented!()
    }
    /// An image's record. Does not check that it exists (see [`Dataset::find_record`]).
    pub fn record(&self, image_id: &str) -> Result<Record, DatasetError> {
        let _ = image_id;
        unimplemented!()
    }
    /// An image's record, or [`DatasetError::UnknownImage`].
    pub fn find_record(&self, image_id: &str) -> Result<Record, DatasetError> {
        let _ = image_id;
        unimplemented!()
    }
    /// Adds an image with pixels; its id is a new UUID v4 where none is given. `chunks`: kymflow's default where none are given.
    pub fn add_image(
        &self,
        image_id: Option<&str>,
        pixels: &kymhost_plugin_api::array::Array,
        chunks: Option<&[usize]>,
    ) -> Result<Record, DatasetError> {
        let _ = (image_id, pixels, chunks);
        unimplemented!()
    }
    /// Deletes an image with all its artifacts; `false` where there was none.
    pub fn delete_image(&self, image_id: &str) -> Result<bool, DatasetError> {
        let _ = image_id;
        unimplemented!()
    }
    /// The root group's attributes.
    pub fn attributes(&self) -> Result<Json, DatasetError> {
        unimplemented!()
    }
    /// Names of the dataset tables (`kym_velocity_events`, `sources` …), sorted.
    pub fn table_names(&self) -> Result<Vec<String>, DatasetError> {
        unimplemented!()
    }
    /// A whole dataset table as one batch with dictionaries cast away; `None` where there is none.
    /// `columns`: only these, in the table's order; those that it lacks are left out.
    pub fn read_table(&self, table: &str, columns: Option<&[&str]>) -> Result<Option<RecordBatch>, DatasetError> {
        let _ = (table, columns);
        unimplemented!()
    }
    /// Replaces a dataset table atomically, and sets the root's `updated_utc`.
    pub fn write_table(&self, table: &str, rows: &RecordBatch) -> Result<(), DatasetError> {
        let _ = (table, rows);
        unimplemented!()
    }
    /// Deletes a dataset table; `false` where there was none.
    pub fn delete_table(&self, table: &str) -> Result<bool, DatasetError> {
        let _ = table;
        unimplemented!()
    }
    /// Writes one JSON artifact for each of many images with one wait for the disk, and sets their `updated_utc`.
    pub fn put_json_many(&self, items: &mut dyn Iterator<Item = (String, String, Json)>) -> Result<(), DatasetError> {
        let _ = items;
        unimplemented!()
    }
}
