//! One image's record: attributes, artifacts, pixels.
//! Owns: how artifact names become keys. Never: decides anything.

use super::DatasetError;
use crate::store::Store;
use arrow::array::RecordBatch;
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::{Artifact, Json};
use std::sync::Arc;

/// One image's record. Reads see the files as they are now; nothing is cached.
#[derive(Debug, Clone)]
pub struct Record {
    store: Arc<dyn Store>,
    image_id: String,
}

impl Record {
    /// The image's id.
    pub fn image_id(&self) -> &str {
        &self.image_id
    }
    /// The bytes of the JSON artifact `name` (`.json`, else `.json.gz` decompressed within a bound), unparsed.
    pub fn json_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, DatasetError> {
        let _ = (name, &self.store);
        unimplemented!()
    }
    /// The JSON artifact `name`.
    pub fn json(&self, name: &str) -> Result<Option<Json>, DatasetError> {
        let _ = name;
        unimplemented!()
    }
    /// The Parquet artifact `name`, dictionaries cast away.
    pub fn parquet(&self, name: &str) -> Result<Option<RecordBatch>, DatasetError> {
        let _ = name;
        unimplemented!()
    }
    /// The CSV artifact `name`.
    pub fn csv(&self, name: &str) -> Result<Option<RecordBatch>, DatasetError> {
        let _ = name;
        unimplemented!()
    }
    /// The image's pixels.
    pub fn pixels(&self) -> Result<Option<Array>, DatasetError> {
        unimplemented!()
    }
    /// The array artifact `name`.
    pub fn array(&self, name: &str) -> Result<Option<Array>, DatasetError> {
        let _ = name;
        unimplemented!()
    }
    /// The group attributes; an empty object where there are none.
    pub fn attributes(&self) -> Result<Json, DatasetError> {
        unimplemented!()
    }
    /// All artifacts, sorted by name, then kind.
    pub fn artifacts(&self) -> Result<Vec<Artifact>, DatasetError> {
        unimplemented!()
    }
    /// Writes the JSON artifact `name` and sets `updated_utc`.
    pub fn put_json(&self, name: &str, payload: &Json) -> Result<(), DatasetError> {
        let _ = (name, payload);
        unimplemented!()
    }
    /// Writes the Parquet artifact `name` and sets `updated_utc`.
    pub fn put_parquet(&self, name: &str, rows: &RecordBatch) -> Result<(), DatasetError> {
        let _ = (name, rows);
        unimplemented!()
    }
    /// Writes the array artifact `name` and sets `updated_utc`.
    pub fn put_array(&self, name: &str, array: &Array) -> Result<(), DatasetError> {
        let _ = (name, array);
        unimplemented!()
    }
}
